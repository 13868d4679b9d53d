"""Checks, before long work, of where its results are to go."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mtdense.core.errors import ConfigError

__all__ = ["check_output"]


def check_output(option: str, path: Path, inputs: Sequence[Path] = ()) -> None:
    """Checks that a file can be written and is none of those that are read.

    Args:
        option: Name of the option that gave the path, for the error.
        path: The file.
        inputs: Files and folders that the command reads.

    Raises:
        ConfigError: The path is a folder, its folder is missing or not writable, or it lies in an input.
    """
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{option} {path} cannot be written", "Name a file in an existing, writable folder.")
    for source in inputs:
        if path.resolve().is_relative_to(source.resolve()):
            where = "is the same file as" if source.is_file() else "lies in"
            raise ConfigError(f"{option} {path} {where} {source}, which is read", "Name a file elsewhere.")
