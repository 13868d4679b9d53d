"""`mtdense serve`: a page on this machine to drop a photograph on."""

from __future__ import annotations

import argparse
import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mtdense.cli.allow_module import add_allow_module
from mtdense.core.errors import ConfigError

__all__ = ["add_parser", "run"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `serve`."""
    parser = subparsers.add_parser(
        "serve",
        help="a page on this machine to drop photographs on",
        description="Serves one page on the loopback address: nobody but this machine reaches it, nothing is kept, and "
        "nothing leaves the machine. Ctrl-C ends it.",
    )
    parser.add_argument("--ckpt_path", required=True, metavar="FILE", help="checkpoint, packed weights, or hf://...")
    parser.add_argument("--port", type=int, default=7860, help="(%(default)s; 0: any that is free)")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="only these (default: all)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (%(default)s)")
    parser.add_argument("--max_megabytes", type=float, default=20.0, help="largest file taken (%(default)g)")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    add_allow_module(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Serves until it is interrupted.

    Raises:
        MTDenseError: Any fault that the user can mend.
    """
    if not 0 <= args.port <= 65535:
        raise ConfigError(f"--port {args.port}", "give a number from 0 to 65535.")
    if not 0 < args.max_megabytes <= 1000:
        raise ConfigError(f"--max_megabytes {args.max_megabytes:g}", "give a number above 0, at most 1000.")
    from mtdense.models.checkpoint import model_of, read_checkpoint
    from mtdense.reports.filled import filled_in_training
    from mtdense.reports.predictor import Predictor
    from mtdense.reports.serve import start, stop

    info = read_checkpoint(args.ckpt_path, args.allow_module)
    model, filled = model_of(info, args.allow_module), filled_in_training(info)
    del info  # with its copy of the weights
    predictor = Predictor(model, tasks=args.tasks, filled=filled, device=args.device)
    with _signals_noted() as told, tempfile.TemporaryDirectory(prefix="mtdense-serve-") as folder:
        page, address = start(predictor, args.port, args.max_megabytes, Path(folder), browser=args.open)
        try:
            if not told:
                print(f"Serving {args.ckpt_path} at {address}; Ctrl-C ends it.", flush=True)
            while page.is_running and not told:
                time.sleep(0.2)
        finally:
            stop(page)
    return 0


@contextlib.contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """The numbers of signals that came: SIGTERM, and Ctrl-C; two do not break off the start or the end of the server.

    Else a server would be left, of whose start nobody has heard yet, or files that were uploaded to it. The third ends
    the program where it is, should either hang.
    """
    told: list[int] = []

    def note(number: int, frame: object) -> None:
        told.append(number)
        if len(told) > 2:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    before = [signal.signal(number, note) for number in _SIGNALS]
    try:
        yield told
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
