"""The Lightning callback that writes predictions as pictures and raw arrays while they come."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from mtdense.core.errors import DataError
from mtdense.reports.access import array_of, tasks_of
from mtdense.reports.contact_sheet import ContactRow, contact_sheet, rows_from_batch
from mtdense.reports.restore import CanvasGeometry, restore_prediction
from mtdense.tasks.base import ArrayAny, Task

__all__ = ["PredictionWriter", "safe_path"]


class PredictionWriter(Callback):
    """Writes OUT/<task>/<id>.png (colours) and OUT/<task>/<id>.npy (values) on the grid of the stored image.

    Arrays hold class ids as uint8 (int32 from 256 classes on) and float32 otherwise: probabilities for saliency and
    edges, (H, W, 3) unit vectors for normals, the label's unit for depth. Ids with "/" keep their sub-folders and can
    not leave OUT. Nothing is kept in memory: the trainer's own collecting of predictions is switched off, so
    `trainer.predict` returns None.

    Args:
        out: Folder to write to; None is RUN/predictions, where RUN is the trainer's `default_root_dir`.
        pictures: Write the PNG files.
        arrays: Write the NPY files.
        sheet: Number of images, from the first on, that are also put side by side in OUT/contact_sheet.png (images
            of the first rank in a distributed run).
    """

    def __init__(self, out: str | None = None, pictures: bool = True, arrays: bool = True, sheet: int = 0) -> None:
        self.out = out
        self.pictures = pictures
        self.arrays = arrays
        self.sheet = sheet
        self._rows: list[ContactRow] = []

    def folder(self, trainer: Trainer) -> Path:
        """Where the files go."""
        return Path(self.out) if self.out is not None else Path(trainer.default_root_dir) / "predictions"

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the trainer from collecting all predictions in memory."""
        trainer.predict_loop.return_predictions = False
        self._rows = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Writes the predictions of one batch.

        Raises:
            DataError: An id that would leave the output folder.
        """
        tasks = tasks_of(pl_module)
        folder = self.folder(trainer)
        for i, image_id in enumerate(outputs["id"]):
            geometry = CanvasGeometry.of(outputs["meta"], i)
            for name, prediction in outputs["predictions"].items():
                values = restore_prediction(tasks[name], array_of(prediction[i]), geometry)
                self._write(tasks[name], values, folder / name, image_id)
        if len(self._rows) < self.sheet and trainer.is_global_zero:
            self._rows += rows_from_batch(batch, outputs["predictions"], self.sheet - len(self._rows))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the contact sheet."""
        if self._rows:
            contact_sheet(self._rows, tasks_of(pl_module), self.folder(trainer) / "contact_sheet.png")
            self._rows = []

    def _write(self, task: Task, values: ArrayAny, folder: Path, image_id: str) -> None:
        if self.pictures:
            Image.fromarray(task.draw(values)).save(safe_path(folder, image_id, ".png"))
        if self.arrays:
            np.save(safe_path(folder, image_id, ".npy"), compact(values), allow_pickle=False)


def safe_path(folder: Path, image_id: str, suffix: str) -> Path:
    """File of an image below `folder`, with its parent folders made.

    Args:
        folder: Folder that must not be left.
        image_id: Id; "/" separates sub-folders.
        suffix: Appended as it is, such as ".png".

    Raises:
        DataError: The id is empty, absolute, climbs with "..", holds a backslash, a drive or a control character, or
            leads out of the folder through a link.
    """
    parts = image_id.split("/")
    bad = (
        any(part in ("", ".", "..") for part in parts)
        or "\\" in image_id
        or any(ord(character) < 32 for character in image_id)
        or PurePosixPath(image_id).is_absolute()
        or bool(PureWindowsPath(image_id).drive)
    )
    path = folder.joinpath(*parts[:-1], parts[-1] + suffix)
    if bad or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"the image id {image_id!r} leads out of the folder {folder}",
            'rename the image: ids are relative names without "..", backslashes or control characters.',
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def compact(values: ArrayAny) -> ArrayAny:
    """Smallest type that holds class ids; float32 for everything else."""
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.uint8 if values.max(initial=0) <= 255 else np.int32)
    return values.astype(np.float32)
