"""The option by which a user trusts a package whose classes a file names."""

from __future__ import annotations

import argparse

__all__ = ["add_allow_module"]


def add_allow_module(parser: argparse.ArgumentParser) -> None:
    """Adds `--allow_module`, which may be given several times."""
    parser.add_argument(
        "--allow_module", "--allow-module", action="append", default=[], metavar="PKG",
        help="package besides mtdense whose classes the file may name",
    )  # fmt: skip
