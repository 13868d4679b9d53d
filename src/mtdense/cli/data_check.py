"""`mtdense data check`: is all of a data set there, and whole?"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdense.cli.data import add_data_arguments, named_data
from mtdense.core.errors import ConfigError

if TYPE_CHECKING:
    from data_modules import DenseDataModule
    from mtdense.data import DenseDataset
    from mtdense.reports.data_findings import DataCheck, Expected

__all__ = ["add_action", "run"]


def add_action(actions: argparse._SubParsersAction[Any]) -> None:
    """Adds `check`."""
    check = actions.add_parser("check", help="check that a data set is complete and can be decoded")
    add_data_arguments(check)
    check.add_argument("--full", action="store_true", help="decode all, and write or verify a manifest of checksums")
    check.add_argument(
        "--samples", type=int, default=10, metavar="N", help="images to decode of each split (default: %(default)s)"
    )
    check.add_argument("--json", type=Path, metavar="FILE", help="also write the result as JSON")
    check.add_argument(
        "--manifest", type=Path, metavar="FILE", help="with --full (default: mtdense-manifest.json in the folder)"
    )
    check.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Checks the data and prints a table for each task.

    Returns:
        1 where something is missing or corrupt, else 0.

    Raises:
        MTDenseError: A fault of configuration, or a manifest that cannot be used.
    """
    from mtdense.cli.data_check_tables import print_check
    from mtdense.reports.canonical import plain, write_atomic
    from mtdense.reports.data_check import check_data
    from mtdense.reports.data_findings import DataCheck
    from mtdense.tasks import build_label_kinds

    if args.samples < 1:
        raise ConfigError(f"--samples is {args.samples}", "Give 1 or more, or --full.")
    if args.manifest is not None and not args.full:
        raise ConfigError("--manifest without --full", "Checksums need all files: add --full.")
    data = named_data(args.dataset, args.root, args.config, args.options)
    check = DataCheck(data.name, data.hparams.get("root"), None if args.full else args.samples)
    tasks = build_label_kinds(data.task_specs)
    check_data(check, _splits(data), tasks, lambda split, some: _open(data, args, split, some), _expected(data))
    if args.full:
        _manifest(check, args.manifest)
    print_check(check)
    if args.json is not None:
        write_atomic(args.json, json.dumps(plain(check.as_dict(), "check"), indent=2, ensure_ascii=False) + "\n")
    return 1 if check.faults else 0


def _splits(data: DenseDataModule) -> tuple[str, ...]:
    """The published ones; what is held out for validation are training images."""
    from data_modules import HeldOutDataModule
    from mtdense.data import SPLITS

    return ("train", "test") if isinstance(data, HeldOutDataModule) else SPLITS


def _open(data: DenseDataModule, args: argparse.Namespace, split: str, tasks: Sequence[str]) -> DenseDataset:
    if list(tasks) != data.tasks:
        data = named_data(args.dataset, args.root, args.config, args.options, tasks)
    return data.published_train() if split == "train" else data.dataset(split)


def _expected(data: DenseDataModule) -> Expected:
    from mtdense.data.location import open_root
    from mtdense.data.published import PublishedData, replica_mark
    from mtdense.reports.data_findings import Expected

    root = data.hparams.get("root")
    mark = None if root is None else replica_mark(open_root(root))
    return Expected.of(PublishedData.registered.get(data.name), mark)


def _manifest(check: DataCheck, path: Path | None) -> None:
    """Writes or verifies the manifest at `path`, or in the folder of the data where that can be written to."""
    from mtdense.data.published import MANIFEST_NAME
    from mtdense.reports.data_check import check_manifest

    root = None if check.root is None else Path(check.root).expanduser()
    if root is None or not root.exists():
        return
    if path is None:
        path = root / MANIFEST_NAME
        if not path.exists() and not (root.is_dir() and os.access(root, os.W_OK)):
            check.manifest = f"not written: {root} is no folder that can be written to; give --manifest FILE"
            return
    check_manifest(check, root, path)
