"""Pictures and videos named by file, folder and glob."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.picture_ids import picture_ids
from mtdense.data.pictures import find_sources


def picture(path: Path, size: tuple[int, int] = (20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)
    return path


def video(path: Path, frames: int = 6) -> Path:
    """Frames whose red rises."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 12.0, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), (0, 0, 40 * number), np.uint8))
    writer.release()
    return path


def paths(*patterns: Path | str) -> list[Path]:
    return [source.path for source in find_sources([str(p) for p in patterns])]


def test_find_each_once_in_order(tmp_path: Path) -> None:
    b, a = picture(tmp_path / "b.png"), picture(tmp_path / "a.jpg")
    deep, odd = picture(tmp_path / "sub" / "c.webp"), picture(tmp_path / "sub" / "[1].png")
    (tmp_path / "notes.txt").write_text("x")
    assert paths(b, tmp_path) == [b, a]
    assert paths(tmp_path / "*.jpg") == [a]
    assert paths(tmp_path / "**" / "*.webp") == [deep]
    assert paths(odd) == [odd]
    for nothing in ("none.png", "*.tif", "notes.txt"):
        with pytest.raises(DataError, match="no picture at"):
            find_sources([str(tmp_path / nothing)])


def test_ids_tell_files_apart(tmp_path: Path) -> None:
    files = [picture(tmp_path / "x" / "one.png"), picture(tmp_path / "y" / "one.png")]
    assert [source.id for source in find_sources([str(p) for p in files])] == ["x/one", "y/one"]
    files.append(picture(tmp_path / "y" / "one.jpg"))
    assert [s.id for s in find_sources([str(p) for p in files])] == ["x/one", "y/one", "y/one-2"]


def test_ids_are_the_names_given_and_share_no_file(tmp_path: Path) -> None:
    blob = picture(tmp_path / "store" / "0a1b.png")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("beach.png", "hill.png"):
        (photos / name).symlink_to(blob)
    for name in ("a.png", "a_raw.png", "A.jpg", "c:d.png", "line\nfeed.png", "back\\slash.png"):
        picture(photos / name)
    (photos / "...png").write_bytes(b"")
    (photos / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    picture(photos / f"{'x' * 240}.png")
    (photos / "gone.png").symlink_to(tmp_path / "nowhere")
    found = {source.path.name: source.id for source in find_sources([str(photos), str(photos / ".." / "photos")])}
    assert found == {
        "...png": "_",
        "A.jpg": "A",
        "a.png": "a-2",
        "a_raw.png": "a_raw-2",
        "back\\slash.png": "back_slash",
        "beach.png": "beach",
        "c:d.png": "c_d",
        os.fsdecode(b"caf\xe9.png"): "caf\ufffd",
        "gone.png": "gone",
        "hill.png": "hill",
        "line\nfeed.png": "line_feed",
        f"{'x' * 240}.png": "x" * 180,
    }
    # Frames are ID/000123.
    assert picture_ids([Path("/walk.mp4"), Path("/walk/000000.png")], [True, False]) == ["walk", "000000"]
    two = [Path("/b/walk.mp4"), Path("/c/walk.mp4"), Path("/walk.mp4"), Path("/walk/000000.png")]
    assert picture_ids(two, [True, True, True, False]) == ["b/walk", "c/walk", "walk", "walk/000000-2"]


def test_frames_of_a_video(tmp_path: Path) -> None:
    (source,) = find_sources([str(video(tmp_path / "walk.mp4"))])
    assert source.is_video and source.frame_count() == 6 and source.frame_rate() == pytest.approx(12)
    frames = list(source.pictures(every=2))
    assert [frame.id for frame in frames] == ["walk/000000", "walk/000002", "walk/000004"]
    assert frames[0].image.shape == (48, 64, 3)
    assert [int(frame.image[24, 32, 0]) for frame in frames] == pytest.approx([0, 80, 160], abs=12)  # red comes first
    assert len(list(source.pictures(limit=4))) == 4
    with pytest.raises(ConfigError, match=r"each 0\. frame"):
        next(source.pictures(every=0))


def test_a_file_that_is_no_video_or_a_play_list(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 1000)
    # A play list that sends its reader to a network is not followed.
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    for name in ("broken.mp4", "list.mp4"):
        (source,) = find_sources([str(tmp_path / name)])
        with pytest.raises(DataError, match="cannot be opened as a video"):
            next(source.pictures())
