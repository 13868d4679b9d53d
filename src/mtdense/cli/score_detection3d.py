"""`mtdense score detection3d`: folders of 3-D boxes in the format of Cityscapes 3D against folders of labels."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdense.cli.outputs import check_output
from mtdense.core.words import counted

if TYPE_CHECKING:
    from mtdense.reports.score_run import Score

__all__ = ["add_detection3d", "run_detection3d"]

_STANDARD_OUTPUT = Path("-")
_COLUMNS = ("DS", "AP", "center_distance", "size_similarity", "yaw", "pitch_roll")


def add_detection3d(tasks: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the task to those of `score`."""
    preds = "JSON files of 3-D boxes, as the official evaluation of Cityscapes 3D reads them"
    parser = tasks.add_parser("detection3d", help=f"predictions are {preds}")
    parser.add_argument("--preds", type=Path, required=True, metavar="DIR", help=f"predictions: {preds}")
    parser.add_argument(
        "--targets", type=Path, required=True, metavar="DIR", help="labels, such as gtBbox3d/val, with calibration"
    )
    parser.add_argument("--list", type=Path, metavar="FILE", help="score only these images, one a line")
    parser.add_argument(
        "--matching",
        choices=("amodal", "modal"),
        default="amodal",
        help="compare 2-D boxes of whole vehicles (official default) or of what is seen (TaskPrompter) "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        nargs="?",
        const=_STANDARD_OUTPUT,
        metavar="FILE",
        help="write scores as JSON there; without FILE, print them instead of the table",
    )
    parser.set_defaults(func=run_detection3d)


def run_detection3d(args: argparse.Namespace) -> int:
    """Scores the folders, prints a table or JSON, and writes what was asked for.

    Raises:
        MTDenseError: Any fault of options or files.
    """
    to_file = args.json is not None and args.json != _STANDARD_OUTPUT
    if to_file:
        check_output("--json", args.json, [path for path in (args.preds, args.targets, args.list) if path is not None])
    from mtdense.reports.canonical import write_atomic
    from mtdense.reports.score_detection3d import score_detection3d
    from mtdense.reports.score_files import read_ids

    only = None if args.list is None else read_ids(args.list)
    score = score_detection3d(args.preds, args.targets, args.matching, only)
    text = _json(args, score)
    if to_file:
        write_atomic(args.json, text + "\n")
    print(text if args.json == _STANDARD_OUTPUT else _table(score))
    return 0


def _json(args: argparse.Namespace, score: Score) -> str:
    from mtdense import __version__
    from mtdense.reports.canonical import plain

    body: dict[str, Any] = {"mtdense": __version__, **score.report(), "preds": args.preds, "targets": args.targets}
    body["list"] = args.list
    return json.dumps(plain(body), indent=1, ensure_ascii=False, allow_nan=False)


def _table(score: Score) -> str:
    lines = [f"{score.task}: {counted(len(score.ids), 'image')}; matching {score.protocol['matching']}"]
    lines += [f"  {figure.name:<18}↑ {figure.value * 100:10.2f} %" for figure in score.figures]
    lines.append(f"  {'class':<12}{'targets':>8}" + "".join(f"{name:>17}" for name in (*_COLUMNS, "confidence")))
    for label, row in score.details["per_class"].items():
        shares = "".join(f"{row[name] * 100:17.2f}" for name in _COLUMNS)
        lines.append(f"  {label:<12}{row['targets']:8.0f}{shares}{row['confidence']:17.2f}")
    return "\n".join(lines)
