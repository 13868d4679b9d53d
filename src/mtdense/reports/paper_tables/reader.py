"""Typed access to a section of a YAML file; every error names the file, the place and the key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean

__all__ = ["Reader", "read_mapping"]


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        ConfigError: There is none, or it holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not readable YAML: {error}", "correct the file, or its name.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}, not a mapping", "write `key: value` lines.")
    return content


class Reader:
    """One section of a file.

    Args:
        source: The file.
        where: The section, such as "blocks.cost.rows.invpt"; "" is the whole.
        content: What it says.
    """

    def __init__(self, source: str, where: str, content: dict[str, Any]) -> None:
        self.source, self.where, self.content = source, where, content

    def error(self, problem: str, mend: str) -> ConfigError:
        """An error that names file and section."""
        return ConfigError(f"{self.source}{f', {self.where}' if self.where else ''}: {problem}", mend)

    def only(self, *known: str) -> None:
        """Refuses keys that are not among these."""
        for key in self.content:
            if key not in known:
                raise self.error(f"unknown key {key!r}", f"{did_you_mean(key, known)}The keys are: {', '.join(known)}.")

    def has(self, key: str) -> bool:
        """Whether the key is there with a value."""
        return self.content.get(key) is not None

    def _value(self, key: str, kinds: type | tuple[type, ...], name: str) -> Any:
        if not self.has(key):
            raise self.error(f"the key {key!r} is missing", f"add {name}.")
        value = self.content[key]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise self.error(f"{key} is {value!r}", f"give {name}.")
        return value

    def text(self, key: str) -> str:
        """Text that is not empty."""
        value = str(self._value(key, str, "text")).strip()
        if not value:
            raise self.error(f"{key} is empty", "give text.")
        return value

    def optional_text(self, key: str) -> str | None:
        """Text, or None for null and what is not there."""
        return self.text(key) if self.has(key) else None

    def choice(self, key: str, known: Sequence[str]) -> str:
        """Text that is one of these."""
        return self._known(key, self.text(key), known)

    def choices(self, key: str, known: Sequence[str]) -> tuple[str, ...]:
        """A list of some of these, each once; empty if it is not there."""
        values = self._value(key, list, "a list") if self.has(key) else []
        if len(set(map(str, values))) != len(values):
            raise self.error(f"{key} names something twice", "name each once.")
        return tuple(self._known(key, value, known) for value in values)

    def number(self, key: str) -> float:
        """A number."""
        return float(self._value(key, (int, float), "a number"))

    def whole(self, key: str) -> int:
        """A whole number of 0 or more."""
        value = self._value(key, int, "a whole number")
        if value < 0:
            raise self.error(f"{key} is {value}", "give 0 or more.")
        return int(value)

    def wholes(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        values = self._value(key, list, "a list of whole numbers")
        if any(not isinstance(value, int) or isinstance(value, bool) for value in values):
            raise self.error(f"{key} is {values!r}", "give a list of whole numbers.")
        return tuple(values)

    def mapping(self, key: str) -> dict[str, Any]:
        """A mapping; empty if it is not there."""
        return dict(self._value(key, dict, "`key: value` lines")) if self.has(key) else {}

    def numbers(self, key: str, known: Sequence[str]) -> dict[str, float]:
        """{one of these: number}; empty if it is not there."""
        inner = self.child(key)
        return {self._known(key, name, known): inner.number(name) for name in inner.content}

    def child(self, key: str) -> Reader:
        """The section below; empty if it is not there."""
        return Reader(self.source, self._below(key), self.mapping(key))

    def children(self, key: str, id_key: str | None = "id") -> list[Reader]:
        """The sections of a list, whose ids are unique; empty if it is not there.

        Args:
            key: Of the list.
            id_key: Key of a section's id; None: they have none.
        """
        found: list[Reader] = []
        seen: set[Any] = set()
        for i, value in enumerate(self._value(key, list, "a list") if self.has(key) else []):
            name = value.get(id_key, i) if isinstance(value, dict) and id_key else i
            child = Reader(self.source, self._below(f"{key}.{name}"), value)
            if not isinstance(value, dict):
                raise child.error(f"it is {value!r}", "write `key: value` lines.")
            if name in seen:
                raise child.error(f"its {id_key} stands there twice", "name each once.")
            seen.add(name)
            found.append(child)
        return found

    def _below(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def _known(self, key: str, value: Any, known: Sequence[str]) -> str:
        if not isinstance(value, str) or value not in known:
            raise self.error(
                f"{key} has {value!r}, which is unknown here",
                f"{did_you_mean(value, known)}There are: {', '.join(known) or 'none'}.",
            )
        return value
