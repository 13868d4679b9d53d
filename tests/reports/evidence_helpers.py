"""Comparisons with made-up records."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mtdense.cli.configs import merge
from mtdense.reports.evidence import Comparison, Network, Trial, parse_plan
from tests.reports.helpers import make_record

PROGRAM = Path(__file__).with_name("evidence_program.py")

BASE: dict[str, Any] = {
    "data": {"class_path": "data_modules.ProceduralDataModule", "init_args": {"batch_size": 4}},
    "trainer": {"max_steps": 300, "check_val_every_n_epoch": None, "val_check_interval": 300},
}
PLAN: dict[str, Any] = {
    "about": "Made up.",
    "base": ["base.yaml"],
    "tasks": ["semseg", "depth"],
    "settings": {"one-label": {"data": {"init_args": {"label_setting": "one-label"}}}},
    "methods": {
        "single_task": {
            "single_task": "per_task",
            "config": {"model": {"class_path": "mtdense.models.SingleTask"}},
        },
        "plain": {"config": {"model": {"class_path": "mtdense.models.MTLBaseline"}}},
        "fancy": {
            "config": {"model": {"class_path": "mtdense.models.MTLBaseline", "init_args": {"weight_decay": 0.1}}}
        },
    },
    "grid": {"low": {"model": {"init_args": {"lr": 0.1}}}, "high": {"model": {"init_args": {"lr": 0.2}}}},
    "seeds": [0, 1, 2],
    "selection": {"rule": "delta_m", "reference": "plain"},
    "reference": "single_task",
    "order": ["fancy", "plain"],
    "estimate": {"start_seconds": 10, "step_seconds": 0.1, "test_seconds": 5},
}


def plan_with(**changes: Any) -> dict[str, Any]:
    """The plan with top-level keys replaced (None removes one)."""
    content = {**copy.deepcopy(PLAN), **changes}
    return {key: value for key, value in content.items() if value is not None}


def make_comparison(out: Path, base: Mapping[str, Any] = BASE, **changes: Any) -> Comparison:
    """A comparison of `plan_with(**changes)`; its only configuration file is `base`."""

    def read(names: Any) -> dict[str, Any]:
        return copy.deepcopy(dict(base)) if list(names) else {}

    return Comparison(parse_plan(plan_with(**changes), "plan.yaml"), out, read, merge)


def network(method: str, task: str | None = None) -> Network:
    return Network("one-label", method, task)


Scores = Callable[[Trial, str], dict[str, float] | None]


def write_records(comparison: Comparison, folder: Callable[[Trial], Path], scores: Scores) -> None:
    """Records of all runs that there may be; `scores(trial, "fit" | "test")` gives {task: score} or None: no record."""
    for each in comparison.networks:
        for grid in comparison.method(each).grid:
            for seed in comparison.plan.seeds:
                trial = comparison.trial(each, grid, seed)
                for kind in ("fit", "test"):
                    values = scores(trial, kind)
                    if values is None:
                        continue
                    if each.task is not None:
                        values = {each.task: values[each.task]}
                    # The class's own id, which two methods of a plan may share.
                    method = "single_task" if each.task else "mtl_baseline"
                    record = make_record(
                        method,
                        values,
                        seed,
                        kind=kind,
                        steps=trial.max_steps,
                        logged={"val/loss": sum(values.values())},
                    )
                    record.write(folder(trial) / f"{kind}.json")


def fill(comparison: Comparison, scores: Scores) -> None:
    """Puts records where the runs would have, as if all were done."""
    for each in comparison.networks:
        for grid in comparison.method(each).grid:
            for seed in comparison.plan.seeds:
                comparison.trial(each, grid, seed).mark()
    write_records(comparison, lambda trial: trial.folder / "records", scores)


@pytest.fixture
def quick_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of small files need not wait for the disk."""
    monkeypatch.setattr("os.fsync", lambda file: None)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the records that the stand-in program copies; it is used instead of mtdense."""
    import mtdense.reports.evidence.jobs as module

    folder = tmp_path / "prepared"
    folder.mkdir()

    def command(subcommand: str, *options: Any) -> list[str]:
        return [sys.executable, "-S", str(PROGRAM), str(folder), subcommand, *map(str, options)]

    monkeypatch.setattr(module, "_command", command)
    return folder
