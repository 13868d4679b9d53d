"""What one training step takes: its parts by the clock, its memory, its arithmetic."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mtdense.data.sample import Batch
from mtdense.models import DenseModule

__all__ = ["PARTS", "Precision", "StepClock", "count_flops", "matrix_peak", "peak_memory", "precision_context", "step"]

Precision = Literal["32", "bf16-mixed"]
PARTS = ("forward", "loss", "backward", "optimizer")


class StepClock:
    """Marks the ends of a step's parts without making a GPU wait: events there, the clock of the wall elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.marks: list[tuple[str, Any]] = []

    def mark(self, part: str) -> None:
        """What was done since the last mark belongs to `part`."""
        if self.cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append((part, event))
        else:
            self.marks.append((part, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        """{part: seconds} since the first mark; the marks are forgotten."""
        if self.cuda:
            torch.cuda.synchronize()
        found: dict[str, float] = {}
        for (_, start), (part, end) in zip(self.marks, self.marks[1:], strict=False):
            passed = start.elapsed_time(end) / 1e3 if self.cuda else end - start
            found[part] = found.get(part, 0.0) + passed
        self.marks = []
        return found


def precision_context(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Autocast as Lightning's `bf16-mixed` sets it, or nothing."""
    if precision == "32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def step(
    module: DenseModule,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    precision: Precision = "32",
    clock: StepClock | None = None,
) -> Tensor:
    """One training step; returns its loss.

    Args:
        module: The architecture.
        optimizer: Of its parameters.
        batch: On its device.
        precision: Of forward pass and losses.
        clock: Gets a mark at the end of each of `PARTS`.
    """
    clock = clock or StepClock(torch.device("cpu"))
    clock.mark("")
    optimizer.zero_grad(set_to_none=True)
    clock.mark("optimizer")
    with precision_context(precision, module.device), _watched(module, clock):
        loss, _ = module.training_loss(batch)
    clock.mark("loss")
    loss.backward()
    clock.mark("backward")
    optimizer.step()
    clock.mark("optimizer")
    return loss.detach()


@contextlib.contextmanager
def _watched(module: DenseModule, clock: StepClock) -> Iterator[None]:
    """What `run_network` does is `forward`; the rest of `training_loss` is `loss`."""
    run: Callable[[Batch], Any] = module.run_network

    def watched(batch: Batch) -> Any:
        clock.mark("loss")
        outputs = run(batch)
        clock.mark("forward")
        return outputs

    module.run_network = watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.run_network


def count_flops(module: DenseModule, batch: Batch) -> tuple[int, float]:
    """Floating-point operations of a step's convolutions and matrix products, backward pass included; and its loss.

    Operations as they are run, two for each multiply-accumulate; what the backward pass computes again counts again.
    """
    with FlopCounterMode(display=False) as counter:
        loss, _ = module.training_loss(batch)
        loss.backward()
    module.zero_grad(set_to_none=True)
    return int(counter.get_total_flops()), loss.item()


def matrix_peak(device: torch.device, precision: Precision) -> float:
    """Floating-point operations a second of a large square matrix product, the best of several."""
    side = 8192 if device.type == "cuda" else 1536
    dtype = torch.float32 if precision == "32" else torch.bfloat16
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        clock = StepClock(device)
        clock.mark("")
        torch.mm(a, b)
        clock.mark("product")
        best = min(best, clock.seconds()["product"])
    return 2 * side**3 / best


def peak_memory(device: torch.device, run: Callable[[], object]) -> int | None:
    """Most bytes that `run` held beyond what was held before: tensors on a GPU, resident memory elsewhere.

    None where the system does not tell.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        Path("/proc/self/clear_refs").write_text("5")
        held = _status("VmRSS")
        run()
        return max(0, _status("VmHWM") - held)
    except OSError:
        return None


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status lacks {field}")
