"""Weights of the tasks' losses that change while training; see docs/loss_weighting.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from mtdense.core.errors import ConfigError
from mtdense.training.weighting.base import LossWeighting, StepInfo, present_tasks
from mtdense.training.weighting.by_gradient import OPTIONS, GradientWeighting
from mtdense.training.weighting.by_loss import DynamicAverage, Fixed, Random, Uncertainty

__all__ = [
    "DynamicAverage",
    "Fixed",
    "GradientWeighting",
    "LossWeighting",
    "Random",
    "StepInfo",
    "Uncertainty",
    "WeightingName",
    "create_weighting",
    "present_tasks",
]

WeightingName = Literal["fixed", "uncertainty", "dwa", "random", "pcgrad", "mgda", "cagrad", "imtl_g", "aligned_mtl"]

_CLASSES: dict[str, type[LossWeighting]] = {
    "fixed": Fixed,
    "uncertainty": Uncertainty,
    "dwa": DynamicAverage,
    "random": Random,
}


def create_weighting(name: str, tasks: Sequence[str], options: Mapping[str, Any] | None = None) -> LossWeighting:
    """Builds a weighting; see docs/loss_weighting.md.

    Args:
        name: See `WeightingName`.
        tasks: Names of the tasks, in one order on all ranks.
        options: Of this weighting: `initial_log_sigma`, `lr` (uncertainty); `temperature`, `interval` (dwa); `seed`
            (random, pcgrad); `c` (cagrad); `scale_mode` (aligned_mtl).

    Raises:
        ConfigError: Unknown name or option, or an option out of range.
    """
    if name not in get_args(WeightingName):
        raise ConfigError(f"unknown loss_weighting '{name}'", f"use one of {', '.join(get_args(WeightingName))}.")
    known = {
        "uncertainty": ("initial_log_sigma", "lr"),
        "dwa": ("temperature", "interval"),
        "random": ("seed",),
        **{method: tuple(defaults) for method, defaults in OPTIONS.items()},
    }.get(name, ())
    given = dict(options or {})
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(
            f"`weighting_options` names {', '.join(unknown)} for '{name}'",
            f"it has {', '.join(known)}." if known else "it has no options.",
        )
    if name in OPTIONS:
        return GradientWeighting(tasks, name, given)
    return _CLASSES[name](tasks, **given)
