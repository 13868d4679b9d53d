"""People's own pictures, without labels: files, folders, globs, and the frames of videos."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.io import EXTENSIONS, MAX_PIXELS, read_image
from mtdense.data.picture_ids import picture_ids
from mtdense.data.sample import RawImage

__all__ = ["VIDEOS", "Source", "find_sources"]

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
"""File types that are read as videos, compared in lower case."""

_PICTURES = tuple(extension for extension in EXTENSIONS if extension != ".npy")
# A video may name others (a play list): none of them is fetched from a network.
_LOCAL_ONLY = "protocol_whitelist;file"
_CAPTURE_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


@dataclass(frozen=True)
class Source:
    """A picture, or a video.

    Args:
        path: The file.
        id: Its stem, with as many parent folders as it takes to tell it from the others; see `picture_ids`.
    """

    path: Path
    id: str

    @property
    def is_video(self) -> bool:
        """Whether it has frames."""
        return self.path.suffix.lower() in VIDEOS

    def pictures(self, every: int = 1, limit: int | None = None) -> Iterator[RawImage]:
        """The picture, or the frames of the video as they come, with ids such as `walk/000030`.

        Args:
            every: Takes each so many-th frame, the first one included.
            limit: Takes at most so many frames.

        Raises:
            ConfigError: Either is below 1.
            DataError: Missing, damaged or too large, or a video without a frame.
        """
        if every < 1 or (limit is not None and limit < 1):
            raise ConfigError(f"each {every}. frame, at most {limit}", "give whole numbers of 1 or more.")
        if not self.is_video:
            yield RawImage(self.id, read_image(self.path))
            return
        capture = _open_video(self.path)
        try:
            taken = 0
            for number in _frames(capture, every):
                if taken == limit:
                    break
                whole, frame = capture.retrieve()
                if not whole:
                    break
                taken += 1
                yield RawImage(f"{self.id}/{number:06d}", np.ascontiguousarray(frame[..., ::-1], dtype=np.uint8))
        finally:
            capture.release()
        if taken == 0:
            raise DataError(f"no frame of {self.path} can be decoded", "Convert it, for example to .mp4 with H.264.")

    def frame_rate(self) -> float:
        """Frames per second of a video; 25 where it does not say.

        Raises:
            DataError: It cannot be opened.
        """
        rate = self._ask(cv2.CAP_PROP_FPS)
        return rate if 0 < rate < 1000 else 25.0

    def frame_count(self) -> int:
        """Frames of a video as its header says, which may be wrong; 1 of a picture.

        Raises:
            DataError: It cannot be opened.
        """
        return max(1, int(self._ask(cv2.CAP_PROP_FRAME_COUNT))) if self.is_video else 1

    def _ask(self, what: int) -> float:
        capture = _open_video(self.path)
        answer = float(capture.get(what))
        capture.release()
        return answer


def find_sources(patterns: Sequence[str]) -> list[Source]:
    """Pictures and videos named by paths, folders and globs (`**` for sub-folders), each once, in the order named.

    Raises:
        DataError: A pattern that finds none.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.is_file() and path.suffix.lower() in (*EXTENSIONS, *VIDEOS):
            # A name may hold the signs of a glob; arrays count only where they are named.
            found.setdefault(_place(path), path)
            continue
        # Path.glob takes no absolute patterns.
        named = glob.glob(str(path), recursive=True)  # noqa: PTH207
        matches = sorted(path.iterdir()) if path.is_dir() else sorted(map(Path, named))
        pictures = [p for p in matches if p.suffix.lower() in (*_PICTURES, *VIDEOS) and _is_named(p)]
        if not pictures:
            kinds = ", ".join((*_PICTURES, *VIDEOS))
            raise DataError(f"no picture at {pattern}", f"name files of the kinds {kinds}, folders or globs.")
        for picture in pictures:
            found.setdefault(_place(picture), picture)
    paths = list(found.values())
    ids = picture_ids([Path(place) for place in found], [Source(path, "").is_video for path in paths])
    return [Source(path, name) for path, name in zip(paths, ids, strict=True)]


def _place(path: Path) -> str:
    # Not what a link leads to: the name is the user's.
    return os.path.abspath(path)  # noqa: PTH100


def _is_named(path: Path) -> bool:
    """Whether it is a file, or a link to one that is gone, which is to be told and not passed over."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _open_video(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise DataError(f"no such file: {path}", "Restore it, or leave it out.")
    before = os.environ.get(_CAPTURE_OPTIONS)
    os.environ[_CAPTURE_OPTIONS] = _LOCAL_ONLY
    try:
        capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    finally:
        if before is None:
            del os.environ[_CAPTURE_OPTIONS]
        else:
            os.environ[_CAPTURE_OPTIONS] = before
    if not capture.isOpened():
        raise DataError(f"{path} cannot be opened as a video", "Convert it, for example to .mp4 with H.264.")
    pixels = capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    if pixels > MAX_PIXELS:
        capture.release()
        raise DataError(f"frames of {path} have {pixels:.0f} pixels, above {MAX_PIXELS}", "Scale it down before use.")
    return capture


def _frames(capture: cv2.VideoCapture, every: int) -> Iterator[int]:
    """Numbers of the frames to take, each grabbed; those between are not decoded to colours."""
    number = 0
    while capture.grab():
        if number % every == 0:
            yield number
        number += 1
