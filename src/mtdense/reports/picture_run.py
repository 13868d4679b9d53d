"""`mtdense predict --images`: everything that is written for pictures and videos without labels."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from mtdense.core.errors import MTDenseError
from mtdense.core.progress import track
from mtdense.core.words import counted
from mtdense.data.pictures import Source
from mtdense.data.sample import RawImage
from mtdense.reports.canonical import plain, write_atomic
from mtdense.reports.gallery import Gallery
from mtdense.reports.picture_sheet import Panel, picture_sheet
from mtdense.reports.prediction_files import BOX_FILE, draw_boxes, safe_path, write_boxes
from mtdense.reports.predictor import Predicted, Predictor, numbered_classes
from mtdense.reports.raw_files import RawForm, png_coding, write_raw
from mtdense.reports.video_files import VideoFile, require_encoder
from mtdense.tasks.base import ArrayAny

__all__ = ["MANIFEST", "PictureRun", "Wanted"]

MANIFEST = "predictions.json"

_FRAMES_IN_GALLERY = 12
_SAVED_EVERY = 30.0  # seconds
# What may be wrong with one file and not with the next. Of the system's errors those are not that end every writing.
_OF_A_FILE = (MTDenseError, OSError, UnicodeError, MemoryError, torch.OutOfMemoryError, cv2.error)
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@dataclass(frozen=True)
class Wanted:
    """What is to be written.

    Args:
        raw: Values as arrays, as 16-bit PNG, or not at all.
        png_scale: Levels per metre (or other unit) of 16-bit PNG files.
        sheets: A side-by-side sheet for each picture.
        gallery: "folder": a page with its pictures beside it; "single": all in one file; "none".
        video: Put predictions for a video's frames together to a video.
        every: Takes each so many-th frame of videos.
        max_frames: Takes at most so many frames of each.
    """

    raw: RawForm = "npy"
    png_scale: float = 1000.0
    sheets: bool = True
    gallery: str = "folder"
    video: bool = False
    every: int = 1
    max_frames: int | None = None


@dataclass
class PictureRun:
    """Predicts on sources and writes as it goes; memory does not grow with their number, but for the page's text.

    OUT/<task>/<id>.png holds colours, OUT/<task>/<id>.npy (or _raw.png) values, OUT/sheets/<id>.png all side by side,
    OUT/index.html the gallery, and OUT/predictions.json what was done. A file that cannot be done is named in `failed`,
    and does not stop the others. Gallery and manifest are there, too, where the run is interrupted: the manifest from
    the beginning, so that the folder is known for one of predictions, and it says whether the run is complete.

    Args:
        predictor: Predicts.
        out: Folder to write to.
        wanted: What to write.
        about: What the manifest says of the model, as plain values.
    """

    predictor: Predictor
    out: Path
    wanted: Wanted
    about: dict[str, Any]
    failed: list[dict[str, str]] = field(default_factory=list)
    _done: list[dict[str, Any]] = field(default_factory=list)

    def run(self, sources: Sequence[Source]) -> int:
        """Does it all: the number of pictures and frames predicted.

        Raises:
            MTDenseError: An option or a task that cannot be honoured.
        """
        if self.wanted.raw == "png16":
            for task in self.predictor.tasks.values():
                png_coding(task, self.wanted.png_scale)
        if self.wanted.video and any(source.is_video for source in sources):
            require_encoder()
        tasks = list(self.predictor.tasks)
        gallery = Gallery(self.out, tasks, self._line(len(sources)), self_contained=self.wanted.gallery == "single")
        self._save(complete=False)
        saved = time.monotonic()
        try:
            for source in track(sources, "Predicting"):
                self._try(source, gallery)
                if time.monotonic() - saved > _SAVED_EVERY:
                    self._save(complete=False)
                    saved = time.monotonic()
        except BaseException as error:
            try:
                self._finish(gallery, complete=False)
            except OSError as second:  # such as on a full disk
                error.add_note(f"What had been done by then could not be written down, either: {second}")
            raise
        self._finish(gallery, complete=True)
        return len(self._done)

    def _finish(self, gallery: Gallery, complete: bool) -> None:
        self._save(complete)
        if self.wanted.gallery != "none":
            gallery.write()

    def _try(self, source: Source, gallery: Gallery) -> None:
        try:
            self._source(source, gallery)
        except _OF_A_FILE as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise
            told = error.problem if isinstance(error, MTDenseError) else f"{source.path}: {_first_line(error)}"
            self.failed.append({"id": source.id, "file": str(source.path), "problem": told})

    def _save(self, complete: bool) -> None:
        text = json.dumps(self._manifest(complete), indent=2, ensure_ascii=False) + "\n"
        # Of a name that is no UTF-8, JSON's own escapes: it reads back as Python spells such names.
        write_atomic(self.out / MANIFEST, text.encode("utf-8", "backslashreplace"))

    def _path(self, folder: str, id: str, suffix: str) -> Path:
        return safe_path(self.out, f"{folder}/{id}", suffix)

    def _source(self, source: Source, gallery: Gallery) -> None:
        videos: dict[str, VideoFile] = {}
        if source.is_video and self.wanted.video:
            rate = source.frame_rate() / self.wanted.every
            for task in self.predictor.tasks:
                videos[task] = VideoFile(self._path(task, source.id, ".mp4"), rate)
        frames = -(-source.frame_count() // self.wanted.every)
        if self.wanted.max_frames is not None:
            frames = min(frames, self.wanted.max_frames)
        stride = max(1, frames // _FRAMES_IN_GALLERY)
        first: Predicted | None = None
        try:
            for number, raw in enumerate(source.pictures(self.wanted.every, self.wanted.max_frames)):
                found = self.predictor(raw)
                first = first or found
                # Frames share the colours of the first, or they would flicker.
                drawn = self._write(source, raw, found, first, gallery if number % stride == 0 else None)
                for task, video in videos.items():
                    video.add(drawn[task])
        finally:
            for video in videos.values():
                video.close()
        if videos:
            gallery.add_videos(source.id, {task: video.path for task, video in videos.items()})

    def _write(
        self, source: Source, raw: RawImage, found: Predicted, first: Predicted, gallery: Gallery | None
    ) -> dict[str, npt.NDArray[np.uint8]]:
        panels, files = [], {}
        for name, values in found.values.items():
            panel = self._panel(name, values, first.values[name])
            path = self._path(name, raw.id, ".png")
            for suffix in (".npy", "_raw.png"):
                self._path(name, raw.id, suffix)  # no link there leads out of the folder
            Image.fromarray(panel.picture).save(path)
            stem = path.with_name(path.name.removesuffix(".png"))
            stored = write_raw(self.predictor.tasks[name], values, stem, self.wanted.raw, self.wanted.png_scale)
            files[f"{name} values" if stored else name] = stored or path
            panels.append(panel)
        for name, found_ones in found.objects.items():
            task = self.predictor.tasks[name]
            over, above = draw_boxes(task, found_ones, raw.image)
            path = self._path(name, raw.id, ".png")
            Image.fromarray(over).save(path)
            Image.fromarray(above).save(self._path(name, raw.id, "_above.png"))
            files[name] = path
            if self.wanted.raw != "none":
                files[f"{name} values"] = self._path(name, raw.id, BOX_FILE)
                write_boxes(task, found_ones, files[f"{name} values"])
            panels.append(Panel(name, over))
        photo = Panel("photograph", raw.image)
        if self.wanted.sheets:
            path = self._path("sheets", raw.id, ".png")
            files = {"sheet": picture_sheet([photo, *panels], raw.id, path), **files}
        if gallery is not None and self.wanted.gallery != "none":
            gallery.add(raw.id, photo, panels, files)
        height, width = raw.image.shape[:2]
        tiles = {"tiles": len(found.plan.tiles), "zoom": round(found.plan.zoom, 4)}
        self._done.append({"id": raw.id, "file": str(source.path), "height": height, "width": width, **tiles})
        return {panel.title: panel.picture for panel in panels}

    def _panel(self, name: str, values: ArrayAny, like: ArrayAny) -> Panel:
        task = self.predictor.tasks[name]
        return Panel(name, task.draw(values, like), task.legend(values, like))

    def _line(self, count: int) -> str:
        looked = (
            "whole" if self.predictor.tile is None else f"in tiles at {self.predictor.tile:g} times the fitting size"
        )
        height, width = self.predictor.size
        model = self.about.get("method", type(self.predictor.model).__name__)
        numbered = numbered_classes(self.predictor.tasks)
        return (
            f"{model}, {', '.join(self.predictor.tasks)}; {counted(count, 'file')}, looked at {looked} "
            f"({height} × {width})" + (f"; {numbered}" if numbered else "")
        )

    def _manifest(self, complete: bool) -> dict[str, Any]:
        coded = self.wanted.raw == "png16"
        tasks = {
            name: {**task.spec, **({"png16": png_coding(task, self.wanted.png_scale)} if coded else {})}
            for name, task in self.predictor.tasks.items()
        }
        told = {
            "format": 1,
            "complete": complete,
            **self.about,
            "tasks": tasks,
            "size": list(self.predictor.size),
            "tile": self.predictor.tile,
            "overlap": self.predictor.overlap,
            "pictures": self._done,
            "failed": self.failed,
        }
        result: dict[str, Any] = plain(told)
        return result


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
