"""Tests one run of a table again, from its checkpoint, and compares with its record."""

from __future__ import annotations

import math
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtdense.core.errors import DataError
from mtdense.core.seeds import derive_rng
from mtdense.reports.canonical import file_checksum
from mtdense.reports.evidence.jobs import test_command
from mtdense.reports.evidence.runner import pinned, tail
from mtdense.reports.paper_tables.runs import TableRun
from mtdense.reports.paper_tables.session import stale_because
from mtdense.reports.run_record import RunRecord
from mtdense.reports.training_run import partial_test

__all__ = ["TOLERANCE", "Verified", "draw_run", "verify_run"]

TOLERANCE = 1e-6
"""Largest relative difference of a metric that counts as agreement; the digits of another device may differ by more."""


@dataclass(frozen=True)
class Verified:
    """What a second test came to.

    Args:
        run: Name of the run.
        differences: One sentence each; empty where it agrees with the record.
        compared: Number of metrics compared.
    """

    run: str
    differences: list[str] = field(default_factory=list)
    compared: int = 0


def draw_run(runs: Sequence[TableRun], seed: int) -> TableRun:
    """One of the tested runs by lot.

    Raises:
        DataError: None is tested, or there are records that were edited or are of other runs.
    """
    tested = [run for run in runs if run.tested() is not None]
    if not tested:
        raise DataError("there is no tested run to verify", "run them first: `mtdense table run`.")
    return tested[int(derive_rng(seed, "table verify").integers(len(tested)))]


def verify_run(run: TableRun, environment: Mapping[str, str], tolerance: float = TOLERANCE) -> Verified:
    """Tests the run again and compares.

    Args:
        run: A tested run.
        environment: Of the program that tests it.
        tolerance: See `TOLERANCE`.

    Raises:
        DataError: It is not tested, its record was edited or is of another run, or it cannot be tested again.
    """
    record = run.tested()
    if record is None:
        why = stale_because(run) or partial_test(run.folder) or f"it is {run.state().value}"
        raise DataError(f"{run.name} has no test that could be verified: {why}", "run it: `mtdense table run`.")
    differences = _checkpoint_differences(run, record)
    with tempfile.TemporaryDirectory() as folder:
        again = _test_again(run, Path(folder), _as_tested(record, environment))
    differences += _record_differences(record, again, tolerance)
    return Verified(run.name, differences, len(record.metrics))


def _checkpoint_differences(run: TableRun, record: RunRecord) -> list[str]:
    if not run.checkpoint.is_file():
        raise DataError(f"{run.checkpoint} is missing", "without its weights a run can only be done again.")
    found = file_checksum(run.checkpoint)
    if record.checkpoint_sha256 in (None, found):
        return []
    return [f"the checkpoint {run.checkpoint} is {found[:12]}, the record's {str(record.checkpoint_sha256)[:12]}"]


def _as_tested(record: RunRecord, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with as many threads as the record's: the last digits depend on them."""
    number, _, word = record.device.rpartition(", ")[2].partition(" ")
    return pinned(environment, int(number)) if word == "threads" and number.isdigit() else dict(environment)


def _test_again(run: TableRun, folder: Path, environment: Mapping[str, str]) -> RunRecord:
    log = folder / "test.log"
    with log.open("wb") as stream:
        done = subprocess.run(
            test_command(run, "--run_dir", folder),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise DataError(f"{run.name} could not be tested again:\n{tail(log)}", "mend what it says, then verify again.")
    return RunRecord.read(folder / "records" / "test.json")


def _record_differences(record: RunRecord, again: RunRecord, tolerance: float) -> list[str]:
    """What differs, named."""
    differences = []
    for name, stored, found in (
        ("weights", record.weights_sha256, again.weights_sha256),
        ("data version", record.data.get("version"), again.data.get("version")),
        ("number of test images", record.data.get("test_size"), again.data.get("test_size")),
        ("method", record.method, again.method),
        ("tasks", record.tasks, again.tasks),
    ):
        if stored != found:
            differences.append(f"{name}: {_short(found)} now, {_short(stored)} in the record")
    new = {(metric.task, metric.name): metric for metric in again.metrics}
    for metric in record.metrics:
        other = new.pop((metric.task, metric.name), None)
        if other is None:
            differences.append(f"{metric.task} {metric.name}: not measured now")
        elif not _agree(metric.value, other.value, tolerance):
            differences.append(f"{metric.task} {metric.name}: {other.value:.8g} now, {metric.value:.8g} in the record")
        elif metric.protocol != other.protocol:
            differences.append(f"{metric.task} {metric.name}: protocol {other.protocol!r} now, {metric.protocol!r}")
    return differences + [f"{task} {name}: not in the record" for task, name in new]


def _agree(stored: float, found: float, tolerance: float) -> bool:
    if math.isnan(stored) or math.isnan(found):
        return math.isnan(stored) and math.isnan(found)
    return math.isclose(stored, found, rel_tol=tolerance, abs_tol=tolerance)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 48 else f"{text[:12]}…"
