"""The Lightning callback that writes predictions as pictures and raw arrays while they come."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from mtdense.reports.access import picture_of, tasks_of
from mtdense.reports.contact_sheet import ContactRow, contact_sheet, rows_from_batch
from mtdense.reports.prediction_files import Place, safe_path, write_prediction
from mtdense.reports.restore import CanvasGeometry

__all__ = ["PredictionWriter", "safe_path"]


class PredictionWriter(Callback):
    """Writes OUT/<task>/<id>.png (colours) and OUT/<task>/<id>.npy (values) on the grid of the stored image.

    Arrays hold class ids as uint8 (int32 from 256 classes on) and float32 otherwise: probabilities for saliency and
    edges, (H, W, 3) unit vectors for normals, the label's unit for depth. 3-D boxes have no array but
    <id>_detections.json, in the official format of Cityscapes 3D, and a further picture <id>_above.png. Ids with "/"
    keep their sub-folders and can not leave OUT. Nothing is kept in memory: the trainer's own collecting of predictions
    is switched off, so `trainer.predict` returns None.

    Args:
        out: Folder to write to; None is RUN/predictions, where RUN is the trainer's `default_root_dir`.
        pictures: Write the PNG files.
        arrays: Write the NPY or JSON files.
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
            DataError: An id that would leave the output folder; or boxes of an image whose camera has no known place
                in the vehicle.
        """
        tasks = tasks_of(pl_module)
        folder = self.folder(trainer)
        for i, image_id in enumerate(outputs["id"]):
            geometry = CanvasGeometry.of(outputs["meta"], i)
            for name, prediction in outputs["predictions"].items():
                place = Place(folder / name, image_id, self.pictures, self.arrays)
                write_prediction(tasks[name], prediction[i], geometry, partial(picture_of, batch["image"], i), place)
        if len(self._rows) < self.sheet and trainer.is_global_zero:
            self._rows += rows_from_batch(batch, outputs["predictions"], self.sheet - len(self._rows))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the contact sheet."""
        if self._rows:
            contact_sheet(self._rows, tasks_of(pl_module), self.folder(trainer) / "contact_sheet.png")
            self._rows = []
