"""`mtdense score TASK`: folders of predictions, written by any repository, against folders of targets."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdense.cli.outputs import check_output
from mtdense.cli.score_detection3d import add_detection3d
from mtdense.core.errors import ConfigError
from mtdense.core.words import counted

if TYPE_CHECKING:
    from mtdense.reports.score_files import Pair
    from mtdense.reports.score_run import EdgeProtocol, Score

__all__ = ["add_parser", "run"]

# Those of `OdsF.pascal_context` and `OdsF.nyud`, named here so that `--help` need not wait for torch; a test compares.
_PROTOCOLS: dict[str, dict[str, Any]] = {
    "pascal_context": {"max_dist": 0.0075, "target_kind": "labels"},
    "nyud": {"max_dist": 0.011, "target_kind": "labels"},
}
_PREDS = {
    "edges": "edge strength: 8- or 16-bit pictures, or .npy with floats in [0, 1]",
    "semseg": "class ids in one channel (grey or palette pictures, or .npy)",
    "human_parts": "part ids in one channel (grey or palette pictures, or .npy)",
    "saliency": "probabilities: 8- or 16-bit pictures, or .npy with floats in [0, 1]",
    "depth": ".npy in metres, or pictures of whole numbers with --unit-scale",
    "normals": "pictures with value = (component + 1) / 2 * 255, or .npy with components",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `score` with its tasks."""
    parser = subparsers.add_parser("score", help="score folders of predictions, of any repository, against targets")
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    adders = {"edges": _add_edges, "saliency": _add_saliency, "depth": _add_depth}
    for task, preds in _PREDS.items():
        sub = tasks.add_parser(task, help=f"predictions are {preds}")
        _add_common(sub, preds)
        if task in ("semseg", "human_parts"):
            _add_classes(sub, task)
        elif task in adders:
            adders[task](sub)
        sub.set_defaults(func=run)
    add_detection3d(tasks)


def run(args: argparse.Namespace) -> int:
    """Scores the folders, prints a short table and writes what was asked for.

    Raises:
        MTDenseError: Any fault of options or files.
    """
    _check_outputs(args)
    protocol = _edge_protocol(args) if args.task == "edges" else None
    from mtdense.reports.score_files import FileSet, pair_files, read_ids

    pairs = pair_files(
        FileSet(args.preds, args.pred_ending, args.pred_type),
        FileSet(args.targets, args.target_ending, args.target_type),
        None if args.list is None else read_ids(args.list),
        getattr(args, "several_annotators", False),
    )
    score = _score(args, pairs, protocol)
    _write(args, score)
    print(_table(score))
    return 0


def _score(args: argparse.Namespace, pairs: list[Pair], protocol: EdgeProtocol | None) -> Score:
    from mtdense.reports import score_run, score_tasks

    workers = args.workers or _cores()
    if protocol is not None:
        return score_run.score_edges(pairs, protocol, workers, args.mat_key)
    makers: dict[str, Callable[[], score_run.MapScoring]] = {
        "saliency": lambda: score_tasks.saliency_scoring(
            args.convention, args.ignore_index, args.positive_above, args.mat_key
        ),
        "depth": lambda: score_tasks.depth_scoring(args.unit_scale, args.mat_key),
        "normals": lambda: score_tasks.normals_scoring(args.mat_key),
    }
    make = makers.get(
        args.task,
        lambda: score_tasks.class_scoring(
            args.task, args.num_classes, args.ignore_index, args.label_offset, args.absent, args.mat_key
        ),
    )
    return score_run.score_maps(make(), pairs, workers)


def _add_common(parser: argparse.ArgumentParser, preds: str) -> None:
    parser.add_argument("--preds", type=Path, required=True, metavar="DIR", help=f"predictions: {preds}")
    parser.add_argument("--targets", type=Path, required=True, metavar="DIR", help="targets, matched by file stem")
    parser.add_argument("--list", type=Path, metavar="FILE", help="score only these ids, one a line")
    for side, what in (("pred", "predictions"), ("target", "targets")):
        parser.add_argument(
            f"--{side}-ending", default="", metavar="TEXT", help=f"end of the stems of {what}, behind the id"
        )
        parser.add_argument(
            f"--{side}-type", type=_file_type, metavar="TYPE", help=f"read only {what} of this type, such as .npy"
        )
    parser.add_argument("--mat-key", metavar="NAME", help="array in .mat files (default: the only one)")
    parser.add_argument(
        "--workers", type=_positive(int), metavar="N", help="threads, each on images of its own (default: one per core)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write scores, protocol and curves there")
    parser.add_argument("--per-image", type=Path, metavar="FILE", help="write a CSV file with a line per image")


def _add_edges(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--protocol",
        choices=tuple(_PROTOCOLS),
        help="settings of published tables: pascal_context takes .0075 and label maps, nyud .011 and edge maps, which "
        "the public scripts read as label maps",
    )
    parser.add_argument(
        "--max-dist", type=_share, metavar="X", help="tolerance, a fraction of the image diagonal (default: 0.0075)"
    )
    parser.add_argument(
        "--target-kind",
        choices=("edges", "labels"),
        help="edges: targets are edge maps, taken as they are (default); labels: region borders of label maps, thinned",
    )
    parser.add_argument("--thresholds", type=_positive(int), metavar="K", help="number of thresholds (default: 101)")
    parser.add_argument("--no-nms", action="store_true", help="predictions are thin already: no maximum suppression")
    parser.add_argument(
        "--several-annotators", action="store_true", help="targets are DIR/ID/ANNOTATOR.png, several per image"
    )
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw precision over recall (.png, .pdf, .svg)")


