"""`mtdense bench train`: the training steps of experiments, side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mtdense.cli.outputs import check_output
from mtdense.core.errors import ConfigError

__all__ = ["add_action", "run_train"]


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `train`."""
    parser = actions.add_parser(
        "train",
        help="training steps of experiments on noise, in turn",
        description="Times one training step (forward, losses, backward, optimiser) of each experiment, in turn. "
        "Further options are those of `mtdense fit` and hold for all, such as `--model.preset small`; no data is read.",
    )
    parser.add_argument(
        "--config", action="append", required=True, help="experiment; others are compared with the first"
    )
    parser.add_argument("--batch", type=int, default=6, help="images per step (6)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="default: the first experiment's")
    parser.add_argument("--labels", choices=("full", "one-label"), default="full", help="labels of each image (full)")
    parser.add_argument("--runs", type=int, default=5, help="timed steps, of which the median counts (5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and noise (0)")
    parser.add_argument("--device", help="default: a GPU where there is one")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.set_defaults(func=run_train, takes_options=True)


def run_train(args: argparse.Namespace) -> int:
    """Measures, prints a table, and writes the figures.

    Raises:
        ConfigError: A number below one, an unknown device, experiments of different tasks, or a file that cannot be
            written.
    """
    import torch
    from rich.console import Console
    from rich.table import Table

    from mtdense.cli.lightning_cli import build_model
    from mtdense.cli.profile import choose_device
    from mtdense.reports.bench.train import time_steps
    from mtdense.reports.canonical import plain, write_atomic
    from mtdense.reports.environment import device_name, versions

    if min(args.batch, args.runs, *(args.size or (1,))) < 1:
        raise ConfigError(f"--batch {args.batch} --runs {args.runs} --size {args.size}", "give numbers of 1 or more.")
    if len(set(args.config)) < len(args.config):
        raise ConfigError("an experiment is named twice", "name each once.")
    if args.json is not None:
        check_output("--json", args.json)
    device = choose_device(args.device)
    modules, sizes = {}, []
    for name in args.config:
        torch.manual_seed(args.seed)
        module, size = build_model([name], args.options)
        modules[name] = module.to(device)
        sizes.append(size)
    tasks = {name: list(module.tasks) for name, module in modules.items()}
    if len({tuple(names) for names in tasks.values()}) > 1:
        raise ConfigError(f"the experiments have different tasks: {tasks}", "name the same by `--data.tasks`.")
    size = tuple(args.size or sizes[0])
    found = time_steps(modules, args.batch, size, args.labels, args.runs, args.seed)
    table = Table(title=f"A training step of {args.batch} images of {size[0]}x{size[1]}, labels: {args.labels}")
    for head in ("experiment", "ms", "shortest", "longest", "ratio", "parameters [M]", "memory [GB]"):
        table.add_column(head, justify="left" if head == "experiment" else "right", overflow="fold")
    for row in found:
        memory = "-" if row.peak_memory is None else f"{row.peak_memory / 1e9:.2f}"
        times = [f"{1e3 * seconds:.0f}" for seconds in (row.seconds, *row.spread)]
        table.add_row(row.name, *times, f"{row.seconds / found[0].seconds:.2f}", f"{row.params / 1e6:.1f}", memory)
    Console().print(table)
    print(f"Median of {args.runs} steps each, in turn; {device_name()}.")
    if args.json is not None:
        rows = [{**plain(row, "bench"), "ratio": row.seconds / found[0].seconds} for row in found]
        body = {
            "steps": rows,
            "batch": args.batch,
            "size": list(size),
            "labels": args.labels,
            "runs": args.runs,
            "seed": args.seed,
            "device": str(device),
            "versions": versions(("torch", "timm", "lightning")),
        }
        write_atomic(args.json, json.dumps(body, indent=2) + "\n")
        print(f"Wrote {args.json}")
    return 0
