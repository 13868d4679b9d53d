"""Errors that a user can act on: each says what is wrong, where, and how to mend it."""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "LostRankError",
    "MTDenseError",
    "MissingDependencyError",
    "NonFiniteLossError",
]


class MTDenseError(Exception):
    """Base of all errors that mtdense raises on purpose.

    Args:
        problem: What is wrong, naming the file or the value.
        mend: What the user can do about it, as an imperative sentence.
    """

    # A DataLoader worker re-raises with the message alone, so `mend` must stay optional.
    def __init__(self, problem: str, mend: str | None = None) -> None:
        self.problem = problem
        self.mend = mend
        super().__init__(problem if mend is None else f"{problem}\n  Mend: {mend}")


class DataError(MTDenseError):
    """A file, a label or a label mask is missing, damaged or out of range."""


class ConfigError(MTDenseError):
    """An option or a combination of options makes no sense."""


class CheckpointError(MTDenseError):
    """A checkpoint cannot be used: damaged, of other classes or tasks, or not trusted."""


class NonFiniteLossError(MTDenseError):
    """A loss became NaN or infinite."""


class LostRankError(MTDenseError):
    """Another process of a distributed run died or cannot be reached."""


class MissingDependencyError(MTDenseError):
    """An optional package that this feature needs is not installed."""
