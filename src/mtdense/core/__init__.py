"""Foundation of the suite: errors, experiment files, optional packages, progress, seeds and the torchvision guard."""

from __future__ import annotations

# First: nothing below may import torchvision before the guard has looked at it.
from mtdense.core.torchvision_guard import GUARD_ACTIVE  # isort: split

from mtdense.core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingDependencyError,
    MTDenseError,
    NonFiniteLossError,
)
from mtdense.core.experiments import experiment_names, experiments_root, resolve_experiment
from mtdense.core.optional import require
from mtdense.core.progress import track
from mtdense.core.seeds import derive_rng, derive_seed

__all__ = [
    "GUARD_ACTIVE",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "MTDenseError",
    "MissingDependencyError",
    "NonFiniteLossError",
    "derive_rng",
    "derive_seed",
    "experiment_names",
    "experiments_root",
    "require",
    "resolve_experiment",
    "track",
]
