"""Foundation: errors, experiment files, optional packages, progress, seeds, suggestions and the torchvision guard."""

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
from mtdense.core.suggest import close_matches, did_you_mean

__all__ = [
    "GUARD_ACTIVE",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "MTDenseError",
    "MissingDependencyError",
    "NonFiniteLossError",
    "close_matches",
    "derive_rng",
    "derive_seed",
    "did_you_mean",
    "experiment_names",
    "experiments_root",
    "require",
    "resolve_experiment",
    "track",
]
