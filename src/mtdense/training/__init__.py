"""Training parts that all architectures share: the partial-label reducer, optimisers, schedules, callbacks."""

from __future__ import annotations

from mtdense.training.recipes import (
    OptimizerName,
    ParameterGroup,
    ScheduleName,
    create_optimizer,
    create_schedule,
    schedule_factor,
)
from mtdense.training.reducer import PartialLabelReducer, Pool, Scale

__all__ = [
    "OptimizerName",
    "ParameterGroup",
    "PartialLabelReducer",
    "Pool",
    "Scale",
    "ScheduleName",
    "create_optimizer",
    "create_schedule",
    "schedule_factor",
]
