"""The cost of one image through an architecture, as a whole and by part."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mtdense.core.errors import ConfigError
from mtdense.data.sample import Batch, whole_canvas
from mtdense.models import DenseModule
from mtdense.reports.profile.conventions import CONVENTIONS, count_by_convention
from mtdense.reports.profile.full_count import full_macs

__all__ = [
    "COUNTERS",
    "Cost",
    "Measurement",
    "ModuleCost",
    "count_as",
    "count_cost",
    "image_batch",
    "inference_params",
    "measure",
]

COUNTERS = (*CONVENTIONS, "macs")
"""Ways of counting: those of `CONVENTIONS`, and `macs`, which is `full_macs`."""


@dataclass(frozen=True)
class ModuleCost:
    """A part of the network.

    Args:
        name: Dotted name; "" is the whole.
        params: Parameters, without those that only training uses.
        macs: Multiply-accumulates of one image; see `full_macs`.
    """

    name: str
    params: int
    macs: float


@dataclass(frozen=True)
class Cost:
    """What one image costs, without running anything.

    Args:
        input_size: (height, width).
        modules: The whole first, then its parts, depth first.
        training_only: Parameters that only training uses.
        conventions: {counter: (parameters, MACs)}; see `CONVENTIONS`.
    """

    input_size: tuple[int, int]
    modules: list[ModuleCost]
    training_only: int
    conventions: dict[str, tuple[int, float]]


@dataclass(frozen=True)
class Measurement:
    """What one image took.

    Args:
        latency: Seconds, median over runs.
        peak_memory: Most bytes held at a time, weights included: allocated tensors on a GPU, growth of the process's
            resident memory on a CPU; None where the system does not tell.
        runs: How many were timed.
    """

    latency: float
    peak_memory: int | None
    runs: int


def image_batch(size: Sequence[int], device: torch.device | str) -> Batch:
    """A batch of one grey image without labels."""
    return Batch(
        image=torch.full((1, 3, *size), 0.5, device=device),
        targets={},
        labelled={},
        id=["profile"],
        meta=whole_canvas(1, size, "", device),
    )


def count_cost(module: DenseModule, size: Sequence[int], depth: int = 2) -> Cost:
    """Counts one image of `size` (height, width); `module` may be on the meta device.

    Args:
        module: The architecture.
        size: Input height and width.
        depth: How deep the parts go.

    Raises:
        ConfigError: The network does not take images of this size.
    """
    run = _one_image(module, size)
    macs = full_macs(module, run)
    conventions = {name: count_by_convention(c, module.network, run) for name, c in CONVENTIONS.items()}
    extra = _training_only(module)
    # Shared parameters count once in the whole, and in each part that holds them.
    parts = [
        ModuleCost(name, sum(p.numel() for p in part.parameters() if id(p) not in extra), macs[name])
        for name, part in module.network.named_modules()
        if name.count(".") < depth and (not name or next(part.parameters(), None) is not None)
    ]
    dropped = sum(p.numel() for p in module.network.parameters() if id(p) in extra)
    conventions = {
        name: (params if CONVENTIONS[name].only_executed else params - dropped, value)
        for name, (params, value) in conventions.items()
    }
    height, width = size
    return Cost((height, width), parts, dropped, conventions)


def count_as(counter: str, module: DenseModule, size: Sequence[int]) -> tuple[int, float]:
    """Parameters and multiply-accumulates of one image by one counter; `module` may be on the meta device.

    Args:
        counter: One of `COUNTERS`.
        module: The architecture.
        size: Input height and width.

    Raises:
        ConfigError: No such counter, or the network does not take images of this size.
    """
    if counter not in COUNTERS:
        raise ConfigError(f"there is no counter {counter!r}", f"choose one of: {', '.join(COUNTERS)}.")
    run = _one_image(module, size)
    if counter == "macs":
        return inference_params(module), full_macs(module, run)[""]
    params, macs = count_by_convention(CONVENTIONS[counter], module.network, run)
    return params if CONVENTIONS[counter].only_executed else inference_params(module), macs


def inference_params(module: DenseModule, part: str = "") -> int:
    """Parameters of the network, or of a part of it, without those that only training uses.

    Args:
        module: The architecture.
        part: Dotted name below `module.network`; "" is the whole.
    """
    extra = _training_only(module)
    return sum(p.numel() for p in module.network.get_submodule(part).parameters() if id(p) not in extra)


def _one_image(module: DenseModule, size: Sequence[int]) -> Callable[[], None]:
    """Runs the network on one image of `size`, in evaluation mode; an error of it names the size."""
    module.eval()
    batch = image_batch(size, module.image_mean.device)

    def run() -> None:
        try:
            module.run_network(batch)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ConfigError(
                f"the network does not take an image of {size[0]}x{size[1]}: {str(error).splitlines()[0]}",
                "name another size in `--input-size H W`.",
            ) from error

    return run


def measure(
    module: DenseModule, size: Sequence[int], warmup: int = 5, runs: int = 50, seconds: float = 60
) -> Measurement:
    """Times inference of one image: warm-up, synchronised runs, their median.

    Args:
        module: The architecture, on its device.
        size: Input height and width.
        warmup: Runs before the clock starts.
        runs: Runs timed.
        seconds: Fewer runs, but three at least, where they would take longer than this.
    """
    module.eval()
    device = module.image_mean.device
    batch = image_batch(size, device)
    before = _resident("VmRSS")
    weights = sum(p.numel() * p.element_size() for p in module.network.parameters())
    _reset_peak(device)
    times: list[float] = []
    start = time.perf_counter()
    with torch.inference_mode():
        for i in range(warmup + runs):
            if len(times) >= 3 and time.perf_counter() - start > seconds:
                break
            _synchronise(device)
            begin = time.perf_counter()
            module.run_network(batch)
            _synchronise(device)
            if i >= warmup or time.perf_counter() - start > seconds:
                times.append(time.perf_counter() - begin)
    if device.type == "cuda":
        peak: int | None = torch.cuda.max_memory_allocated(device)
    else:
        highest = _resident("VmHWM")
        peak = None if before is None or highest is None else max(0, highest - before) + weights
    return Measurement(statistics.median(times), peak, len(times))


def _training_only(module: DenseModule) -> set[int]:
    prefixes = tuple(f"{prefix}." for prefix in module.training_only)
    return {id(p) for name, p in module.network.named_parameters() if f"{name}.".startswith(prefixes)}


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        # Linux: the peak of the resident memory starts anew from here.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _resident(field: str) -> int | None:
    """Bytes of a field of the process's status; None where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None
