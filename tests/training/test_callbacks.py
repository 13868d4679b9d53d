"""When `last.ckpt` is written, and when it is not; and the random generators that go with it."""

from __future__ import annotations

import os
import random
import signal
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment

from mtdense.core.errors import ConfigError
from mtdense.training.callbacks import AMID_STEP, RandomState, SaveLast
from mtdense.training.stopping import STOPPED, StoppedRun, requeue_job, stop_run


class Trainer(SimpleNamespace):
    """Counts saves."""

    def save_checkpoint(self, path: Path, weights_only: bool) -> None:
        self.saved.append((self.global_step, path.name, weights_only))


def make(step: int, *, validates: bool = False, accumulates: bool = False, **more: Any) -> Trainer:
    batches = SimpleNamespace(_combined_loader=object(), max_batches=more.pop("batches", [2]))
    epoch_loop = SimpleNamespace(_should_check_val_fx=lambda fetcher: validates, val_loop=batches)
    loop = SimpleNamespace(_data_fetcher=object(), epoch_loop=epoch_loop, _should_accumulate=lambda: accumulates)
    more["_accelerator_connector"] = SimpleNamespace(cluster_environment=more.pop("environment", None))
    more = {"is_global_zero": True, "local_rank": 0, "max_steps": -1, **more}
    given = {"world_size": 1, "global_rank": 0, "fast_dev_run": False, "sanity_checking": False, **more}
    return Trainer(global_step=step, saved=[], fit_loop=loop, state=SimpleNamespace(fn="fit"), **given)


def batch_end(callback: SaveLast, trainer: Trainer) -> None:
    callback.on_train_batch_end(trainer, None, None, None, 0)


def test_on_schedule_at_the_end_and_once_a_step(tmp_path: Path) -> None:
    callback, trainer = SaveLast(tmp_path, every=2), make(0)
    for step in (1, 2, 2, 3, 4, 5):
        trainer.global_step = step
        batch_end(callback, trainer)
    callback.on_train_end(trainer, None)
    assert trainer.saved == [(2, "last.ckpt", False), (4, "last.ckpt", False), (5, "last.ckpt", False)]


@pytest.mark.parametrize("pending", [True, False])
def test_what_is_saved_between_the_batches_of_a_step_says_so(tmp_path: Path, pending: bool) -> None:
    callback, checkpoint = SaveLast(tmp_path), {"global_step": 3}
    callback.on_save_checkpoint(make(3, accumulates=pending), None, checkpoint)
    assert checkpoint.get(AMID_STEP, False) is pending
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        callback.on_load_checkpoint(make(0), None, checkpoint)
    lost = ["after step 3: gradients of the first are lost" in str(warning.message) for warning in told]
    assert lost == [True] * pending


def test_where_a_validation_follows_it_is_saved_after_that(tmp_path: Path) -> None:
    callback, trainer = SaveLast(tmp_path, every=2), make(2, validates=True)
    batch_end(callback, trainer)
    assert trainer.saved == []
    callback.on_validation_end(trainer, None)
    assert trainer.saved == [(2, "last.ckpt", False)]
    trainer.sanity_checking = True
    callback.on_validation_end(trainer, None)
    trainer.sanity_checking, trainer.state.fn = False, "validate"
    callback.on_validation_end(trainer, None)
    assert len(trainer.saved) == 1


def test_without_validation_images_nothing_follows(tmp_path: Path) -> None:
    callback, trainer = SaveLast(tmp_path, every=2), make(2, validates=True, batches=[])
    batch_end(callback, trainer)
    assert trainer.saved == [(2, "last.ckpt", False)]


def test_nothing_is_saved_while_gradients_wait(tmp_path: Path) -> None:
    callback, trainer = SaveLast(tmp_path, every=1), make(1, accumulates=True)
    batch_end(callback, trainer)
    callback.on_validation_end(trainer, None)
    assert trainer.saved == []


def test_an_interrupt_is_heard_at_the_end_of_the_step(tmp_path: Path) -> None:
    callback, trainer = SaveLast(tmp_path, every=100), make(7)
    before = signal.getsignal(signal.SIGINT)
    callback.on_train_start(trainer, None)
    signal.raise_signal(signal.SIGINT)
    assert trainer.saved == []
    with pytest.raises(KeyboardInterrupt):
        batch_end(callback, trainer)
    assert trainer.saved == [(7, "last.ckpt", False)]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    callback.on_exception(trainer, None, KeyboardInterrupt())
    assert len(trainer.saved) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_saves_and_ends_with_a_code_of_its_own(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    callback, trainer = SaveLast(tmp_path, every=100), make(7, accumulates=True)
    callback.on_train_start(trainer, None)
    signal.raise_signal(signal.SIGTERM)
    batch_end(callback, trainer)
    trainer.fit_loop._should_accumulate = lambda: False
    with pytest.raises(StoppedRun) as stop:
        batch_end(callback, trainer)
    assert stop.value.code == STOPPED == 75
    assert trainer.saved == [(7, "last.ckpt", False)]
    callback.on_exception(trainer, None, stop.value)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_requeue_signal_of_slurm_queues_the_job_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    for number, environment in ((signal.SIGUSR1, SLURMEnvironment()), (signal.SIGTERM, SLURMEnvironment())):
        trainer = make(7, environment=environment)
        with pytest.raises(StoppedRun):
            stop_run(trainer, number)
    with pytest.raises(StoppedRun):
        stop_run(make(7, environment=SLURMEnvironment(auto_requeue=False)), signal.SIGUSR1)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert requeue_job()
    assert (tmp_path / "asked").read_text().split("\n") == ["requeue 4711", "requeue 12_3", ""]
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3; rm")
    assert not requeue_job()


def test_errors_save_nothing_and_are_told_in_peace(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    callback, trainer = SaveLast(tmp_path), make(7, world_size=2)
    callback.on_train_start(trainer, None)
    callback.on_exception(trainer, None, ValueError("nan"))
    signal.raise_signal(signal.SIGTERM)  # torchrun's, who has seen another process die
    signal.signal(signal.SIGTERM, before)
    assert trainer.saved == []


def test_every_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="every 0 steps"):
        SaveLast(tmp_path, every=0)


def draws() -> tuple[float, ...]:
    legacy = (np.random.rand(), np.random.randn())  # noqa: NPY002 - the global generator is what is kept
    return float(torch.rand(())), random.random(), random.gauss(0, 1), *map(float, legacy)


def test_random_state_comes_back(tmp_path: Path) -> None:
    random.gauss(0, 1)  # leaves a second value waiting
    checkpoint: dict[str, Any] = {}
    RandomState().on_save_checkpoint(make(1), None, checkpoint)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    expected = draws()
    restored = RandomState()
    restored.on_load_checkpoint(make(1), None, torch.load(tmp_path / "last.ckpt", weights_only=True))
    assert draws() != expected
    restored.on_train_start(make(1), None)
    assert draws() == expected
    restored.on_train_start(make(1), None)
    assert draws() != expected


def test_another_number_of_processes_is_told() -> None:
    restored, checkpoint = RandomState(), {}
    restored.on_save_checkpoint(make(1), None, checkpoint)
    restored.on_load_checkpoint(make(1), None, checkpoint)
    with pytest.warns(UserWarning, match="written by 1 processes and goes on in 2"):
        restored.on_train_start(make(1, world_size=2), None)
