"""`mtdense doctor`: what this installation consists of, and what is wrong with it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from mtdense.core.errors import MTDenseError
from mtdense.core.experiments import experiment_names, experiments_root
from mtdense.core.torchvision_guard import GUARD_ACTIVE

__all__ = ["DATA_VARIABLE", "Diagnosis", "add_parser", "examine", "run"]

DATA_VARIABLE = "MTDENSE_DATA"
"""Environment variable with the folder, or several joined by the path separator, that data sets lie in."""

_PACKAGES = (
    "mtdense",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "timm",
    "numpy",
    "numba",
    "opencv-python-headless",
    "albumentations",
    "jsonargparse",
    "rich",
)
# Extra of setup.cfg -> a module that it brings.
_EXTRAS = {
    "dev": "pytest",
    "viz": "matplotlib",
    "cityscapes3d": "cityscapesscripts",
    "weighting": "torchjd",
    "serve": "gradio",
    "export": "onnx",
}
_LEAST_FREE = 1 << 30


@dataclass
class Diagnosis:
    """What was found.

    Args:
        facts: {section: {name: value}}, plain values.
        problems: One sentence each, with its mend; empty when all is well.
    """

    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `doctor`."""
    parser = subparsers.add_parser("doctor", help="check versions, devices, data folders and free disk")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Prints the diagnosis; 1 where there are problems."""
    diagnosis = examine()
    if args.json:
        print(json.dumps(asdict(diagnosis), indent=2, ensure_ascii=False))
    else:
        _print(diagnosis)
    return 1 if diagnosis.problems else 0


def examine() -> Diagnosis:
    """Looks at everything; a check that fails becomes a problem, never an exception."""
    diagnosis = Diagnosis()
    sections: dict[str, Callable[[list[str]], dict[str, Any]]] = {
        "versions": _versions,
        "devices": _devices,
        "extras": _extras,
        "experiments": _experiments,
        "data": _data,
        "disk": _disk,
        "numba": _numba,
    }
    for name, look in sections.items():
        try:
            diagnosis.facts[name] = look(diagnosis.problems)
        except (MTDenseError, OSError, RuntimeError) as error:
            diagnosis.facts[name] = {}
            diagnosis.problems.append(f"{name}: {error}")
    return diagnosis


def _versions(problems: list[str]) -> dict[str, Any]:
    # With its siblings comes Lightning, which takes seconds: `mtdense --help` need not wait for that.
    from mtdense.reports.environment import code_revision, versions

    found = versions(_PACKAGES)
    # OpenCV and mtdense itself may come by other ways than a distribution of that name.
    importable = {"opencv-python-headless": "cv2"}
    for name, version in found.items():
        if version is None and importlib.util.find_spec(importable.get(name, name)) is None:
            problems.append(f"{name} is not installed; install mtdense again")
    revision = code_revision()
    return {**found, "revision": revision["revision"], "dirty": revision["dirty"]}


def _devices(problems: list[str]) -> dict[str, Any]:
    from mtdense.reports.environment import device_name

    cuda = [device_name(torch.device("cuda", i)) for i in range(torch.cuda.device_count())]
    if torch.version.cuda is not None and cuda and not torch.cuda.is_available():
        problems.append("CUDA devices are there but cannot be used; check that the driver fits this build of torch")
    return {
        "cpu": device_name(),
        "cores": os.cpu_count(),
        "cuda": cuda,
        "cuda build": torch.version.cuda,
        "mps": torch.backends.mps.is_available(),
        "torchvision guard": "active: torchvision runs without its operators" if GUARD_ACTIVE else "not needed",
    }


def _extras(problems: list[str]) -> dict[str, Any]:
    return {extra: importlib.util.find_spec(module) is not None for extra, module in _EXTRAS.items()}


def _experiments(problems: list[str]) -> dict[str, Any]:
    root = experiments_root()
    count = len(experiment_names())
    if count == 0:
        problems.append(f"{root} holds no experiment; install mtdense again")
    return {"folder": str(root), "files": count}


def _data(problems: list[str]) -> dict[str, Any]:
    """Folders of `DATA_VARIABLE`; having none is fine, as the procedural scenes need no files."""
    named = [part for part in os.environ.get(DATA_VARIABLE, "").split(os.pathsep) if part]
    for folder in named:
        if not Path(folder).is_dir():
            problems.append(f"{DATA_VARIABLE} names {folder}, which is no folder; mend the path or unset the variable")
        elif not os.access(folder, os.R_OK | os.X_OK):
            problems.append(f"{folder} ({DATA_VARIABLE}) cannot be read; grant yourself access")
    return {DATA_VARIABLE: named, "procedural": "built in"}


def _disk(problems: list[str]) -> dict[str, Any]:
    places = {"working folder": Path.cwd(), "temporary folder": Path(tempfile.gettempdir())}
    found = {}
    for name, place in places.items():
        free = shutil.disk_usage(place).free
        found[f"{name} ({place})"] = f"{free / 2**30:.1f} GiB free"
        if free < _LEAST_FREE:
            problems.append(f"only {free / 2**20:.0f} MiB are free for the {name} {place}; delete something")
    if not os.access(Path.cwd(), os.W_OK):
        problems.append(f"{Path.cwd()} is not writable, and runs are written there; change to another folder")
    return found


def _numba(problems: list[str]) -> dict[str, Any]:
    """Where compiled kernels are kept: beside the source where that is writable, else in the user's cache folder."""
    import numba

    try:
        # Decorating compiles nothing, but numba looks for a writable folder now.
        probe = numba.njit(cache=True)(_probe)
    except RuntimeError:
        problems.append(
            "numba finds no writable folder for compiled kernels, so every start compiles anew; "
            "set NUMBA_CACHE_DIR to a writable folder"
        )
        return {"cache": None, "threads": numba.get_num_threads()}
    # With NUMBA_DISABLE_JIT the function comes back as it was, and nothing is cached.
    cache = probe.stats.cache_path if hasattr(probe, "stats") else None
    return {"cache": cache, "threads": numba.get_num_threads()}


def _probe(value: int) -> int:
    return value


def _print(diagnosis: Diagnosis) -> None:
    console = Console()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    table.add_column(overflow="fold")
    for section, facts in diagnosis.facts.items():
        for i, (name, value) in enumerate(facts.items()):
            table.add_row(section if i == 0 else "", name, _text(value))
    console.print(table)
    if diagnosis.problems:
        for problem in diagnosis.problems:
            console.print(f"[bold red]problem[/bold red] {problem}", highlight=False, soft_wrap=True)
    else:
        console.print("[green]all is well[/green]")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "–" if value is None else str(value)
