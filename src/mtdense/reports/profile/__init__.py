"""What a network costs: parameters, multiply-accumulates, latency, memory."""

from __future__ import annotations

from mtdense.reports.profile.conventions import CONVENTIONS, Convention, count_by_convention
from mtdense.reports.profile.cost import Cost, Measurement, ModuleCost, count_cost, image_batch, measure
from mtdense.reports.profile.full_count import full_macs

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Cost",
    "Measurement",
    "ModuleCost",
    "count_by_convention",
    "count_cost",
    "full_macs",
    "image_batch",
    "measure",
]
