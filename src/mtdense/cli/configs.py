"""What the program does with options before they are parsed; configuration files are `mtdense.core.configs`."""

from __future__ import annotations

from collections.abc import Sequence

from mtdense.core.configs import config_chain, merge, merged_configs, read_yaml
from mtdense.core.errors import ConfigError

__all__ = ["BASE_CONFIG", "config_chain", "merge", "merged_configs", "read_yaml", "take_option"]

BASE_CONFIG = "base/trainer.yaml"


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
