"""What the progress bar says of epochs."""

from __future__ import annotations

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar

from mtdense.training.progress_bar import ProgressBar


@pytest.mark.parametrize(
    ("limits", "said"), [({"max_steps": 9}, "Epoch 6"), ({"max_epochs": 8, "max_steps": 9}, "Epoch 6/7")]
)
def test_epochs_are_numbered_out_of_those_that_will_be(limits: dict[str, int], said: str) -> None:
    bar = ProgressBar.instead_of(RichProgressBar(refresh_rate=3))
    other = LearningRateMonitor()
    assert isinstance(bar, ProgressBar) and ProgressBar.instead_of(other) is other
    trainer = Trainer(**{"max_epochs": -1, **limits}, accelerator="cpu", callbacks=[bar], logger=False)
    assert trainer.progress_bar_callback is bar and bar.refresh_rate == 3
    bar._trainer = trainer
    # Lightning asks it this where an epoch begins.
    assert bar._get_train_description(6).rstrip() == said
