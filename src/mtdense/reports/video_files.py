"""Predictions for the frames of a video, put together to a video again."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError, DataError

__all__ = ["VideoFile", "require_encoder"]

_LONGEST = 1920


def require_encoder() -> None:
    """Checks that this build of OpenCV can write the videos of `VideoFile`.

    Raises:
        ConfigError: The encoder is not there.
    """
    with tempfile.TemporaryDirectory(prefix="mtdense-video-") as folder:
        writer = _writer(Path(folder) / "probe.mp4", 25.0, (64, 64))
        there = writer.isOpened()
        writer.release()
    if not there:
        raise ConfigError(
            f"no video can be written: this build of OpenCV ({cv2.__version__}) has no VP9 encoder",
            "install opencv-python-headless from PyPI, or leave `--video` out.",
        )


class VideoFile:
    """A video of VP9 in MP4, which browsers play, written frame by frame.

    Args:
        path: File to write, ending in .mp4; its folder exists.
        rate: Frames per second.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self.rate = rate
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._shape: tuple[int, ...] = ()

    def add(self, picture: npt.NDArray[np.uint8]) -> None:
        """Takes a frame (H, W, 3) RGB; all of one size. Long sides above 1920 pixels are scaled down.

        Raises:
            DataError: The file cannot be written (see also `require_encoder`), or a frame has another size.
        """
        if self._writer is None:
            scale = min(1.0, _LONGEST / max(picture.shape[:2]))
            # The encoder takes even lengths only.
            height, width = (max(2, round(length * scale / 2) * 2) for length in picture.shape[:2])
            self._size = width, height
            self._shape = picture.shape
            self._writer = _writer(self.path, self.rate, self._size)
            if not self._writer.isOpened():
                raise DataError(
                    f"{self.path} cannot be written: OpenCV could not begin it",
                    "look whether its folder can be written to, or leave `--video` out.",
                )
        if picture.shape != self._shape:
            raise DataError(
                f"the frames of {self.path} change their size from {_said(self._shape)} to {_said(picture.shape)}",
                "convert the video to one size, or leave `--video` out.",
            )
        frame = np.ascontiguousarray(picture[..., ::-1])
        if frame.shape[1::-1] != self._size:
            frame = np.asarray(cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        self._writer.write(frame)

    def close(self) -> None:
        """Finishes the file."""
        if self._writer is not None:
            self._writer.release()


def _writer(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    return cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"vp09"), rate, size)


def _said(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
