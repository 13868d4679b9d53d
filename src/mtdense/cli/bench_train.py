"""`mtdense bench train`: the training steps of experiments, side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdense.cli.bench_train_table import PLAIN, cells, markdown, ratios
from mtdense.cli.outputs import check_output
from mtdense.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from data_modules import DenseDataModule
    from mtdense.models import DenseModule
    from mtdense.reports.bench.train import StepTime

__all__ = ["ALL_OPTIONS", "add_action", "all_architectures", "run_train"]

ALL_OPTIONS = (
    *("--model.preset", "small", "--model.pretrained", "false", "--model.fused_optimizer", "true"),
    *("--data.size", "[96, 128]", "--data.tasks", "[semseg, depth, normals]"),
)
"""Of `--all`, before those that the user gives."""

# Prompts need a transformer.
_SMALL_SWIN = (
    *("--model.backbone", "swin_tiny_patch4_window7_224", "--model.backbone_options"),
    "{overrides: {embed_dim: 32, depths: [2, 2, 2, 2], num_heads: [1, 2, 4, 8], window_size: 4}}",
)
_SMALL_VIT = (
    *("--model.backbone", "vit_base", "--model.backbone_options"),
    "{overrides: {embed_dim: 128, depth: 4, num_heads: 4}}",
)
_BACKBONES = {"prompt_fusion": _SMALL_SWIN, "task_prompter": _SMALL_SWIN, "tsp_transformer": _SMALL_VIT}


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `train`."""
    parser = actions.add_parser(
        "train",
        help="training steps of experiments on noise, in turn",
        description="Times one training step (forward, losses, backward, optimiser) of each experiment, in turn. "
        "Further options are those of `mtdense fit` and hold for all, such as `--model.preset small`; no data is read "
        "but for --data-time.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", action="append", help="experiment; others are compared with the first")
    which.add_argument(
        "--all", action="store_true", help="every architecture of several tasks, small, on procedural rooms of 96x128"
    )
    parser.add_argument("--batch", type=int, default=6, help="images per step (6)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="default: the first experiment's")
    parser.add_argument("--labels", choices=("full", "one-label"), default="full", help="labels of each image (full)")
    parser.add_argument("--runs", type=int, default=5, help="timed steps, of which the median counts (5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and noise (0)")
    parser.add_argument("--device", help="default: a GPU where there is one")
    parser.add_argument(
        "--precision", choices=("32", "bf16-mixed"), default="32", help="as of --trainer.precision; (32)"
    )
    parser.add_argument("--channels-last", action="store_true", help="as --model.channels_last true")
    parser.add_argument("--compile", action="store_true", help="as --model.compile true")
    parser.add_argument("--checkpoint-encoder", action="store_true", help="as --model.checkpoint_encoder true")
    parser.add_argument("--beside-plain", action="store_true", help="each experiment also without these four")
    parser.add_argument("--parts", action="store_true", help="which parts and which operators take the time")
    parser.add_argument("--data-time", action="store_true", help="how long the experiments' data takes for a batch")
    parser.add_argument("--format", choices=("table", "markdown"), default="table")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.set_defaults(func=run_train, takes_options=True)


def all_architectures() -> dict[str, list[str]]:
    """{method: options that choose it} of all architectures of several tasks; a single-task network is no other one."""
    import inspect

    from mtdense import models

    found = {}
    for name in models.__all__:
        thing = getattr(models, name)
        known = inspect.isclass(thing) and issubclass(thing, models.DenseModule) and not inspect.isabstract(thing)
        if known and thing.method != "single_task":
            found[thing.method] = ["--model", f"mtdense.models.{name}", *_BACKBONES.get(thing.method, ())]
    return found


def run_train(args: argparse.Namespace) -> int:
    """Measures, prints a table, and writes the figures.

    Raises:
        ConfigError: A number below one, an unknown device, experiments of different tasks, or a file that cannot be
            written.
    """
    from mtdense.cli.profile import choose_device
    from mtdense.reports.bench.step import matrix_peak

    if min(args.batch, args.runs, *(args.size or (1,))) < 1:
        raise ConfigError(f"--batch {args.batch} --runs {args.runs} --size {args.size}", "give numbers of 1 or more.")
    if args.json is not None:
        check_output("--json", args.json)
    device = choose_device(args.device)
    precisions = {"32", args.precision} if args.beside_plain else {args.precision}
    measured = {precision: matrix_peak(device, precision) for precision in precisions}
    # Experiments are compared by steps in turn. All architectures together would not fit into memory.
    groups = [[name] for name in all_architectures()] if args.all else [_named_once(args.config)]
    found: list[StepTime] = []
    waits: dict[str, float] = {}
    size = tuple(args.size or ())
    for group in groups:
        rows, seconds, size = _measure(args, group, device, size)
        found += rows
        waits |= seconds
    peaks = {row.name: measured["32" if row.name.endswith(PLAIN) else args.precision] for row in found}
    _show(args, cells(found, args.batch, peaks, waits), size, measured[args.precision])
    if args.json is not None:
        _write(args, found, size, device, peaks, waits)
    return 0


def _named_once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ConfigError("an experiment is named twice", "name each once.")
    return names


def _measure(
    args: argparse.Namespace, names: list[str], device: torch.device, size: tuple[int, ...]
) -> tuple[list[StepTime], dict[str, float], tuple[int, ...]]:
    """Steps of experiments or architectures in turn, seconds of their data where asked for, and the size of images."""
    from mtdense.reports.bench.train import Arrangement, time_steps

    modules, data = _build(args, names, device)
    tasks = {name: list(module.tasks) for name, module in modules.items()}
    if len({tuple(task_names) for task_names in tasks.values()}) > 1:
        raise ConfigError(f"the experiments have different tasks: {tasks}", "name the same by `--data.tasks`.")
    size = size or tuple(next(iter(data.values())).size)
    plain = Arrangement()
    arranged = {name: plain if name.endswith(PLAIN) else Arrangement(args.precision, args.compile) for name in modules}
    found = time_steps(modules, args.batch, size, args.labels, args.runs, args.seed, arranged, args.parts)
    waits = {name: _data_seconds(module, args) for name, module in data.items()} if args.data_time else {}
    return found, waits, size


def _build(
    args: argparse.Namespace, names: list[str], device: torch.device
) -> tuple[dict[str, DenseModule], dict[str, DenseDataModule]]:
    """Architectures and data, by name; plain ones beside the others if asked for."""
    import torch

    from mtdense.cli.building import build_experiment

    if args.all:
        known = all_architectures()
        named = {name: (["base/procedural.yaml"], [*known[name], *ALL_OPTIONS]) for name in names}
    else:
        named = {name: ([name], []) for name in names}
    modules, data = {}, {}
    for name, (files, options) in named.items():
        for suffix in (PLAIN, "") if args.beside_plain else ("",):
            torch.manual_seed(args.seed)
            named_options = [name for name in ("channels_last", "checkpoint_encoder") if getattr(args, name)]
            chosen = [] if suffix else [part for name in named_options for part in (f"--model.{name}", "true")]
            module, data[name] = build_experiment(files, [*options, *args.options, *chosen])
            modules[name + suffix] = module.to(device)
    return modules, data


def _data_seconds(data: DenseDataModule, args: argparse.Namespace) -> float:
    """Seconds in which the training data of an experiment gives as many images as a step takes, the first left out."""
    import time
    from itertools import islice

    data.setup("fit")
    batches = iter(data.train_dataloader())
    next(batches)
    clock = time.perf_counter()
    images = sum(len(batch["image"]) for batch in islice(batches, args.runs))
    if images == 0:
        raise ConfigError("an epoch of one batch", "leave out --data-time, or make `--data.batch_size` smaller.")
    return (time.perf_counter() - clock) * float(args.batch) / images


def _show(args: argparse.Namespace, lines: list[list[str]], size: tuple[int, ...], peak: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from mtdense.reports.environment import device_name

    title = f"A training step of {args.batch} images of {size[0]}x{size[1]}, labels: {args.labels}"
    options = ("channels-last", "compile", "checkpoint-encoder")
    how = [args.precision, *(name for name in options if getattr(args, name.replace("-", "_")))]
    note = f"Median of {args.runs} steps each, in turn; {', '.join(how)}; matrix peak {peak / 1e9:.0f} GFLOP/s; "
    note += f"{device_name()}."
    if args.format == "markdown":
        print(f"{title}.\n{note}\n\n{markdown(lines)}")
        return
    table = Table(title=title)
    for head in lines[0]:
        table.add_column(head, justify="left" if head.startswith(("experiment", "largest")) else "right")
    for line in lines[1:]:
        table.add_row(*line)
    Console().print(table)
    print(note)


def _write(
    args: argparse.Namespace,
    found: list[Any],
    size: tuple[int, ...],
    device: torch.device,
    peaks: dict[str, float],
    waits: dict[str, float],
) -> None:
    from mtdense.reports.canonical import plain, write_atomic
    from mtdense.reports.environment import versions

    ratio = ratios(found)
    rows = [
        {
            **plain(row, "bench"),
            "ratio": ratio[row.name],
            "images_per_second": args.batch / row.seconds,
            "matrix_peak": peaks[row.name],
            "share_of_peak": row.flops / row.seconds / peaks[row.name],
            "data_seconds": waits.get(row.name),
        }
        for row in found
    ]
    names = ("batch", "labels", "runs", "seed", "precision", "channels_last", "compile", "checkpoint_encoder")
    body = {
        "steps": rows,
        **{name: getattr(args, name) for name in names},
        "size": list(size),
        "device": str(device),
        "versions": versions(("torch", "timm", "lightning")),
    }
    write_atomic(args.json, json.dumps(body, indent=2) + "\n")
    print(f"Wrote {args.json}")
