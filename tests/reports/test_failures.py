"""What is told of a run that broke off."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mtdense.cli.failures import explained, explanation
from mtdense.core.errors import DataError, NonFiniteLossError
from mtdense.data import DenseDataset, PartialLabelDataset, RawImage, full_label_mask
from mtdense.data.under_way import images_of_dead_workers
from mtdense.reports.failures import FiniteGradients


class Breaking(DenseDataset):
    """Ten images, one of which something happens to."""

    ids = tuple(f"image{i}" for i in range(10))
    version = "breaking"

    def __init__(self, happens: Callable[[], None]) -> None:
        self.happens = happens

    def task_specs(self) -> dict[str, dict[str, Any]]:
        return {}

    def available(self, index: int) -> frozenset[str]:
        return frozenset()

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        if index == 7:
            self.happens()
        return RawImage(self.ids[index], np.zeros((2, 2, 3), dtype=np.uint8), {})


def plain_sample(raw: RawImage, rng: np.random.Generator) -> Any:
    return {"id": raw.id, "meta": {}}


def read_all(happens: Callable[[], None], workers: int) -> None:
    dataset = Breaking(happens)
    data = PartialLabelDataset(dataset, {}, full_label_mask(dataset, []), plain_sample, 0)
    data.watch(workers)
    for _ in DataLoader(data, batch_size=2, num_workers=workers, collate_fn=list):
        pass


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    raise ZeroDivisionError("by zero")


def complain() -> None:
    raise DataError("a pixel is purple", "paint it.")


def test_a_dead_worker_names_its_image() -> None:
    with pytest.raises(DataError, match="a data worker died while it read 'image7'") as caught, explained():
        read_all(kill_this_process, 2)
    assert "data.num_workers" in str(caught.value)
    assert images_of_dead_workers("something else") is None


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_names_its_image(workers: int) -> None:
    with pytest.raises(DataError, match="image 'image7' could not be read or augmented: ZeroDivisionError: by zero"):
        read_all(crash, workers)
    with pytest.raises(DataError, match="image 'image7': a pixel is purple\n  Mend: paint it"):
        read_all(complain, workers)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
def test_advice_where_memory_runs_out_hides_nothing(error: Exception) -> None:
    before = str(error)
    with pytest.raises(type(error)) as caught, explained():
        raise error
    assert caught.value is error and str(error) == before
    (note,) = error.__notes__
    for word in ("data.batch_size", "accumulate_grad_batches", "trainer.precision", "eval_batch_size"):
        assert word in note


def test_other_errors_are_left_alone() -> None:
    error = RuntimeError("Connection closed by peer")  # nobody else is there
    with pytest.raises(RuntimeError) as caught, explained():
        raise error
    assert caught.value is error and not hasattr(error, "__notes__")
    assert explanation(ValueError("x")) is None


def test_an_infinite_gradient_stops_before_the_step() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer, callback = torch.optim.SGD([weight], lr=1.0), FiniteGradients()
    trainer: Any = SimpleNamespace(global_step=4, precision_plugin=SimpleNamespace(scaler=None))
    for images, value in ((["a"], 1.0), (["b"], 2.0), (["c", "d"], float("nan"))):
        callback.on_train_batch_start(trainer, None, {"id": images}, 0)  # type: ignore[arg-type]
        weight.grad = torch.tensor([0.0, value, 1.0])
        if value == value:
            callback.on_before_optimizer_step(trainer, None, optimizer)  # type: ignore[arg-type]
    with pytest.raises(NonFiniteLossError, match=r"the loss of step 5 is finite, its gradient is not; images.*: c, d"):
        callback.on_before_optimizer_step(trainer, None, optimizer)  # type: ignore[arg-type]
    trainer.precision_plugin.scaler = object()  # half precision: its scaler leaves the step out
    callback.on_before_optimizer_step(trainer, None, optimizer)  # type: ignore[arg-type]
