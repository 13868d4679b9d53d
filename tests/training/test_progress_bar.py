"""What the progress bar says of epochs, and how often it reads values from the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar

from mtdense.training.progress_bar import ProgressBar
from tests.cli.test_lightning import MULTI, SMALL

Main = Callable[..., tuple[int, str]]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps after which Lightning's bar read the loss of training."""
    found: list[int] = []

    def metrics(self: RichProgressBar, trainer: Any, *arguments: object) -> dict[str, float]:
        if trainer.training:
            found.append(trainer.global_step)
        return {"train/loss": float(trainer.global_step)}

    monkeypatch.setattr(RichProgressBar, "get_metrics", metrics)
    return found


def test_the_loss_is_read_as_often_as_it_is_logged(read: list[int]) -> None:
    trainer: Any = SimpleNamespace(training=True, log_every_n_steps=10, global_step=0)
    bar, shown = ProgressBar(), []
    for trainer.global_step in range(25):
        shown.append(bar.get_metrics(trainer, L.LightningModule())["train/loss"])
    assert read == [0, 1, 10, 20] and shown == [0.0, *[1.0] * 9, *[10.0] * 10, *[20.0] * 5]
    trainer.training = False  # after a validation
    assert bar.get_metrics(trainer, L.LightningModule()) == {"train/loss": 24.0}


def test_runs_do_so(mtdense_main: Main, tmp_path: Path, read: list[int]) -> None:
    bar = ("--trainer.enable_progress_bar", "true", "--trainer.callbacks+", "RichProgressBar")
    code, err = mtdense_main(
        "fit",
        *MULTI,
        *SMALL,
        *bar,
        "--run_dir",
        tmp_path,
        "--trainer.max_steps",
        "6",
        "--trainer.log_every_n_steps",
        "3",
    )
    assert code == 0, err
    assert set(read) == {1, 3, 6}


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
