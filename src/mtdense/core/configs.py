"""Configuration files: what they extend, and what they say together before anything is parsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mtdense.core.errors import ConfigError
from mtdense.core.experiments import resolve_experiment

__all__ = ["config_chain", "merge", "merged_configs", "read_yaml"]

# The same language as the plain safe loader, ten times as fast; not every build of PyYAML has it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads one configuration file.

    Raises:
        ConfigError: Not a YAML mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not readable YAML: {error}", "correct the file.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}, not a mapping", "write `key: value` lines.")
    return content


def config_chain(path: Path, seen: tuple[Path, ...] = ()) -> list[Path]:
    """The files that `path` extends, bases first, then `path` itself.

    Raises:
        ConfigError: A file that extends itself, or an `extends` that is not a list of paths.
    """
    path = path.resolve()
    if path in seen:
        raise ConfigError(f"{path} extends itself by way of {seen[-1]}", "break the circle of `extends`.")
    bases = read_yaml(path).get("extends") or []
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"`extends` in {path} is not a list of paths", "write `extends: [../base/x.yaml]`.")
    chain: list[Path] = []
    for base in bases:
        beside = path.parent / base
        found = beside if beside.is_file() else resolve_experiment(base)
        chain += [item for item in config_chain(found, (*seen, path)) if item not in chain]
    return [*chain, path]


def merged_configs(names: Sequence[str]) -> dict[str, Any]:
    """What configuration files say together, with all that they extend; later files win.

    Mappings are merged, lists replaced. A section that names another class than before loses the old one's arguments.

    Args:
        names: Paths, or names of shipped experiments.
    """
    merged: dict[str, Any] = {}
    for name in names:
        for path in config_chain(resolve_experiment(name)):
            merged = merge(merged, {key: value for key, value in read_yaml(path).items() if key != "extends"})
    return merged


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on it, mappings merged; see `merged_configs`."""
    result = dict(base)
    # A section may set arguments before its class is named; only a change of class drops them.
    if "class_path" in base and over.get("class_path", base["class_path"]) != base["class_path"]:
        result.pop("init_args", None)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
