"""What a network costs: parameters, multiply-accumulates, latency, memory."""

from __future__ import annotations

from mtdense.reports.profile.conventions import CONVENTIONS, Convention, count_by_convention
from mtdense.reports.profile.cost import (
    COUNTERS,
    Cost,
    Measurement,
    ModuleCost,
    count_as,
    count_cost,
    image_batch,
    inference_params,
    measure,
)
from mtdense.reports.profile.full_count import full_macs

__all__ = [
    "CONVENTIONS",
    "COUNTERS",
    "Convention",
    "Cost",
    "Measurement",
    "ModuleCost",
    "count_as",
    "count_by_convention",
    "count_cost",
    "full_macs",
    "image_batch",
    "inference_params",
    "measure",
]
