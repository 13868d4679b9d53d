"""The configuration that a run leaves in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger

from mtdense.reports.canonical import write_atomic

__all__ = ["SaveConfig"]


class SaveConfig(SaveConfigCallback):
    """Saves the configuration in the run's own folder, and hands it to W&B nested as it is.

    Args:
        *args: See Lightning.
        text: The configuration without the places of this run, so that it can be run again elsewhere.
        **kwargs: See Lightning.
    """

    def __init__(self, *args: Any, text: str, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})
        self.text = text

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Writes `config.yaml` beside the checkpoints (for fit), or beside the stage's logs; none of a mere trial."""
        if getattr(trainer, "fast_dev_run", False):
            return
        folder = Path(trainer.default_root_dir if stage == "fit" else self.config["log_dir"])
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / self.config_filename, self.text)  # half a YAML file often is a good one of something else
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(yaml.safe_load(self.text), allow_val_change=True)
