"""`mtdense predict --images` on what people have: odd sizes and names, a video, a damaged file."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from PIL import Image

from mtdense.data.pictures import Source
from mtdense.data.sample import RawImage
from mtdense.reports import picture_run, tiles, video_files
from mtdense.reports.predictor import Predicted, Predictor
from tests.checkpoints import SPECS, save_checkpoint, small_model
from tests.data.test_pictures import picture, video

Main = Callable[..., tuple[int, str]]
ODD = '<img src=x> & "two" 100%'


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(small_model(), tmp_path_factory.mktemp("run") / "last.ckpt")


class Page(HTMLParser):
    """What the gallery refers to, says and lets one use."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.append((tag, told))
        self.addresses += [str(told[key]) for key in ("src", "href") if key in told]


def test_everything_is_written(mtdense_main: Main, checkpoint: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    picture(photos / "wide.png", (30, 100))
    picture(photos / f"{ODD}.png", (90, 50))
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(photos / "sixteen.png")
    video(photos / "walk.mp4")
    options = ("--video", "--every", 2, "--tile")
    code, err = mtdense_main("predict", "--ckpt_path", checkpoint, "--images", photos, "--out", out, *options)
    assert code == 0, err
    ids = ["wide", ODD, "sixteen", "walk/000000", "walk/000002", "walk/000004"]
    for task in SPECS:
        for name in ids:
            array = np.load(out / task / f"{name}.npy")
            with Image.open(out / task / f"{name}.png") as drawn:
                assert drawn.size == array.shape[1::-1]
    assert np.load(out / "depth" / "wide.npy").shape == (30, 100)
    assert np.load(out / "normals" / f"{ODD}.npy").shape == (90, 50, 3)
    capture = cv2.VideoCapture(str(out / "depth" / "walk.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 3 and capture.get(cv2.CAP_PROP_FPS) == pytest.approx(6)
    manifest = json.loads((out / "predictions.json").read_text())
    assert {entry["id"] for entry in manifest["pictures"]} == set(ids)
    assert manifest["tasks"]["semseg"]["class_names"] == ["floor", "wall", "lamp"]
    assert max(entry["tiles"] for entry in manifest["pictures"]) > 1
    with Image.open(out / "sheets" / "wide.png") as sheet:
        assert sheet.width > 4 * 200
    check_page(out, len(ids))


def check_page(out: Path, pictures: int) -> None:
    text = (out / "index.html").read_text()
    page = Page(text)
    assert not re.search(r"https?://", text)
    files = [out / unquote(address) for address in page.addresses]
    assert files and all(file.is_file() and file.resolve().is_relative_to(out.resolve()) for file in files)
    sliders = [told for tag, told in page.tags if tag == "input" and told["type"] == "range"]
    assert len(sliders) == pictures and all(told["aria-label"] for told in sliders)
    images = [told for tag, told in page.tags if tag == "img"]
    assert len(images) == pictures * (1 + len(SPECS)) and all(told["alt"] for told in images)
    # The odd name is text everywhere: no element came of it.
    assert "src=x" not in {f"src={told.get('src')}" for _, told in page.tags} and "<img src=x>" not in text
    policy = next(str(told["content"]) for tag, told in page.tags if told.get("http-equiv"))
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy.split("script-src")[1]


def test_one_page_alone(mtdense_main: Main, checkpoint: Path, tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    options = ("--gallery", "single", "--raw", "png16", "--no-sheets", "--data.tasks", "[depth, edges]")
    code, err = mtdense_main(
        "predict", "--images", tmp_path / "a.jpg", "--ckpt_path", checkpoint, "--out", tmp_path / "out", *options
    )
    assert code == 0, err
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert sum(address.startswith("data:image/webp;base64,") for address in page.addresses) == 3
    found = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file())
    drawn = [f"{task}/a{end}.png" for task in ("depth", "edges") for end in ("", "_raw")]
    assert found == sorted([*drawn, "index.html", "predictions.json"])


def test_a_bad_file_is_one_line_and_stops_no_other(
    mtdense_main: Main, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name in ("first.png", "last.png", os.fsdecode(b"not\xffutf.png"), "line\nfeed.png"):
        picture(photos / name, (30, 40))
    (photos / "bad.png").write_bytes(b"no picture")
    (photos / "gone.png").symlink_to(tmp_path / "nowhere.png")
    picture(photos / "large.png", (160, 200))
    monkeypatch.setattr(tiles, "MAX_VALUES", 3 * 100 * 110)
    video(photos / "changes.mp4")
    frames = Source.pictures

    def changing(self: Source, *args: Any) -> Iterator[RawImage]:
        for raw in frames(self, *args):
            yield RawImage(raw.id, raw.image[: len(raw.image) - 4 * (raw.id == "changes/000003")])

    monkeypatch.setattr(Source, "pictures", changing)
    command = ("predict", "--ckpt_path", checkpoint, "--images", photos, "--out", out)
    options = ("--tile", 4, "--video", "--no-sheets")
    code, err = mtdense_main(*command, *options)
    assert code == 1 and "4 of 8 files" in err, err
    told = json.loads((out / "predictions.json").read_text())
    failed = {entry["id"]: entry["problem"] for entry in told["failed"]}
    words = {
        "bad": "it is none of PNG",
        "gone": "no such file",
        "large": "too large to blend",
        "changes": "from 64x48 to 64x44",
    }
    assert failed.keys() == words.keys() and all(words[name] in failed[name] for name in words), failed
    done = ["first", "last", "line_feed", "not\ufffdutf"]
    assert [e["id"] for e in told["pictures"] if "/" not in e["id"]] == done and told["complete"]
    assert all((out / task / f"{name}.npy").is_file() for name in done for task in SPECS)
    # A name that is no UTF-8 reads back as it is.
    assert all(Path(entry["file"]).exists() for entry in told["pictures"])


def test_an_interrupted_run_can_be_run_again(
    mtdense_main: Main, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        picture(tmp_path / "photos" / f"{name}.png")
    out = tmp_path / "out"
    command = ("predict", "--ckpt_path", checkpoint, "--images", tmp_path / "photos", "--out", out)

    def manifest() -> dict[str, Any]:
        told: dict[str, Any] = json.loads((out / "predictions.json").read_text())
        return told

    def interrupted(self: Predictor, raw: RawImage) -> Predicted:
        # Whatever ends the process now, the folder is known.
        assert not manifest()["complete"]
        if raw.id == "b":
            raise KeyboardInterrupt
        return predict(self, raw)

    with monkeypatch.context() as patch:
        predict = Predictor.__call__
        patch.setattr(Predictor, "__call__", interrupted)
        code, err = mtdense_main(*command)
    assert code == 130 and "Interrupted" in err and "Traceback" not in err
    assert [entry["id"] for entry in manifest()["pictures"]] == ["a"] and (out / "index.html").is_file()
    code, err = mtdense_main(*command)
    assert code == 0, err
    assert len(manifest()["pictures"]) == 2 and manifest()["complete"]


def test_the_first_error_of_a_full_disk_is_told(
    mtdense_main: Main, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Predictor, raw: RawImage) -> Predicted:
        def write(path: Path, content: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", "second.json")

        monkeypatch.setattr(picture_run, "write_atomic", write)
        raise OSError(errno.ENOSPC, "No space left on device", "first.png")

    monkeypatch.setattr(Predictor, "__call__", full)
    photo = picture(tmp_path / "a.png")
    code, err = mtdense_main("predict", "--ckpt_path", checkpoint, "--images", photo, "--out", tmp_path / "out")
    first, second = (line for line in err.splitlines() if "No space left" in line)
    assert code == 1 and "first.png" in first and "second.json" in second and "written down, either" in second


def test_without_an_encoder_nothing_is_begun(
    mtdense_main: Main, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_files.require_encoder()
    monkeypatch.setattr(video_files, "_writer", lambda path, rate, size: cv2.VideoWriter())
    for name in "ab":
        (tmp_path / "videos").mkdir(exist_ok=True)
        video(tmp_path / "videos" / f"{name}.mp4")
    picture(tmp_path / "a.png")
    command = ("predict", "--ckpt_path", checkpoint, "--out", tmp_path / "out", "--video", "--images")
    code, err = mtdense_main(*command, tmp_path / "videos")
    assert code == 1 and err.count("has no VP9 encoder") == 1 and "leave `--video` out" in err
    assert not (tmp_path / "out" / "predictions.json").exists()
    assert mtdense_main(*command, tmp_path / "a.png")[0] == 0  # none is asked for


def test_nothing_is_written_elsewhere(mtdense_main: Main, checkpoint: Path, tmp_path: Path) -> None:
    photo, out, other = picture(tmp_path / "a.png"), tmp_path / "out", tmp_path / "other"
    other.mkdir()
    command = ("predict", "--ckpt_path", checkpoint, "--images", photo, "--out", out)
    assert mtdense_main(*command)[0] == 0
    for folder, name in (("depth", "a.npy"), ("gallery", "a.depth.webp"), ("sheets", "a.png")):
        (out / folder / name).unlink()
        (out / folder / name).symlink_to(other / name)
        code, err = mtdense_main(*command)
        assert code == 1 and "leads out of the folder" in err, (folder, err)
        (out / folder / name).unlink()
    shutil.rmtree(out / "depth")
    (out / "depth").symlink_to(other)
    assert mtdense_main(*command)[0] == 1 and not list(other.iterdir())


def test_bad_commands(mtdense_main: Main, checkpoint: Path, tmp_path: Path) -> None:
    photo = picture(tmp_path / "a.png")
    for arguments, words in (
        (("test", "--ckpt_path", checkpoint, "--images", photo), "goes with `mtdense predict"),
        (("predict", "--images", photo), "without a model"),
        (("predict", "--ckpt_path", checkpoint, "--images"), "without a path"),
        (("predict", "--ckpt_path", checkpoint, "--images", tmp_path / "no.png"), "no picture at"),
        (("predict", "--ckpt_path", checkpoint, "--images", photo, "--tasks", "dept"), "Did you mean 'depth'"),
    ):
        code, err = mtdense_main(*arguments)
        assert code == 1 and words in err, err


def test_nothing_of_the_user_is_written_over(mtdense_main: Main, checkpoint: Path, tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png", (30, 40))
    label = picture(tmp_path / "depth" / "a.png", (30, 40)).read_bytes()
    command = ("predict", "--ckpt_path", checkpoint, "--images", tmp_path / "images", "--out", tmp_path)
    code, err = mtdense_main(*command)
    assert code == 1 and "has files that are not of" in err and "take another folder" in err
    assert (tmp_path / "depth" / "a.png").read_bytes() == label
    for wrong in (("--every", "0"), ("--max_frames", "0"), ("--png_scale", "0"), ("--png_scale", "nan")):
        code, err = mtdense_main(*command[:-1], tmp_path / "out", *wrong)
        assert code == 1 and wrong[0] in err and not (tmp_path / "out").exists()
    for name, content in (("predictions.json", '[{"image_id": 1}]'), ("index.html", "<p>mine</p>")):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(content)
        code, err = mtdense_main(*command[:-1], tmp_path / name)
        assert code == 1 and f"{name} is not of" in err and (tmp_path / name / name).read_text() == content
    for _ in range(2):  # its own files it may replace
        assert mtdense_main(*command[:-1], tmp_path / "out")[0] == 0
