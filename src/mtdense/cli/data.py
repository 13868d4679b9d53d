"""`mtdense data`: what has to do with data sets alone, and needs no model."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from mtdense.core.errors import ConfigError

if TYPE_CHECKING:
    from data_modules import DenseDataModule

__all__ = ["add_parser", "data_from", "run_mask"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `data` and what it can do."""
    parser = subparsers.add_parser("data", help="work with a data set, without a model")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    mask = actions.add_parser(
        "mask",
        help="write the label mask of a configuration to a file, and say what is in it",
        epilog="Options of the data go behind, as in `mtdense fit`: --data.label_seed 1.",
    )
    mask.add_argument("--config", "-c", action="append", default=[], help="experiment; may be repeated, later ones win")
    mask.add_argument("--out", type=Path, help="JSON file to write (default: only say what the mask holds)")
    mask.add_argument("--overwrite", action="store_true", help="replace the file if there is one")
    mask.set_defaults(func=run_mask, takes_options=True)


def run_mask(args: argparse.Namespace) -> int:
    """Draws or reads the mask of the published training images, writes it, and prints its statistics.

    Raises:
        MTDenseError: Any fault of configuration, data or file.
    """
    from mtdense.data import describe_label_mask, write_label_mask

    data = data_from(args.config, args.options)
    mask = data.published_mask()
    facts = describe_label_mask(mask)
    print(f"{data.name}, {data.label_setting}: {facts['images']} images, {facts['labels']} labels")
    print("labelled images: " + ", ".join(f"{task} {count}" for task, count in facts["counts"].items()))
    print("labels per image: " + ", ".join(f"{n}: {count}" for n, count in facts["labels_per_image"].items()))
    print(f"patterns ({' '.join(mask.tasks)}): " + ", ".join(f"{p} {n}" for p, n in facts["patterns"].items()))
    if args.out is not None:
        drawn = data.label_file is None and data.label_setting != "full"
        seed = data.label_seed if drawn else None
        write_label_mask(
            args.out, mask, dataset=data.name, setting=data.label_setting, seed=seed, overwrite=args.overwrite
        )
        print(f"Wrote {args.out}; use it by --data.label_setting file --data.label_file {args.out}")
    return 0


def data_from(configs: Sequence[str], options: Sequence[str]) -> DenseDataModule:
    """The data module of experiment files and `--data...` options, as `mtdense fit` would make it.

    Args:
        configs: Paths or names of experiments; later ones win.
        options: `--data.x value` and the like; `--seed_everything` seeds as in `fit`.

    Raises:
        ConfigError: No data section, or an option that the data do not have.
    """
    import jsonargparse

    import data_modules
    from mtdense.cli.configs import merged_configs

    merged = merged_configs(configs)
    parser = jsonargparse.ArgumentParser(prog="mtdense data", exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--seed_everything", type=int, default=0)
    parser.add_subclass_arguments(data_modules.DenseDataModule, "data", required=True)
    parser.link_arguments("seed_everything", "data.init_args.seed")
    if "data" not in merged and not any(option.split("=")[0] == "--data" for option in options):
        raise ConfigError("no data set is named", "give an experiment by --config, or a class by --data.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.yaml"
        told = {key: merged[key] for key in ("seed_everything", "data") if key in merged}
        path.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
        parsed = parser.parse_args(["--config", str(path), *options])
    data: DenseDataModule = parser.instantiate(parsed).data
    return data
