"""`mtdense bench`: our speed beside named baselines, on this machine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mtdense.cli import bench_data, bench_train
from mtdense.cli.outputs import check_output
from mtdense.core.errors import ConfigError

if TYPE_CHECKING:
    from mtdense.reports.bench import Comparison

__all__ = ["add_parser", "run_metrics"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `bench` and what it can measure."""
    parser = subparsers.add_parser("bench", help="measure speed against named baselines")
    actions = parser.add_subparsers(dest="action", required=True, metavar="WHAT")
    metrics = actions.add_parser("metrics", help="metrics beside torchmetrics, odsF beside scikit-image and SciPy")
    metrics.add_argument("--runs", type=int, default=5, help="interleaved runs, of which the median counts (5)")
    metrics.add_argument("--batch", type=int, default=4, help="images per run of 512x512 maps (4)")
    metrics.add_argument("--seed", type=int, default=0, help="seed of the random maps and scenes (0)")
    metrics.add_argument("--json", type=Path, help="file for the figures")
    metrics.set_defaults(func=run_metrics)
    bench_data.add_action(actions)
    bench_train.add_action(actions)


def run_metrics(args: argparse.Namespace) -> int:
    """Measures, prints a table, and writes the figures.

    Raises:
        ConfigError: Fewer than one run or image, or a file that cannot be written.
        MissingDependencyError: scikit-image is not installed.
    """
    from mtdense.core.optional import require
    from mtdense.reports.bench import bench_metrics
    from mtdense.reports.canonical import plain, write_atomic
    from mtdense.reports.environment import device_name, versions

    if args.runs < 1 or args.batch < 1:
        raise ConfigError(f"--runs {args.runs} --batch {args.batch}", "give whole numbers of 1 or more.")
    if args.json is not None:
        check_output("--json", args.json)
    require("skimage.morphology", "bench")
    found = bench_metrics(args.runs, args.batch, args.seed)
    print(_text(found))
    print(f"Milliseconds per image on one core, median of {args.runs} interleaved runs; {device_name()}.")
    if args.json is not None:
        packages = ("torch", "torchmetrics", "numpy", "numba", "scipy", "scikit-image")
        rows = [{**plain(row, "bench"), "ratio": row.ratio} for row in found]
        body = {"metrics": rows, "runs": args.runs, "seed": args.seed, "versions": versions(packages)}
        write_atomic(args.json, json.dumps(body, indent=2) + "\n")
        print(f"Wrote {args.json}")
    return 0


def _text(rows: list[Comparison]) -> str:
    cells = [("metric", "ours [ms]", "baseline [ms]", "faster", "state [B]", "difference", "baseline")]
    for row in rows:
        times = (f"{1e3 * row.ours:.2f}", f"{1e3 * row.theirs:.2f}", f"{row.ratio:.1f}x")
        cells.append((row.name, *times, str(row.state_bytes), f"{row.difference:.1e}", row.baseline))
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    aligned = [
        [
            cell.ljust(width) if i in (0, 6) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in cells
    ]
    return "\n".join("  ".join(line).rstrip() for line in aligned)
