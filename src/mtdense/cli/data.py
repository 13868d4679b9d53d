"""`mtdense data`: what has to do with data sets alone, and needs no model."""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean
from mtdense.core.words import counted

if TYPE_CHECKING:
    from data_modules import DenseDataModule

__all__ = ["add_data_arguments", "add_parser", "data_classes", "data_from", "named_data", "run_mask"]

# One file each in this folder.
_ACTIONS = ("data_check", "data_show", "data_prepare", "data_replica")
_OPTIONS_OF_DATA = "Options of the data go behind, as in `mtdense fit`: --data.label_seed 1."


class _ActionParser(argparse.ArgumentParser):
    """Sets `--data.x value` aside: a value that it does not know, or that holds a blank, would pass for a DATASET."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        own, of_data = _parted(sys.argv[1:] if args is None else args)
        found, rest = super().parse_known_args(own, namespace)
        return found, rest + of_data


def _parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is left of the arguments, and the options of the data as `--data.x=value`."""
    rest, own, of_data = list(arguments), [], []
    while rest:
        token = rest.pop(0)
        if not token.startswith(("--data", "--seed_everything")):
            own.append(token)
        elif "=" in token or not rest or rest[0].startswith("--"):
            of_data.append(token)
        else:
            of_data.append(f"{token}={rest.pop(0)}")
    return own, of_data


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `data` and what it can do."""
    parser = subparsers.add_parser("data", help="work with a data set, without a model")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=_ActionParser)
    for name in _ACTIONS:
        importlib.import_module(f"mtdense.cli.{name}").add_action(actions)
    mask = actions.add_parser(
        "mask",
        help="write the label mask of a configuration to a file, and say what is in it",
        epilog=_OPTIONS_OF_DATA,
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

    if args.out is not None and args.out.exists() and not args.overwrite:
        raise ConfigError(f"{args.out} exists", "name another file, or say `--overwrite`.")
    data = data_from(args.config, args.options)
    mask = data.published_mask()
    facts = describe_label_mask(mask)
    print(
        f"{data.name}, {data.label_setting}: {counted(facts['images'], 'image')}, {counted(facts['labels'], 'label')}"
    )
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
    from mtdense.cli.configs import config_file, merged_configs

    merged = merged_configs(configs)
    parser = jsonargparse.ArgumentParser(prog="mtdense data", exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--seed_everything", type=int, default=0)
    parser.add_subclass_arguments(data_modules.DenseDataModule, "data", required=True)
    parser.link_arguments("seed_everything", "data.init_args.seed")
    if "data" not in merged and not any(option.split("=")[0] == "--data" for option in options):
        raise ConfigError("no data set is named", "give an experiment by --config, or a class by --data.")
    with config_file({key: merged[key] for key in ("seed_everything", "data") if key in merged}) as path:
        parsed = parser.parse_args(["--config", str(path), *options])
    data: DenseDataModule = parser.instantiate(parsed).data
    return data


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds DATASET, --root and --config, of which `named_data` makes a data module."""
    parser.epilog = _OPTIONS_OF_DATA
    parser.add_argument("dataset", nargs="?", metavar="DATASET", help="such as nyud_atrc; may be left to --config")
    parser.add_argument("--root", help="folder of the data set, or a pack of it")
    parser.add_argument(
        "--config", "-c", action="append", default=[], help="experiment; may be repeated, later ones win"
    )
    parser.set_defaults(takes_options=True)


def data_classes() -> dict[str, type[DenseDataModule]]:
    """{name of a data set: its data module}, sorted by name."""
    import data_modules

    found: dict[str, type[DenseDataModule]] = {}
    waiting: list[Any] = [data_modules.DenseDataModule]
    while waiting:
        known = waiting.pop()
        waiting.extend(known.__subclasses__())
        if not inspect.isabstract(known):
            found[known.name] = known
    return dict(sorted(found.items()))


def named_data(
    dataset: str | None,
    root: str | None,
    configs: Sequence[str] = (),
    options: Sequence[str] = (),
    tasks: Sequence[str] | None = None,
) -> DenseDataModule:
    """The data module of a data set by name, of experiments, or of both.

    Args:
        dataset: `name` of a data module; None: that of the experiments.
        root: Folder or pack; None: that of the experiments or options.
        configs: Experiments.
        options: `--data.x value` and the like.
        tasks: Carry these, without their options. None: those of the experiments or options, or else all that the data
            set has.

    Raises:
        ConfigError: An unknown name, another data set than the experiments', or tasks that nobody names.
    """
    known = data_classes()
    if dataset is not None and dataset not in known:
        hint = did_you_mean(dataset, known)
        raise ConfigError(f"unknown data set {dataset!r}", f"{hint}Known data sets: {', '.join(known)}.")
    given = list(options)
    if root is not None:
        given.insert(0, f"--data.root={root}")
    if dataset is not None and not configs:
        given.insert(0, f"--data={known[dataset].__module__}.{known[dataset].__qualname__}")
        if tasks is None and not any(option.partition("=")[0].endswith(".tasks") for option in options):
            given.insert(2, f"--data.tasks=[{','.join(_all_tasks(dataset, given))}]")
    if tasks is not None:
        given += _only(tasks)
    data = data_from(configs, given)
    if dataset is not None and data.name != dataset:
        raise ConfigError(f"the experiment is on {data.name}, not on {dataset}", "Name one of them.")
    return data


def _all_tasks(dataset: str, given: Sequence[str]) -> list[str]:
    """All tasks that a data set has with the options given."""
    from mtdense.data.published import PublishedData

    published = PublishedData.registered.get(dataset)
    if published is None:
        raise ConfigError(f"which tasks of {dataset}?", "Name them: `--data.tasks [semseg,depth]`.")
    first = next(iter(published.labels["train"]))
    return list(data_from((), [*given, *_only([first])]).dataset_specs())


def _only(tasks: Sequence[str]) -> list[str]:
    """Options that carry these tasks; options of single tasks are taken out, as those of others would be errors."""
    return [f"--data.tasks=[{','.join(tasks)}]", "--data.mask_tasks=null", "--data.task_options=null"]
