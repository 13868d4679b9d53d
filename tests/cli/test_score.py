"""`mtdense score`: known results from small folders, every reader, and every mistake."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from mtdense.cli.main import main

Main = Callable[..., tuple[int, str]]
ORACLE = os.environ.get("MTDENSE_ORACLE")


def save(path: Path, values: Any) -> Path:
    """Writes a map by its extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"LabelMap": values})
    else:
        Image.fromarray(values).save(path)
    return path


def score(task: str, folder: Path, *options: object) -> dict[str, Any]:
    """The JSON report of FOLDER/preds against FOLDER/targets."""
    report = folder / "report.json"
    places = ["--preds", folder / "preds", "--targets", folder / "targets", "--json", report]
    assert main(["score", task, *map(str, places), *map(str, options)]) == 0
    content: dict[str, Any] = json.loads(report.read_text())
    return content


def refuse(mtdense_main: Main, task: str, folder: Path, *options: object) -> str:
    """The one error of a command that must fail; nothing may have been written."""
    report = folder / "refused.json"
    places = ("--preds", folder / "preds", "--targets", folder / "targets", "--json", report)
    code, err = mtdense_main("score", task, *places, *options)
    assert code == 1, err
    assert err.count("error:") == 1
    assert "Mend:" in err
    assert "Traceback" not in err
    assert not report.exists()
    return err


# ---- edges -----------------------------------------------------------------------------------------------------------
def lines(*columns: int, value: int = 255) -> np.ndarray:
    """(100, 100) uint8: vertical lines of 80 pixels. The diagonal is 141 pixels, the default tolerance 1.06."""
    picture = np.zeros((100, 100), np.uint8)
    picture[10:90, list(columns)] = value
    return picture


@pytest.fixture
def edges(tmp_path: Path) -> Path:
    """Image a: one of two lines found, and weaker a false one. Image b: its only line found, one pixel beside."""
    save(tmp_path / "targets/a.png", lines(20, 60))
    save(tmp_path / "preds/a.png", lines(20) + lines(80, value=128))
    save(tmp_path / "targets/sub/b.png", lines(50))
    save(tmp_path / "preds/sub/b.png", lines(51))
    return tmp_path


