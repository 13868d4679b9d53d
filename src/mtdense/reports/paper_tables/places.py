"""Where the data of a row lie, what is wrong with them, and replicas where none are to be had."""

from __future__ import annotations

import inspect
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule

from mtdense.core.errors import ConfigError, MTDenseError
from mtdense.data.published import PublishedData
from mtdense.data.replicas import REPLICA_WRITERS, write_replica
from mtdense.models.checkpoint import resolve_class
from mtdense.reports.canonical import canonical_json
from mtdense.reports.evidence.runner import sole_use
from mtdense.reports.paper_tables.budgets import REPLICA_IMAGES, Budget

__all__ = ["DATA_VARIABLE", "data_root", "data_version", "parse_roots", "problem_of", "train_images", "write_data"]

DATA_VARIABLE = "MTDENSE_DATA"
"""Environment variable with the folder, or several joined by the path separator, that data sets lie in by their ids."""

_WRITING = ".writing"


def parse_roots(texts: Sequence[str]) -> dict[str, Path]:
    """Reads `NAME=DIR`, the folders of data sets.

    Raises:
        ConfigError: Another form, or a name that is no data set of the tables.
    """
    roots = {}
    for text in texts:
        name, equals, place = text.partition("=")
        if not equals or not place or name not in REPLICA_WRITERS:
            raise ConfigError(f"--root {text}", f"write NAME=DIR, where NAME is one of {', '.join(REPLICA_WRITERS)}.")
        roots[name] = Path(place)
    return roots


def data_root(dataset: str, budget: Budget, out: Path, roots: Mapping[str, Path]) -> Path | None:
    """The folder of a data set, absolute; None where nobody says where genuine data lie.

    `full` takes genuine data: from `roots`, else from a folder of `DATA_VARIABLE`. `short` takes them only from
    `roots`, and else a replica below `out`; `smoke` always the replica.
    """
    if dataset not in REPLICA_WRITERS:
        return None  # procedural scenes need no files
    if dataset in roots and budget.name != "smoke":
        return roots[dataset].expanduser().resolve()
    if budget.name != "full":
        return (out / "data" / f"{dataset}-{budget.name}").resolve()
    named = [Path(part).expanduser() for part in os.environ.get(DATA_VARIABLE, "").split(os.pathsep) if part]
    return next(((folder / dataset).resolve() for folder in named if (folder / dataset).exists()), None)


def data_version(section: Mapping[str, Any]) -> str | None:
    """Version of the training data that a run's `data` section would read now; None where they are not there.

    Raises:
        MTDenseError: They are there, but damaged.
    """
    root = (section.get("init_args") or {}).get("root")
    if (root is None and _takes_root(section)) or (root is not None and not Path(root).exists()):
        return None
    return str(_opened(canonical_json(dict(section)), _changed(root)).dataset("train").version)


def problem_of(section: Mapping[str, Any]) -> str | None:
    """What the data of a run's `data` section lack: one sentence; None where they can be opened."""
    root = (section.get("init_args") or {}).get("root")
    if root is None and _takes_root(section):
        return "nobody says where it is"
    if root is not None and not Path(root).exists():
        return f"no such folder: {root}"
    try:
        module = _opened(canonical_json(dict(section)), _changed(root))
        for split in ("train", "test"):
            module.dataset(split)
    except MTDenseError as error:
        return str(error)
    return None


def train_images(dataset: str, budget: Budget) -> int:
    """Number of training images: as published, or of the replica."""
    if budget.name == "full":
        return int(PublishedData.registered[dataset].counts["train"])
    return _replica_images(dataset, budget)[0]


def write_data(dataset: str, budget: Budget, out: Path, size: Sequence[int]) -> Path:
    """Writes the replica of a budget unless it is there; gives its folder.

    It is written beside its place and moved there when it is whole, so that a broken-off one is never read.

    Raises:
        ConfigError: Another process is writing it.
    """
    folder = data_root(dataset, budget, out, {})
    if folder is None:
        raise ConfigError(f"the budget {budget} takes genuine data of {dataset}", "name their folder by `--root`.")
    if folder.is_dir():
        return folder
    with sole_use(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            writing = folder.with_name(folder.name + _WRITING)
            shutil.rmtree(writing, ignore_errors=True)
            train, test = _replica_images(dataset, budget)
            write_replica(dataset, writing, train, test, seed=0, size=tuple(size))
            writing.rename(folder)
    return folder


def _replica_images(dataset: str, budget: Budget) -> tuple[int, int]:
    known = REPLICA_IMAGES[budget.name]
    return known.get(dataset, known[""])


def _takes_root(section: Mapping[str, Any]) -> bool:
    kind = resolve_class(str(section["class_path"]), LightningDataModule)
    return "root" in inspect.signature(kind).parameters


def _changed(root: str | None) -> int:
    return 0 if root is None else Path(root).stat().st_mtime_ns


@cache
def _opened(section: str, changed: int) -> Any:
    """The data module of a section; `changed`, the time of its folder, tells one opening from a later one."""
    content = json.loads(section)
    kind = resolve_class(str(content["class_path"]), LightningDataModule)
    options = dict(content["init_args"])
    if "cache" in options:
        options["cache"] = False  # its version is asked for, not its scenes
    return kind(**options)
