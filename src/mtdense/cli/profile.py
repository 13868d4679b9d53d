"""`mtdense profile`: parameters, multiply-accumulates, latency and memory of an experiment's network."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from mtdense.core.errors import ConfigError
from mtdense.core.words import counted

if TYPE_CHECKING:
    import torch

    from mtdense.reports.profile import Cost, Measurement

__all__ = ["add_parser", "choose_device", "run_profile"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `profile`."""
    parser = subparsers.add_parser(
        "profile",
        help="count parameters and multiply-accumulates, and time inference",
        description="Costs of one image at inference. Further options are those of `mtdense fit`, such as "
        "`--model.preset small` or `--data.tasks '[depth]'`; no data is read and no weights are fetched.",
    )
    parser.add_argument("--config", action="append", required=True, help="experiment; may be repeated")
    parser.add_argument("--input-size", type=int, nargs=2, metavar=("H", "W"), help="default: the experiment's")
    parser.add_argument("--depth", type=int, default=2, help="depth of the printed tree of modules (2)")
    parser.add_argument("--device", help="where to time, such as cpu or cuda:1; default: a GPU where there is one")
    parser.add_argument("--count-only", action="store_true", help="time nothing; large networks take seconds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run_profile, takes_options=True)


def run_profile(args: argparse.Namespace) -> int:
    """Counts, measures and prints.

    Raises:
        ConfigError: Bad size or device, or a configuration that does not name data and model.
    """
    import torch

    from mtdense.cli.building import build_model
    from mtdense.reports.profile import count_cost, measure

    if args.depth < 0:
        raise ConfigError(f"--depth {args.depth}", "give 0 or more.")
    with torch.device("meta"):
        model, data_size = build_model(args.config, args.options)
    size = tuple(args.input_size or data_size)
    if min(size) < 1:
        raise ConfigError(f"--input-size {size[0]} {size[1]}", "give a height and a width of 1 or more.")
    cost = count_cost(model, size, args.depth)
    measured, device = None, None
    if not args.count_only:
        device = choose_device(args.device)
        measured = measure(build_model(args.config, args.options)[0].to(device), size)
    report = _report(cost, measured)
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _print(cost, measured, str(device), model.method)
    return 0


def choose_device(name: str | None) -> torch.device:
    """The device that `--device` names; without it a GPU where there is one.

    Raises:
        ConfigError: This machine has no such device.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name}: {str(error).splitlines()[0]}", "name a device of this machine.") from error
    return device


def _report(cost: Cost, measured: Measurement | None) -> dict[str, Any]:
    whole = cost.modules[0]
    return {
        "params_m": whole.params / 1e6,
        "macs_g": whole.macs / 1e9,
        **{name: {"params_m": params / 1e6, "macs_g": macs / 1e9} for name, (params, macs) in cost.conventions.items()},
        "latency_s": None if measured is None else measured.latency,
        "peak_memory_gb": None if measured is None or measured.peak_memory is None else measured.peak_memory / 1e9,
        "input_size": list(cost.input_size),
        "training_only_params_m": cost.training_only / 1e6,
        "modules": [
            {"name": part.name, "params_m": part.params / 1e6, "macs_g": part.macs / 1e9} for part in cost.modules[1:]
        ],
    }


def _print(cost: Cost, measured: Measurement | None, device: str, method: str) -> None:
    from rich.console import Console
    from rich.table import Table

    whole = cost.modules[0]
    table = Table(title=f"{method}, one image of {cost.input_size[0]}x{cost.input_size[1]}")
    table.add_column("module")
    for head in ("params [M]", "MACs [G]", "share"):
        table.add_column(head, justify="right")
    for part in cost.modules:
        indent = "  " * (part.name.count(".") + 1) if part.name else ""
        share = part.macs / whole.macs if whole.macs else 0.0
        name = indent + (part.name.rsplit(".", 1)[-1] or "whole network")
        table.add_row(name, f"{part.params / 1e6:.3f}", f"{part.macs / 1e9:.3f}", f"{share:.1%}")
    console = Console()
    console.print(table)
    if cost.training_only:
        console.print(f"Only training uses another {cost.training_only / 1e6:.3f} M parameters.")
    for name, (params, macs) in cost.conventions.items():
        console.print(f"As {name} counts: {params / 1e6:.3f} M parameters, {macs / 1e9:.3f} G.", highlight=False)
    if measured is not None:
        memory = "unknown" if measured.peak_memory is None else f"{measured.peak_memory / 1e9:.3f} GB"
        console.print(
            f"On {device}: {1e3 * measured.latency:.1f} ms (median of {counted(measured.runs, 'run')}), "
            f"peak memory {memory}.",
            highlight=False,
        )
