"""`mtdense diagnose`: looks inside trained networks, and puts their predictions side by side."""

from __future__ import annotations

import argparse
import json
import math
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdense.core.errors import ConfigError

if TYPE_CHECKING:
    from mtdense.models.checkpoint import CheckpointInfo
    from mtdense.reports.diagnosis import Numbers

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `diagnose`."""
    parser = subparsers.add_parser(
        "diagnose",
        help="an architecture's own figures and numbers, and predictions of several networks side by side",
        description="Draws the first images by all networks, and gathers the numbers that their architectures give. "
        "The data are those of the first checkpoint; further options are those of `mtdense test`, such as "
        "`--data.root DIR`.",
    )
    parser.add_argument(
        "--ckpt_path", nargs="+", required=True, metavar="RUN", help="checkpoints, or folders of runs (their last one)"
    )
    parser.add_argument("--names", nargs="+", metavar="NAME", help="of the networks, in figures and folders")
    parser.add_argument("--config", action="append", default=[], help="configuration of other data; may be repeated")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="default: %(default)s")
    parser.add_argument("--figures", type=int, default=4, metavar="N", help="images that are drawn (default: 4)")
    parser.add_argument("--limit", type=int, metavar="N", help="images that numbers are formed of (default: all)")
    parser.add_argument("--out", type=Path, help="folder for the files (default: diagnosis/ in the first run)")
    parser.add_argument("--device", help="such as cpu or cuda:1; default: a GPU where there is one")
    parser.add_argument("--allow_module", action="append", default=[], help="further package whose classes are trusted")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.set_defaults(func=run, takes_options=True)


def run(args: argparse.Namespace) -> int:
    """Writes `predictions.png`, `diagnosis.json` and a folder of figures for each network, and prints the numbers.

    Raises:
        ConfigError: Options that make no sense, networks that share no task with the data, or that take other images.
        CheckpointError: A checkpoint that is missing, damaged or of untrusted classes.
        DataError: Data that cannot be read.
    """
    if args.figures < 0:
        raise ConfigError(f"--figures {args.figures}", "give 0 or more.")
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit {args.limit}", "give 1 or more.")
    if args.names is not None and len(args.names) != len(args.ckpt_path):
        raise ConfigError(
            f"{len(args.names)} names for {len(args.ckpt_path)} checkpoints", "give `--names` one for each, in order."
        )
    # Lightning takes seconds to import.
    from mtdense.cli.building import build_data
    from mtdense.cli.profile import choose_device
    from mtdense.cli.run_folder import default_run_folder
    from mtdense.core import track
    from mtdense.models.checkpoint import model_of, read_checkpoint
    from mtdense.reports.canonical import plain, write_atomic
    from mtdense.reports.diagnosis import diagnose, peer_names
    from mtdense.tasks import build_tasks

    files = [_checkpoint_of(Path(path)) for path in args.ckpt_path]
    infos = [read_checkpoint(file, args.allow_module) for file in files]
    device = choose_device(args.device)
    data = build_data(infos[0], args.config, args.options)
    models = [model_of(info, args.allow_module) for info in infos]
    names = args.names or peer_names(models, files)
    _check_names(names)
    out = args.out or default_run_folder("test", None, str(files[0]), 0) / "diagnosis"
    out.mkdir(parents=True, exist_ok=True)
    data.setup("validate" if args.split == "val" else "test")
    loader: Any = data.val_dataloader() if args.split == "val" else data.test_dataloader()
    if not loader:
        raise ConfigError(f"the {data.name} data hold no validation images", "use `--split test`.")
    batches = len(loader) if args.limit is None else math.ceil(args.limit / data.eval_batch_size)
    shown = track(islice(loader, batches), "Looking inside", min(batches, len(loader)))
    found = diagnose(
        dict(zip(names, models, strict=True)),
        build_tasks(data.task_specs),
        _cut(shown, args.limit),
        out,
        args.figures,
        device,
    )
    report = {
        "data": {**data.description, "split": args.split},
        "networks": [_about(name, info, found.get(name)) for name, info in zip(names, infos, strict=True)],
    }
    text = json.dumps(plain(report), indent=2, ensure_ascii=False)
    write_atomic(out / "diagnosis.json", text + "\n")
    if args.json:
        print(text)
    else:
        _print(report)
        print(f"Wrote {out}")
    return 0


def _checkpoint_of(path: Path) -> Path:
    """The last checkpoint of a run's folder; a file is itself."""
    return path / "checkpoints" / "last.ckpt" if path.is_dir() else path


def _check_names(names: list[str]) -> None:
    bad = [name for name in names if not name or name.startswith(".") or set(name) & set("/\\")]
    if bad or len(set(names)) < len(names):
        raise ConfigError(f"--names {' '.join(names)}", "give each network another name, without slashes.")


def _cut(batches: Any, limit: int | None) -> Any:
    """The batches of the first `limit` images."""
    from mtdense.reports.diagnosis import first_images

    seen = 0
    for batch in batches:
        count = len(batch["id"])
        if limit is not None and seen + count > limit:
            batch = first_images(batch, limit - seen)
        seen += count
        yield batch


def _about(name: str, info: CheckpointInfo, numbers: Numbers | None) -> dict[str, Any]:
    return {
        "name": name,
        "method": info.about.get("method"),
        "checkpoint": str(info.path),
        "tasks": list(info.model_args.get("tasks", {})),
        "numbers": {} if numbers is None else numbers.summary(),
    }


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for network in report["networks"]:
        if not network["numbers"]:
            console.print(f"{network['name']}: its architecture gives no numbers.", highlight=False)
            continue
        table = Table(title=f"{network['name']}: {', '.join(network['tasks'])}")
        for head in ("number", "mean", "std over images", "images"):
            table.add_column(head, justify="left" if head == "number" else "right")
        for name, told in network["numbers"].items():
            pairs = told.get("pairs")
            mean = _short(told["mean"]) if pairs is None else _short(pairs["mean"])
            std = _short(told["std"]) if pairs is None else _short(pairs["std"])
            table.add_row(name, mean, std, str(told["images"]))
        console.print(table)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_short(item) for item in value)
    return "–" if value is None else f"{value:.4g}"
