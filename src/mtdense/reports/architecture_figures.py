"""The Lightning callback that draws an architecture's own figures while it trains and when it predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from mtdense.core.errors import ConfigError
from mtdense.data.sample import Batch
from mtdense.models import DenseModule
from mtdense.reports.contact_sheet import contact_sheet, rows_from_batch
from mtdense.reports.prediction_writer import safe_path

__all__ = ["ArchitectureFigures", "first_images"]


class ArchitectureFigures(Callback):
    """Draws the first images of a data set: predictions beside labels, and what the architecture itself has to show.

    Each validation of `fit` writes RUN/figures/step-NNNNNN/, `predict` writes OUT/figures/: `predictions.png` and one
    file for each picture of `DenseModule.figures` (for example the affinities of Prototype to its slots). Loggers with
    `log_image` (W&B) get them too. The network runs once more on these images, which changes nothing of the training.

    Args:
        images: Number of images, from the first of the data set on; at most one batch.
        out: Folder to write to; None is RUN/figures.

    Raises:
        ConfigError: `images` is not positive.
    """

    def __init__(self, images: int = 4, out: str | None = None) -> None:
        if images < 1:
            raise ConfigError(f"figures of {images} images", "name 1 or more, or leave the figures out.")
        self.images = images
        self.out = out

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draws the first batch of a validation during training."""
        if batch_idx == 0 and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._draw(trainer, pl_module, batch, f"step-{trainer.global_step:06d}")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draws the first batch of a prediction."""
        if batch_idx == 0:
            self._draw(trainer, pl_module, batch, "")

    def _draw(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, name: str) -> None:
        if not trainer.is_global_zero:
            return
        module = cast(DenseModule, pl_module)
        few = first_images(batch, self.images)
        with torch.no_grad():
            outputs = module.run_network(few)
            predictions = module.predictions(outputs, few["image"].shape[-2:], few)
            pictures = dict(module.figures(few, outputs))
        folder = Path(self.out or Path(trainer.default_root_dir) / "figures") / name
        files = [contact_sheet(rows_from_batch(few, predictions), module.tasks, folder / "predictions.png")]
        for key, picture in pictures.items():
            files.append(safe_path(folder, key, ".png"))
            Image.fromarray(picture).save(files[-1])
        for logger in trainer.loggers:
            log_image = getattr(logger, "log_image", None)
            if log_image is not None:
                for file in files:
                    log_image(key=f"figures/{file.stem}", images=[str(file)], step=trainer.global_step)


def first_images(batch: Batch, count: int) -> Batch:
    """The first `count` images of a batch, with all that belongs to them."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cut(item) for key, item in value.items()}
        return value[:count]

    return cast(Batch, cut(batch))
