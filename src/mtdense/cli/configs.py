"""What the program does with options before they are parsed; configuration files are `mtdense.core.configs`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from mtdense.core.configs import config_chain, merge, merged_configs, read_yaml
from mtdense.core.errors import ConfigError

__all__ = ["BASE_CONFIG", "config_chain", "config_file", "merge", "merged_configs", "read_yaml", "take_option"]

BASE_CONFIG = "base/trainer.yaml"


@contextmanager
def config_file(config: Mapping[str, Any]) -> Iterator[Path]:
    """A temporary file of plain values, for a parser: it would refuse options of a class that a later file names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
        yield path


def take_option(arguments: Sequence[str], *names: str) -> tuple[list[str], list[str]]:
    """Takes every `--name value` or `--name=value` out of arguments: (values, the other arguments)."""
    values: list[str] = []
    others: list[str] = []
    rest = list(arguments)
    while rest:
        token = rest.pop(0)
        name, equals, value = token.partition("=")
        if name not in names:
            others.append(token)
        elif equals:
            values.append(value)
        elif rest:
            values.append(rest.pop(0))
        else:
            raise ConfigError(f"`{name}` without a value", "give one.")
    return values, others
