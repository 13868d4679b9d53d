"""`mtdense trivial`: what predictors that never look at the image score on the data of a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mtdense.core.errors import CheckpointError

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `trivial`."""
    parser = subparsers.add_parser("trivial", help="score predictors that never look at the image")
    parser.add_argument("--ckpt_path", type=Path, required=True, help="checkpoint whose data they are scored on")
    parser.add_argument("--out", type=Path, help="folder for their records (default: the checkpoint's run)")
    parser.add_argument("--allow_module", action="append", default=[], help="further package whose classes are trusted")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Writes a record for the constant and for the mean map, and prints their scores beside the run's.

    Raises:
        CheckpointError: The checkpoint does not say on which data it was trained.
    """
    # Lightning takes seconds to import.
    import data_modules
    from mtdense.cli.run_folder import default_run_folder
    from mtdense.models.checkpoint import read_checkpoint, resolve_class
    from mtdense.reports import build_table, load_records, print_table, score_trivial
    from mtdense.tasks import build_tasks

    info = read_checkpoint(args.ckpt_path, args.allow_module)
    if info.data_class is None:
        raise CheckpointError(f"{info.path} does not name its data", "use a checkpoint of `mtdense fit`.")
    data: Any = resolve_class(info.data_class, data_modules.DenseDataModule)(**info.data_args)
    run_folder = default_run_folder("test", None, str(args.ckpt_path), 0)
    out = args.out or run_folder
    for record in score_trivial(data, build_tasks(data.task_specs), seed=info.about.get("seed")):
        record.write(record.path_in(out))
    folders = {out, run_folder} if any((run_folder / "records").glob("test*.json")) else {out}
    print_table(build_table(load_records(sorted(folders))))
    return 0
