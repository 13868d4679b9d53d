"""W&B sweeps without W&B: the points of a file, and the command that an agent makes of one."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import yaml

from mtdense.core.experiments import experiments_root
from mtdense.core.seeds import derive_rng

FOLDER = experiments_root() / "sweeps"
SWEEPS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
DRAWS = 40
"""Points of a sweep that draws them."""


def read(name: str) -> dict[str, Any]:
    sweep: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return sweep


def points(name: str) -> list[dict[str, Any]]:
    """{parameter: value} of every grid point, or of draws that are always the same."""
    sweep = read(name)
    parameters = sweep["parameters"]
    if sweep["method"] == "grid":
        axes = [_values(name, key, entry) for key, entry in parameters.items()]
        return [dict(zip(parameters, point, strict=True)) for point in itertools.product(*axes)]
    return [{key: _draw(name, key, entry, i) for key, entry in parameters.items()} for i in range(DRAWS)]


def _values(name: str, key: str, entry: dict[str, Any]) -> list[Any]:
    assert set(entry) in ({"value"}, {"values"}), f"{name}: {key} is no axis of a grid"
    return [entry["value"]] if "value" in entry else list(entry["values"])


def _draw(name: str, key: str, entry: dict[str, Any], number: int) -> Any:
    rng = derive_rng(0, "sweep", name, key, number)
    if "distribution" not in entry:
        values = _values(name, key, entry)
        return values[int(rng.integers(len(values)))]
    assert entry["distribution"] in ("uniform", "log_uniform_values"), f"{name}: {key}"
    log = entry["distribution"] == "log_uniform_values"
    low, high = (math.log(entry[end]) if log else entry[end] for end in ("min", "max"))
    drawn = float(rng.uniform(low, high))
    return math.exp(drawn) if log else drawn


def command(name: str, point: dict[str, Any]) -> list[str]:
    """What an agent runs, without `/usr/bin/env` and the program: `fit` first."""
    made: list[str] = []
    for part in read(name)["command"]:
        if part == "${args}":
            made += [f"--{key}={value}" for key, value in point.items()]
        elif part not in ("${env}", "mtdense"):
            assert "$" not in part, f"{name}: {part}"
            made.append(part)
    return made


def some(name: str) -> list[dict[str, Any]]:
    """First, last and one point between, in which every axis has moved if it can."""
    found = points(name)
    return [found[0], found[len(found) // 2], found[-1]]


def variables(folder: Path, sweep: str, run: str) -> dict[str, str]:
    """What an agent sets for a run that it starts in `folder`, without a server."""
    settings = folder / "wandb" / f"sweep-{sweep}" / f"config-{run}.yaml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("wandb_version: 1\n")
    return {
        "WANDB_SWEEP_ID": sweep,
        "WANDB_RUN_ID": run,
        "WANDB_SWEEP_PARAM_PATH": str(settings),
        "WANDB_DIR": str(folder),
        "WANDB_MODE": "offline",
    }