def _add_classes(parser: argparse.ArgumentParser, task: str) -> None:
    parts = task == "human_parts"
    parser.add_argument(
        "--num-classes",
        type=int,
        required=not parts,
        default=7 if parts else None,
        metavar="C",
        help="classes, background included" + (" (default: the 7 of PASCAL-Context)" if parts else ""),
    )
    _add_ignore(parser, [255.0])
    parser.add_argument(
        "--label-offset", type=int, default=0, metavar="N", help="subtracted from target ids: 1 where 0 is void"
    )
    parser.add_argument(
        "--absent",
        choices=("zero", "skip"),
        default="zero",
        help="what a class in neither targets nor predictions counts (default: %(default)s, as published)",
    )


def _add_saliency(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--convention",
        choices=("clean", "invpt", "astmt"),
        default="clean",
        help="clean: ATRC; invpt: a second sigmoid, as in the tables of the InvPT line; astmt: mean over images "
        "(default: %(default)s)",
    )
    _add_ignore(parser, [])
    parser.add_argument(
        "--positive-above", type=_finite, metavar="V", help="target value above which a pixel is salient (default: 127)"
    )


def _add_ignore(parser: argparse.ArgumentParser, default: list[float]) -> None:
    parser.add_argument(
        "--ignore-index",
        type=_finite,
        nargs="+",
        default=default,
        metavar="V",
        help="stored values of target pixels that count for nothing"
        + (f" (default: {default[0]:g})" if default else " (default: none)"),
    )


def _add_depth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unit-scale",
        type=_positive(float),
        metavar="N",
        help="stored units per metre of files of whole numbers: 1000 for millimetres (floats are metres)",
    )


def _edge_protocol(args: argparse.Namespace) -> EdgeProtocol:
    """The settings of the command line.

    Raises:
        ConfigError: A setting beside a protocol that says otherwise.
    """
    given = {"max_dist": args.max_dist, "target_kind": args.target_kind, "thresholds": args.thresholds}
    given["nms"] = False if args.no_nms else None
    told = {key: value for key, value in given.items() if value is not None}
    from mtdense.reports.score_run import EdgeProtocol

    if args.protocol is None:
        return EdgeProtocol(**told)
    protocol = EdgeProtocol(args.protocol, **_PROTOCOLS[args.protocol])
    for key, value in told.items():
        if value != getattr(protocol, key):
            raise ConfigError(
                f"--protocol {args.protocol} has {key} {getattr(protocol, key)}, but {value} is given beside it",
                "Leave out one of the two; the result of another setting has no protocol's name.",
            )
    return protocol


def _check_outputs(args: argparse.Namespace) -> None:
    """Checks, before the long work, that all files can be written.

    Raises:
        ConfigError: A folder, a folder that is missing or not writable, an input, or two outputs of one name.
        MissingDependencyError: A figure without matplotlib.
    """
    named = {"--json": args.json, "--per-image": args.per_image, "--figure": getattr(args, "figure", None)}
    inputs = [path for path in (args.preds, args.targets, args.list) if path is not None]
    outputs: dict[Path, str] = {}
    for option, path in named.items():
        if path is None:
            continue
        check_output(option, path, inputs)
        if path.resolve() in outputs:
            raise ConfigError(f"{option} and {outputs[path.resolve()]} both name {path}", "Name two files.")
        outputs[path.resolve()] = option
    if named["--figure"] is not None:
        from mtdense.reports.score_figure import check_figure

        check_figure(named["--figure"])


def _write(args: argparse.Namespace, score: Score) -> None:
    from mtdense import __version__
    from mtdense.reports import scores_csv
    from mtdense.reports.canonical import plain, write_atomic

    if args.json is not None:
        body = {"mtdense": __version__, **score.report(), "preds": args.preds, "targets": args.targets}
        body["list"] = args.list
        write_atomic(args.json, json.dumps(plain(body), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    if args.per_image is not None:
        names = list(dict.fromkeys(name for row in score.per_image.values() for name in row))
        write_atomic(args.per_image, scores_csv(score.per_image, names))
    if getattr(args, "figure", None) is not None:
        import numpy as np

        from mtdense.reports.score_figure import draw_precision_recall

        ods, ois, average = (figure.value for figure in score.figures)
        title = (
            f"{score.protocol['name']}, {counted(len(score.ids), 'image')}, tolerance {score.protocol['max_dist']:g}"
        )
        label = f"{args.preds.resolve().name}: ODS {ods:.3f}, OIS {ois:.3f}, AP {average:.3f}"
        draw_precision_recall(args.figure, np.array(score.details["counts"]), title, label)


def _table(score: Score) -> str:
    from mtdense.reports.table_formats import readable_unit

    told = ", ".join(f"{key} {_text(value)}" for key, value in score.protocol.items() if value not in (None, []))
    lines = [f"{score.task}: {counted(len(score.ids), 'image')}" + (f"; {told}" if told else "")]
    for figure in score.figures:
        unit, factor, digits = readable_unit(figure.unit)
        arrow = "↑" if figure.higher_is_better else "↓"
        lines.append(f"  {figure.name:<18}{arrow} {figure.value * factor:10.{digits}f} {unit}")
    for name, value in score.details.items():
        if isinstance(value, float) and math.isfinite(value):
            lines.append(f"  {name:<20}{value:10.4f}")
    return "\n".join(lines)


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(_text(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cores() -> int:
    """Cores that this process may use, which containers and batch systems limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError
        return value

    convert.__name__ = f"number above 0 ({kind.__name__})"
    return convert


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is no finite number")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no fraction of the image diagonal: give a number in 0..1")
    return value


def _file_type(text: str) -> str:
    return text if text.startswith(".") else f".{text}"
