"""The `mtdense` program."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence

from mtdense import __version__
from mtdense.core.errors import LostRankError, MTDenseError, NonFiniteLossError

__all__ = ["DIVERGED", "LIGHTNING", "LOST_RANK", "command_parser", "entry_point", "main"]

DIVERGED = 3
"""Exit code where a loss was not finite: doing the same again would come to the same."""

LOST_RANK = 4
"""Exit code where another process of a distributed run has died."""

LIGHTNING = {
    "fit": "train a model",
    "validate": "score a checkpoint on the validation set",
    "test": "score a checkpoint on the test set",
    "predict": "write a checkpoint's predictions as pictures and arrays",
}
# One file each in this folder.
_COMMANDS = (
    "demo",
    "data",
    "score",
    "table",
    "evidence",
    "diagnose",
    "trivial",
    "bench",
    "profile",
    "weights",
    "export",
    "serve",
    "doctor",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        The exit code: 0 done, 1 an error that was reported in one message, 2 a wrong command line, `DIVERGED` a
        training whose loss became NaN or infinite, `LOST_RANK` where another process has died, 75 (`STOPPED` of
        `mtdense.training.stopping`) a run that was asked to stop by SIGTERM or SIGUSR1, and saved.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in LIGHTNING and any(a.partition("=")[0] == "--images" for a in arguments):
            # Pictures without labels need no trainer.
            from mtdense.cli.predict_images import run_images

            return run_images(arguments)
        if arguments and arguments[0] in LIGHTNING:
            # Lightning takes seconds to import, which `mtdense doctor` need not wait for.
            from mtdense.cli.lightning_cli import run_lightning

            run_lightning(arguments)
            return 0
        parser = command_parser()
        parsed, options = parser.parse_known_args(arguments)
        if options and not getattr(parsed, "takes_options", False):
            parser.error(f"unrecognized arguments: {' '.join(options)}")
        parsed.options = options
        return int(parsed.func(parsed))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except argparse.ArgumentError as error:
        print(f"mtdense: error: {_argument_message(str(error))}", file=sys.stderr)
        lists = (
            f"`mtdense {arguments[0]} --help` lists them; `--model.help CLASS` and `--data.help CLASS` a class's own"
        )
        if arguments[0] == "data":
            lists = (
                f"`mtdense {' '.join(arguments[:2])} --help` lists them; `mtdense fit --data.help CLASS` a class's own"
            )
        print(f"  Mend: correct the option; {lists}.", file=sys.stderr)
        return 2
    except Exception as error:
        own = _own_error(error)
        if own is None and not isinstance(error, OSError) and type(error).__name__ != "MisconfigurationException":
            raise
        told = [str(error) if own is None else _message(own), *getattr(own or error, "__notes__", [])]
        print("mtdense: error: " + "\n  ".join(told), file=sys.stderr)
        codes: dict[type, int] = {NonFiniteLossError: DIVERGED, LostRankError: LOST_RANK}
        return codes.get(type(own), 1)


def entry_point() -> None:
    """The console script."""
    code = main()
    if code == LOST_RANK:
        # Ending in order would wait for messages of the dead.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def command_parser() -> argparse.ArgumentParser:
    """The parser of all commands; those of Lightning have one of their own, which takes seconds to make."""
    parser = argparse.ArgumentParser(prog="mtdense", description="Multi-task dense prediction from partial labels.")
    parser.add_argument("--version", action="version", version=f"mtdense {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in LIGHTNING.items():
        subparsers.add_parser(name, help=f"{text} (`mtdense {name} --help`)", add_help=False)
    for name in _COMMANDS:
        importlib.import_module(f"mtdense.cli.{name}").add_parser(subparsers)
    return parser


def _argument_message(text: str) -> str:
    """What the parser says without its account of types: the innermost problem, and where."""
    skip = ("Does not validate", "Subtypes:", "Errors:", "- Expected a <class 'NoneType'>", "Given value")
    lines = [line.strip() for line in text.splitlines()]
    told = [line.removeprefix("- ").rstrip(":") for line in lines if line and not line.startswith(skip)]
    return ": ".join(line.replace("Problem with given class_path", "class") for line in told)


def _own_error(error: BaseException | None) -> MTDenseError | None:
    """The MTDenseError that an error is or came of: the argument parser wraps those of constructors."""
    while error is not None and not isinstance(error, MTDenseError):
        error = error.__cause__ or error.__context__
    return error


def _message(error: MTDenseError) -> str:
    """The error's own words; a data worker wraps them in its traceback."""
    text = str(error)
    if "Original Traceback" not in text:
        return text
    return re.split(r"mtdense\.core\.errors\.\w+: ", text)[-1].rstrip()