def test_edges_of_known_score(edges: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, figure = edges / "images.csv", edges / "curve.png"
    report = score("edges", edges, "--no-nms", "--per-image", table, "--figure", figure)
    # Above 0.5, 160 of the 160 predicted pixels are right, and 160 of the 240 true ones found.
    assert report["ods"] == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    # a: 2PR/(P+R) with P = 1, R = 1/2; b: 1. Summed: the same pixels.
    assert report["ois"] == pytest.approx(0.8)
    assert report["average_precision"] == 0  # recall has but one value, so the curve has no area
    assert (report["images"], report["best_precision"]) == (2, 1.0)
    thresholds, counts = np.array(report["thresholds"]), np.array(report["counts"])
    assert thresholds.shape == (101,)
    strong = thresholds > 0.51
    assert (counts[strong] == [160, 240, 160, 160]).all()
    assert (counts[thresholds < 0.5] == [160, 240, 160, 240]).all()
    expected = {"name": "custom", "max_dist": 0.0075, "target_kind": "edges", "thresholds": 101, "nms": False}
    assert report["protocol"] == {**expected, "annotators": 1}
    rows = {row["id"]: row for row in csv.DictReader(table.open())}
    assert list(rows) == ["a", "sub/b"]
    assert float(rows["a"]["f"]) == pytest.approx(2 / 3)
    assert float(rows["a"]["recall"]) == pytest.approx(0.5)
    assert float(rows["sub/b"]["best_f"]) == 1.0
    with Image.open(figure) as drawn:
        assert min(drawn.size) > 400
    captured = capsys.readouterr()
    assert "80.00 %" in captured.out
    assert captured.err == ""  # no progress bar where nobody watches


def test_edges_depend_on_what_is_asked_for(edges: Path) -> None:
    assert score("edges", edges, "--no-nms", "--max-dist", "0.005")["ods"] < 0.7  # a pixel is now too far
    assert len(score("edges", edges, "--no-nms", "--thresholds", "11")["thresholds"]) == 11
    (edges / "ids.txt").write_text("\nsub/b\n")
    only = score("edges", edges, "--no-nms", "--list", edges / "ids.txt")
    assert (only["images"], only["ods"]) == (1, 1.0)
    everything = score("edges", edges, "--no-nms")
    assert only["ids_sha256"] != everything["ids_sha256"]
    for workers in (1, 3):
        assert score("edges", edges, "--no-nms", "--workers", workers) == everything


@pytest.mark.parametrize(
    ("suffix", "convert"),
    [
        (".png", lambda values: values.astype(np.uint16) * 257),
        (".npy", lambda values: (values / 255).astype(np.float32)),
        (".npy", lambda values: values),
        (".png", lambda values: np.repeat(values[..., None], 3, axis=-1)),
        (".png", lambda values: np.stack([values, np.full_like(values, 255)], axis=-1)),
        (".png", lambda values: np.stack([values, values, values, np.full_like(values, 255)], axis=-1)),
    ],
)
def test_codings_of_strength_agree(edges: Path, suffix: str, convert: Callable[[np.ndarray], Any]) -> None:
    expected = score("edges", edges)
    with Image.open(edges / "preds/a.png") as stored:
        values = np.array(stored)
    (edges / "preds/a.png").unlink()
    save(edges / f"preds/a{suffix}", convert(values))
    assert score("edges", edges)["counts"] == expected["counts"]


def test_label_maps_in_pictures_arrays_and_mat(tmp_path: Path) -> None:
    labels = np.zeros((60, 80), np.uint16)
    labels[20:40, 30:60] = 300
    found = np.zeros((60, 80), np.uint8)
    found[19:39, 29], found[19:39, 59], found[19, 29:60], found[39, 29:60] = 255, 255, 255, 255
    for i, suffix in enumerate((".png", ".npy", ".mat")):
        save(tmp_path / f"targets/{i}_labels{suffix}", labels)
        save(tmp_path / f"preds/{i}.png", found)
    (tmp_path / "targets/0_other.png").write_bytes(b"left out, as its stem ends otherwise")
    options = ("--target-ending", "_labels", "--target-kind", "labels", "--no-nms")
    report = score("edges", tmp_path, *options)
    assert report["ods"] == 1.0
    assert np.unique(np.array(report["counts"])[:, 1]).size == 1
    assert report["counts"][0][1] % 3 == 0  # the same boundary from each of the three
    assert score("edges", tmp_path, *options, "--mat-key", "LabelMap") == report


def test_several_annotators(tmp_path: Path) -> None:
    save(tmp_path / "preds/a.png", lines(20) + lines(60))
    save(tmp_path / "targets/a/1.png", lines(20))
    save(tmp_path / "targets/a/2.png", lines(60, 80))
    report = score("edges", tmp_path, "--no-nms", "--several-annotators")
    # Each annotator's lines count for recall, each predicted pixel once for precision.
    assert report["counts"][50] == [160, 240, 160, 160]
    assert report["protocol"]["annotators"] == 2


def test_protocols_are_those_of_the_metric(edges: Path, mtdense_main: Main) -> None:
    from mtdense.metrics import OdsF

    for name in ("pascal_context", "nyud"):
        report = score("edges", edges, "--protocol", name)
        metric = getattr(OdsF, name)()
        assert report["protocol"]["max_dist"] == metric.max_dist
        assert report["protocol"]["target_kind"] == metric.target_kind
        for image in ("a", "sub/b"):
            pred, target = (np.array(Image.open(edges / side / f"{image}.png")) for side in ("preds", "targets"))
            metric.update([pred], [(target > 0).astype(np.int64)])
        assert report["counts"] == metric.counts.tolist()
        found = [report[name] for name in ("ods", "ois", "average_precision")]
        assert found == [float(metric.compute()), float(metric.ois), float(metric.average_precision)]
    # The archives of some repositories hold edge maps as floating point.
    save(edges / "targets/a.npy", (lines(20, 60) > 0).astype(np.float64))
    (edges / "targets/a.png").unlink()
    assert score("edges", edges, "--protocol", "nyud")["counts"] == report["counts"]
    save(edges / "targets/a.npy", lines(20, 60) / 500)
    assert "targets/a.npy" in refuse(mtdense_main, "edges", edges, "--protocol", "nyud")


@pytest.mark.parametrize("protocol", ["pascal_context", "nyud"])
@pytest.mark.skipif(
    ORACLE is None or not (Path(ORACLE) / "odsf").is_dir(),
    reason="MTDENSE_ORACLE does not name the folder of values of public evaluators",
)
def test_oracle(protocol: str, tmp_path: Path) -> None:
    assert ORACLE is not None
    folder = Path(ORACLE) / "odsf"
    ending, key = ("_seg0", "seism_pascal") if protocol == "pascal_context" else ("_b0", "seism_nyud")
    report = tmp_path / "report.json"
    places = ["--preds", folder / "pred", "--targets", folder / "gt", "--target-ending", ending, "--json", report]
    assert main(["score", "edges", "--protocol", protocol, *map(str, places)]) == 0
    expected = json.loads((folder / "summary.json").read_text())[key]
    found = json.loads(report.read_text())
    assert found["images"] == 12
    assert f"{found['ods']:.3f}" == f"{expected['ODS_oracle_nointerp']:.3f}"
    assert found["ods"] == pytest.approx(expected["ODS_oracle_nointerp"], abs=5e-4)
    assert found["ods"] == pytest.approx(expected["ODS_exact_nointerp"], abs=1e-6)
    assert found["ois"] == pytest.approx(expected["OIS_oracle"], abs=1e-3)
    assert found["average_precision"] == pytest.approx(expected["AP_oracle"], abs=1e-3)


# ---- the other tasks -------------------------------------------------------------------------------------------------
def test_semseg(tmp_path: Path) -> None:
    target = np.array([[0, 1, 1, 2], [0, 1, 3, 3]], np.uint8)  # 0: void, 3 classes from 1
    palette = Image.fromarray(np.array([[9, 0, 0, 1], [9, 1, 2, 2]], np.uint8))
    palette.putpalette([int(v) for v in np.arange(768) % 256])
    save(tmp_path / "targets/a.png", target)
    (tmp_path / "preds").mkdir()
    palette.save(tmp_path / "preds/a.png")
    table = tmp_path / "images.csv"
    options = ("--num-classes", 3, "--label-offset", 1, "--ignore-index", 0, "--per-image", table)
    report = score("semseg", tmp_path, *options)
    assert report["per_class"] == pytest.approx([2 / 3, 1 / 2, 1])
    assert report["mIoU"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert float(next(csv.DictReader(table.open()))["mIoU"]) == pytest.approx(report["mIoU"])
    more = (*options[:1], 4, *options[2:])
    assert score("semseg", tmp_path, *more)["mIoU"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 4)
    assert score("semseg", tmp_path, *more, "--absent", "skip")["mIoU"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_human_parts_leaves_out_images_without_people(tmp_path: Path) -> None:
    save(tmp_path / "targets/a.png", np.array([[0, 1], [255, 6]], np.uint8))
    save(tmp_path / "preds/a.npy", np.array([[0, 1], [3, 6]], np.int64))
    save(tmp_path / "targets/b.png", np.array([[0, 0], [255, 0]], np.uint8))
    save(tmp_path / "preds/b.npy", np.array([[5, 5], [5, 5]], np.int64))
    table = tmp_path / "images.csv"
    assert score("human_parts", tmp_path, "--absent", "skip", "--per-image", table)["mIoU"] == 1.0
    assert [row["mIoU"] for row in csv.DictReader(table.open())] == ["1.0", ""]


def test_saliency(tmp_path: Path) -> None:
    save(tmp_path / "targets/a.png", np.array([[255, 255, 0, 0]], np.uint8))
    save(tmp_path / "preds/a.png", np.array([[200, 100, 60, 0]], np.uint8))
    save(tmp_path / "targets/b.png", np.array([[1, 1, 0, 7]], np.uint8))
    save(tmp_path / "preds/b.npy", np.array([[0.8, 0.4, 0.3, 0.9]], np.float32))
    report = score("saliency", tmp_path, "--ignore-index", 7)
    assert report["maxF"] == pytest.approx(1.0)  # at 0.35
    single = score("saliency", tmp_path, "--ignore-index", 7, "--convention", "invpt")
    # The second sigmoid leaves cuts at 0.2007 (all four salient pixels and two others) and 0.4055 (two of four).
    by_hand = [1.3 * p * r / (0.3 * p + r) for p, r in ((4 / 6, 1), (1, 1 / 2))]
    assert single["maxF"] == pytest.approx(max(by_hand))
    assert single["protocol"]["convention"] == "invpt"


def test_depth(tmp_path: Path) -> None:
    save(tmp_path / "targets/a.npy", np.array([[1.0, 0.0, np.nan, 3.0]], np.float32))
    save(tmp_path / "preds/a.npy", np.array([[2.0, 9.0, np.nan, 3.0]], np.float32))
    save(tmp_path / "targets/b.png", np.array([[1000, 0, 2000]], np.uint16))
    save(tmp_path / "preds/b.npy", np.array([[1.0, 9.0, 4.0]], np.float64))
    report = score("depth", tmp_path, "--unit-scale", 1000)
    assert report["RMSE"] == pytest.approx(np.sqrt((1 + 0 + 0 + 4) / 4))
    assert report["absErr"] == pytest.approx(3 / 4)


def test_normals(tmp_path: Path) -> None:
    target = np.array([[[0, 0, 1], [0, 1, 0], [0, 0, 0], [np.nan, 0, 0]]], np.float32)
    pred = np.array([[[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1]]], np.float32)
    save(tmp_path / "targets/a.npy", target)
    save(tmp_path / "preds/a.npy", pred)
    report = score("normals", tmp_path)
    assert report["mErr"] == pytest.approx(45)
    assert (report["within_11.25"], report["rms"]) == (0.5, pytest.approx(np.sqrt(90**2 / 2)))
    save(tmp_path / "targets/b.png", np.rint((np.nan_to_num(target) + 1) * 127.5).astype(np.uint8))
    save(tmp_path / "preds/b.png", np.rint((pred + 1) * 127.5).astype(np.uint8))
    assert score("normals", tmp_path)["mErr"] == pytest.approx(45, abs=0.3)


def test_images_without_edges(edges: Path) -> None:
    for image in ("a", "sub/b"):
        save(edges / f"targets/{image}.png", lines())
        save(edges / f"preds/{image}.png", lines())
    table = edges / "images.csv"
    with pytest.warns(UserWarning, match="the scores are NaN"):
        assert score("edges", edges, "--per-image", table, "--figure", edges / "curve.png")["ods"] == "NaN"
    save(edges / "targets/a.png", lines(20))
    report = score("edges", edges, "--per-image", table)
    assert (report["ods"], report["ois"]) == (0, 0)
    assert [row["f"] for row in csv.DictReader(table.open())] == ["0.0", ""]


def test_nothing_to_score_is_nan(tmp_path: Path) -> None:
    save(tmp_path / "targets/a.npy", np.zeros((2, 2), np.float32))
    save(tmp_path / "preds/a.npy", np.ones((2, 2), np.float32))
    with pytest.warns(UserWarning, match="scored no valid pixel"):
        assert score("depth", tmp_path)["RMSE"] == "NaN"
