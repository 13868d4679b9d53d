"""When `last.ckpt` is written, and when it is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mtdense.core.errors import ConfigError
from mtdense.training.callbacks import SaveLast


class Trainer(SimpleNamespace):
    """Counts saves."""

    def save_checkpoint(self, path: Path, weights_only: bool) -> None:
        self.saved.append((self.global_step, path.name, weights_only))


def make(step: int, **more: object) -> Trainer:
    return Trainer(global_step=step, saved=[], world_size=1, fast_dev_run=False, **more)


def test_on_schedule_at_the_end_and_once_a_step(tmp_path: Path) -> None:
    callback, trainer = SaveLast(tmp_path, every=2), make(0)
    for step in (1, 2, 2, 3, 4, 5):
        trainer.global_step = step
        callback.on_train_batch_end(trainer, None, None, None, 0)
    callback.on_train_end(trainer, None)
    assert trainer.saved == [(2, "last.ckpt", False), (4, "last.ckpt", False), (5, "last.ckpt", False)]


def test_interrupted_is_saved_failed_is_not(tmp_path: Path) -> None:
    callback, trainer = SaveLast(tmp_path), make(7)
    callback.on_exception(trainer, None, ValueError("nan"))
    assert trainer.saved == []
    callback.on_exception(trainer, None, KeyboardInterrupt())
    assert trainer.saved == [(7, "last.ckpt", False)]
    ranks = make(7)
    ranks.world_size = 2
    SaveLast(tmp_path).on_exception(ranks, None, KeyboardInterrupt())
    assert ranks.saved == []


def test_every_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="every 0 steps"):
        SaveLast(tmp_path, every=0)
