"""Our costs of a row, counted as the paper's table counts."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mtdense.core.errors import ConfigError
from mtdense.models import DenseModule
from mtdense.reports.paper_tables.structure import SINGLE_TASK, Block, CostCount, Row
from mtdense.reports.profile import Measurement, count_as, inference_params, measure

__all__ = ["TIMED", "Build", "measure_costs"]

Build = Callable[[Block, Row, str | None], DenseModule]
"""Builds a network on the default device, with the row's `costs.overrides`: (block, row, its one task or None)."""

TIMED = ("latency_s", "memory_gb")
"""Columns that depend on the machine; they are measured only where a device is named."""


def measure_costs(row: Row, block: Block, build: Build, device: torch.device | None = None) -> dict[str, float]:
    """Costs of one image at inference in the columns of the block; nothing of what the paper prints is read.

    Parameters and multiply-accumulates are counted on the meta device: no weights, no data, any size of network. A row
    of one network per task has the sum of its networks, and the most of their memory.

    Args:
        row: A row with an experiment.
        block: Its block.
        build: Builds its networks.
        device: Where latency and memory are measured, with random weights; None: they are not. Such figures belong to
            that device, and are not to be compared with another's.

    Returns:
        {one of `COSTS`: figure in the column's unit}; without `TIMED` where no device is named, and without
        `memory_gb` where the device does not tell.

    Raises:
        ConfigError: The row has no experiment, or a network does not take images of the table's size.
    """
    costs = row.costs
    if costs is None or row.experiment is None:
        reason = row.missing or "its block has no `costs`"
        raise ConfigError(f"the row {row.id} has no costs to count: {reason}", "choose another row.")
    found: dict[str, float] = {}
    for task in row.tasks if row.method == SINGLE_TASK else (None,):
        with torch.device("meta"):
            module = build(block, row, task)
        for name, value in _counted(module, costs).items():
            found[name] = found.get(name, 0.0) + value
        if device is not None and set(TIMED) & set(costs.columns):
            with device:
                module = build(block, row, task)
            _add_measured(found, measure(module.to(device), costs.size))
    if costs.extra_to is not None:
        found["extra_params_m"] -= _params(block.row(costs.extra_to), block, build)
    return {name: found[name] for name in costs.columns if name in found}


def _counted(module: DenseModule, costs: CostCount) -> dict[str, float]:
    columns = costs.columns
    if "gflops" in columns or costs.count == "thop":
        params, macs = count_as(costs.count, module, costs.size)
    else:
        params, macs = inference_params(module), 0.0
    found = {"params_m": params / 1e6, "extra_params_m": params / 1e6}
    if "gflops" in columns:
        found["gflops"] = macs / 1e9
    if {"encoder_params_m", "decoder_params_m"} & set(columns):
        encoder = inference_params(module, "backbone")
        found |= {"encoder_params_m": encoder / 1e6, "decoder_params_m": (inference_params(module) - encoder) / 1e6}
    return found


def _params(row: Row, block: Block, build: Build) -> float:
    """Parameters of another row of the block, in millions."""
    if row.costs is None or row.method == SINGLE_TASK:
        raise ConfigError(f"`costs.extra_to` of {block.id} is {row.id}, which is not one network", "name another row.")
    with torch.device("meta"):
        return _counted(build(block, row, None), row.costs)["params_m"]


def _add_measured(found: dict[str, float], measured: Measurement) -> None:
    found["latency_s"] = found.get("latency_s", 0.0) + measured.latency
    if measured.peak_memory is not None:
        found["memory_gb"] = max(found.get("memory_gb", 0.0), measured.peak_memory / 1e9)
