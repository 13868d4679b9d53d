"""How the cost of architectures grows with the number of tasks and the size of the image.

    python -m benchmarks.cost_growth --figure docs/cost_growth.png

counts parameters and multiply-accumulates (all of them, attention included) of one image at inference, on the meta
device: nothing is computed or downloaded. Every task is a copy of depth, one value a pixel, so that the number of tasks
alone changes. Prints the tables of docs/cost_growth.md; the figure needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import mtdense.models
from mtdense.core import require, track
from mtdense.models import DenseModule
from mtdense.reports.profile import full_macs, image_batch
from mtdense.tasks import Task
from mtdense.tasks.depth import Depth

__all__ = ["METHODS", "Point", "count", "main", "same_tasks", "to_markdown"]

METHODS: dict[str, dict[str, Any]] = {
    "TIF": {},
    "ATRC": {"genotype": "global"},
    "InvPT": {},
    "BridgeNet": {"tfr_size": "large"},
}
"""The classes compared, with their options."""
SIZES = ((224, 288), (448, 576), (896, 1152))
TASKS = range(1, 9)
BACKBONE = "hrnet_w18"


@dataclass(frozen=True)
class Point:
    """One network at one image size.

    Args:
        method: Its class.
        tasks: Number of tasks.
        size: Height and width of the image.
        params: Parameters, those of the backbone included.
        macs: Multiply-accumulates of one image.
        backbone_macs: Those of the backbone.
    """

    method: str
    tasks: int
    size: tuple[int, int]
    params: int
    macs: float
    backbone_macs: float


@contextmanager
def same_tasks(number: int) -> Iterator[dict[str, dict[str, Any]]]:
    """Specifications of so many tasks, each a copy of depth with a name of its own; they are known inside only."""
    names = [f"task_{i + 1}" for i in range(number)]
    for name in names:
        type(name, (Depth,), {"name": name, "__module__": __name__})
    try:
        yield {name: {} for name in names}
    finally:
        for name in names:
            del Task.registered[name]


def count(
    method: str, tasks: int, sizes: Sequence[tuple[int, int]], options: Mapping[str, Any], backbone: str = BACKBONE
) -> list[Point]:
    """Counts one architecture with so many tasks, at each size."""
    kind: type[DenseModule] = getattr(mtdense.models, method)
    points = []
    with same_tasks(tasks) as specs, torch.device("meta"):
        for size in sizes:
            # Some networks are made for a size.
            model = kind(tasks=specs, backbone=backbone, input_size=list(size), **options).eval()
            macs = full_macs(model, partial(model.run_network, image_batch(size, "meta")))
            params = sum(p.numel() for p in model.network.parameters())
            points.append(Point(method, tasks, size, params, macs[""], macs["backbone"]))
    return points


def to_markdown(points: Sequence[Point], shown: Sequence[int] = (1, 2, 4, 8)) -> str:
    """Two tables: parameters, and MACs at each size, by number of tasks."""
    by = {(p.method, p.tasks, p.size): p for p in points}
    methods, sizes = list(dict.fromkeys(p.method for p in points)), list(dict.fromkeys(p.size for p in points))
    last = max(p.tasks for p in points)
    shown = [t for t in shown if t <= last]
    heads = [f"{t} task{'' if t == 1 else 's'}" for t in shown]
    lines = ["| parameters [M] | " + " | ".join(heads) + " | the last task |", "|---|" + "--:|" * (len(shown) + 1)]
    for method in methods:
        values = [by[method, t, sizes[0]].params / 1e6 for t in shown]
        more = (by[method, last, sizes[0]].params - by[method, last - 1, sizes[0]].params) / 1e6 if last > 1 else 0.0
        lines.append(f"| {method} | " + " | ".join(f"{v:.2f}" for v in values) + f" | {more:.2f} |")
    lines += ["", "| MACs [G] | image | " + " | ".join(heads) + " | the last task |"]
    lines.append("|---|---|" + "--:|" * (len(shown) + 1))
    for method in methods:
        for size in sizes:
            values = [by[method, t, size].macs / 1e9 for t in shown]
            more = (by[method, last, size].macs - by[method, last - 1, size].macs) / 1e9 if last > 1 else 0.0
            cells = " | ".join(f"{v:.1f}" for v in values)
            lines.append(f"| {method} | {size[0]}×{size[1]} | {cells} | {more:.1f} |")
    return "\n".join(lines) + "\n"


def draw(points: Sequence[Point], path: Path) -> None:
    """MACs over the number of tasks, a panel for each size; what the backbone costs is a grey line."""
    sizes = list(dict.fromkeys(p.size for p in points))
    figure = require("matplotlib.figure", "viz", "3.9").Figure(
        figsize=(3.2 * len(sizes), 3.4), dpi=100, layout="constrained"
    )
    for place, (axes, size) in enumerate(zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True)):
        for method in dict.fromkeys(p.method for p in points):
            line = [p for p in points if (p.method, p.size) == (method, size)]
            axes.plot([p.tasks for p in line], [p.macs / 1e9 for p in line], marker="o", markersize=3, label=method)
        axes.axhline(line[0].backbone_macs / 1e9, color="0.6", linestyle=":", label="backbone")
        axes.set(title=f"{size[0]}×{size[1]}", xlabel="tasks", yscale="log")
        axes.grid(which="both", color="0.92")
        if place == 0:
            axes.set_ylabel("10⁹ MACs an image")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    figure.savefig(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Counts all, prints the tables or all points, and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default=BACKBONE, help="default: %(default)s")
    parser.add_argument("--preset", default="paper", help="default: %(default)s")
    parser.add_argument("--tasks", type=int, default=max(TASKS), metavar="N", help="1 to N (default: %(default)s)")
    parser.add_argument("--figure", type=Path, help="picture to write, such as growth.png")
    parser.add_argument("--json", action="store_true", help="print every point as JSON instead")
    args = parser.parse_args(argv)
    wanted = [(method, number) for method in METHODS for number in range(1, args.tasks + 1)]
    points: list[Point] = []
    for method, number in track(wanted, "Counting"):
        points += count(method, number, SIZES, {"preset": args.preset, **METHODS[method]}, args.backbone)
    if args.figure is not None:
        draw(points, args.figure)
    print(json.dumps([asdict(p) for p in points], indent=1) if args.json else to_markdown(points).rstrip("\n"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
