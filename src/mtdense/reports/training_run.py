"""A training run that something planned: its configuration, its folder, and how far it has got."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from mtdense.core.errors import DataError
from mtdense.reports.canonical import canonical_json, checksum, plain, write_atomic
from mtdense.reports.environment import code_revision, versions
from mtdense.reports.run_files import DIVERGED, PLANNED
from mtdense.reports.run_record import RunRecord, limits_of

__all__ = ["State", "TrainingRun", "differing_keys", "flat", "partial_test"]


class State(Enum):
    """How far a run has got."""

    ABSENT = "to do"
    PARTIAL = "begun"
    DONE = "trained"
    DIVERGED = "diverged"
    OTHER = "of another configuration"


@dataclass(frozen=True)
class TrainingRun(ABC):
    """One training run.

    Args:
        seed: Its seed.
        config: Its configuration, without its folder.
        folder: Its run folder.
    """

    seed: int
    config: dict[str, Any]
    folder: Path

    @property
    @abstractmethod
    def id(self) -> str:
        """Its name for people."""

    @property
    def identity(self) -> dict[str, Any]:
        """What of the configuration makes it this run; all of it, unless a kind of run knows better."""
        return self.config

    @property
    def place_options(self) -> tuple[str, ...]:
        """Options of `mtdense` that say where things lie now, for a checkpoint says where they lay."""
        return ()

    @property
    def config_sha256(self) -> str:
        """Checksum of `identity`; a run of another one is another run."""
        return checksum(self.identity)

    @property
    def max_steps(self) -> int | None:
        """Optimiser steps; None where epochs bound the run."""
        steps = int((self.config.get("trainer") or {}).get("max_steps") or -1)
        return steps if steps > 0 else None

    @property
    def checkpoint(self) -> Path:
        """Where the run keeps its last checkpoint."""
        return self.folder / "checkpoints" / "last.ckpt"

    def state(self) -> State:
        """How far it has got.

        Raises:
            DataError: Its files are damaged.
        """
        fitted, diverged = self.folder / "records" / "fit.json", self.folder / DIVERGED
        if not (fitted.is_file() or diverged.is_file() or self.checkpoint.is_file()):
            return State.ABSENT
        if self._marked() != self.config_sha256:
            return State.OTHER
        if diverged.is_file():
            return State.DIVERGED
        if not fitted.is_file():
            return State.PARTIAL
        # A run that something else than its configuration ended or seeded is not ours.
        return State.DONE if self.ended_otherwise() is None else State.OTHER

    def ended_otherwise(self) -> str | None:
        """What is wrong with the training that the folder's record tells of; None if nothing, or without a record.

        Raises:
            DataError: A damaged record.
        """
        path = self.folder / "records" / "fit.json"
        if not path.is_file():
            return None
        record = RunRecord.read(path)
        if (limits := record.partial) != limits_of(self.config.get("trainer") or {}, "fit"):
            return f"a training on a part of its data ({_told(limits)})"
        steps = record.steps if self.max_steps is None else self.max_steps
        if (record.steps, record.seed) == (steps, self.seed):
            return None
        return f"a training of {record.steps} steps with seed {record.seed}, not of {steps} with {self.seed}"

    def fitted(self) -> RunRecord | None:
        """Record of the training, with the scores of its validation; None unless it is done."""
        return RunRecord.read(self.folder / "records" / "fit.json") if self.state() is State.DONE else None

    def tested(self) -> RunRecord | None:
        """Record of the test of these weights, or None; that of a part of the data is none, see `partial_test`.

        Raises:
            DataError: The folder's test is of other weights than its training ended with.
        """
        fitted, path = self.fitted(), self.folder / "records" / "test.json"
        if fitted is None or not path.is_file():
            return None
        record = RunRecord.read(path)
        if record.partial:
            return None
        if record.weights_sha256 != fitted.weights_sha256:
            raise DataError(
                f"{path} is a test of other weights than those of the training in the same folder",
                f"remove {path}; the test is then done again.",
            )
        return record

    def diverged(self) -> dict[str, Any] | None:
        """What was written down of a training that diverged: `message`, `code` and `versions`; else None.

        Raises:
            DataError: Damaged files.
        """
        return self._stored(DIVERGED, ("message", "code", "versions")) if self.state() is State.DIVERGED else None

    def mark_diverged(self, message: str) -> None:
        """Writes down that the training diverged, which it would do again.

        Args:
            message: What it said of it.
        """
        told = {"message": message, "code": dict(code_revision()), "versions": versions()}
        write_atomic(self.folder / DIVERGED, json.dumps(plain(told), indent=2, ensure_ascii=False) + "\n")

    def mark(self) -> None:
        """Writes down which configuration the folder's run has."""
        told = {"id": self.id, "config_sha256": self.config_sha256, "config": self.identity}
        write_atomic(self.folder / PLANNED, json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def unmark(self) -> None:
        """Takes back `mark` and `mark_diverged`: what lies in the folder is of no known configuration."""
        (self.folder / PLANNED).unlink(missing_ok=True)
        (self.folder / DIVERGED).unlink(missing_ok=True)

    def _marked(self) -> str | None:
        return (
            str(self._stored(PLANNED, ("config_sha256",))["config_sha256"])
            if (self.folder / PLANNED).is_file()
            else None
        )

    def _stored(self, name: str, keys: Sequence[str]) -> dict[str, Any]:
        path = self.folder / name
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return {key: stored[key] for key in keys}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is damaged: {error}", f"remove the folder {self.folder}; the run is then done again."
            ) from error


def partial_test(folder: Path) -> str | None:
    """What to say of a run's test where it saw a part of the data alone; None of a whole one, or of none.

    Raises:
        DataError: A damaged record.
    """
    for name in ("test.json", "test-partial.json"):
        path = folder / "records" / name
        if path.is_file():
            limits = RunRecord.read(path).partial
            return f"its only test is of a part of the data ({_told(limits)}, {name})" if limits else None
    return None


def _told(limits: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in limits.items()) or "not the planned one"


def differing_keys(run: TrainingRun) -> list[str]:
    """Dotted names in which the folder's configuration differs from the run's, for errors."""
    try:
        stored = json.loads((run.folder / PLANNED).read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    ours, theirs = dict(flat(run.identity)), dict(flat(stored))
    absent = object()
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key, absent) != theirs.get(key, absent))


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, canonical JSON) of each value in nested mappings."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, canonical_json(value)
