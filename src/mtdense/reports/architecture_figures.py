"""The Lightning callback that draws an architecture's own figures while it trains and when it predicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from mtdense.core.errors import ConfigError
from mtdense.core.words import counted
from mtdense.data.sample import Batch
from mtdense.models import DenseModule
from mtdense.models.checkpoint import load
from mtdense.models.diagnosis import Diagnosed
from mtdense.reports.canonical import write_atomic
from mtdense.reports.contact_sheet import contact_sheet, rows_from_batch
from mtdense.reports.diagnosis import Numbers, check_peers, first_images, peer_names, write_figures

__all__ = ["ArchitectureFigures", "first_images"]


class ArchitectureFigures(Callback):
    """Draws the first images of a data set: predictions beside labels, and what the architecture itself has to show.

    Each validation of `fit` writes RUN/figures/step-NNNNNN/, `predict` writes OUT/figures/: `predictions.png`, one
    file for each picture of `DenseModule.figures` (for example the affinities of Prototype to its slots), and, where
    the architecture has numbers of its own (TIF), `numbers.json` with those of the images drawn. Pictures of peers lie
    in a folder of each (BridgeNet's Figure 9 sets `refined.png` beside MTI-Net's). The network runs once more on these
    images, which changes nothing of the training. `mtdense diagnose` does the same for checkpoints, over a whole data
    set.

    Args:
        images: Number of images, from the first of the data set on; at most one batch.
        out: Folder to write to; None is RUN/figures.
        peers: Checkpoints of other networks, whose predictions stand beside these.
        upload: Give the pictures to loggers with `log_image`, too: W&B sends them to its server unless it is offline.

    Raises:
        ConfigError: `images` is not positive.
    """

    def __init__(
        self, images: int = 4, out: str | None = None, peers: list[str] | None = None, upload: bool = False
    ) -> None:
        if images < 1:
            raise ConfigError(f"figures of {counted(images, 'image')}", "name 1 or more, or leave the figures out.")
        self.images = images
        self.out = out
        self.peers = peers or []
        self.upload = upload
        self._loaded: dict[str, DenseModule] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Loads the peers, before anything long begins.

        Raises:
            CheckpointError: See `mtdense.models.checkpoint.load`.
            ConfigError: A peer shares no task with the network, or means something else by one.
        """
        if self.peers and not self._loaded:
            # Building networks draws random numbers, which training shall not miss.
            with torch.random.fork_rng(devices=[]):
                models = [load(path) for path in self.peers]
            names = peer_names(models, self.peers)
            self._loaded = dict(zip(names, models, strict=True))
            check_peers(self._loaded, cast(DenseModule, pl_module).tasks)

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
        size = few["image"].shape[-2:]
        with torch.no_grad():
            outputs = module.run_network(few)
            predictions = module.predictions(outputs, size, few)
            pictures = dict(module.figures(few, outputs))
            peers = {}
            for peer, other in self._loaded.items():
                seen = other.to(few["image"].device).run_network(few)
                peers[peer] = other.predictions(seen, size, few)
                pictures |= {f"{peer}/{name}": picture for name, picture in other.figures(few, seen).items()}
        folder = Path(self.out or Path(trainer.default_root_dir) / "figures") / name
        rows = rows_from_batch(few, predictions, peers=peers)
        files = [contact_sheet(rows, module.tasks, folder / "predictions.png"), *write_figures(pictures, folder)]
        if isinstance(module, Diagnosed):
            numbers = Numbers(list(module.tasks))
            numbers.add(few["id"], module.diagnostics(few, outputs))
            told = {"tasks": list(module.tasks), "numbers": numbers.summary()}
            write_atomic(folder / "numbers.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")
        for logger in trainer.loggers if self.upload else ():
            log_image = getattr(logger, "log_image", None)
            if log_image is not None:
                for file in files:
                    key = f"figures/{file.relative_to(folder).with_suffix('').as_posix()}"
                    log_image(key=key, images=[str(file)], step=trainer.global_step)
