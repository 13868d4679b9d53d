"""Options that let the training runs of pages take two steps."""

from __future__ import annotations

FAST = (
    "--model.backbone=tiny",
    "--trainer.max_steps=2",
    "--trainer.val_check_interval=2",
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--data.num_workers=0",
)
