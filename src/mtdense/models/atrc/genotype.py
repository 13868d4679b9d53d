"""Which context each task takes from each: what ATRC's search finds, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

from mtdense.core.errors import ConfigError

__all__ = ["CONTEXTS", "PUBLISHED", "Context", "Genotype", "read_genotype"]

Context = Literal["none", "global", "local", "t_label", "s_label"]
Genotype = dict[str, dict[str, Context]]
"""{target: {source: context}}."""

CONTEXTS: tuple[Context, ...] = get_args(Context)
"""In the order of the numbers that published files hold."""

_NYUD = ("semseg", "depth", "normals", "edges")
_PASCAL = ("semseg", "human_parts", "saliency", "normals", "edges")
# Names of tasks in published files where they are not the suite's.
_NAMES = {"sal": "saliency", "edge": "edges"}
_MEND = (
    f"Give a mapping {{target: {{source: context}}}} with the contexts {', '.join(CONTEXTS)}; one context for all; a "
    "published genotype; or a .json file of ATRC's search."
)


def _table(tasks: Sequence[str], *rows: str) -> Genotype:
    numbers = (map(int, row) for row in rows)
    return {
        target: dict(zip(tasks, (CONTEXTS[n] for n in row), strict=True))
        for target, row in zip(tasks, numbers, strict=True)
    }


PUBLISHED: dict[str, Genotype] = {
    "nyud_hrnet_w18": _table(_NYUD, "3344", "4344", "4334", "3313"),
    "nyud_hrnet_w48": _table(_NYUD, "3004", "4114", "4114", "3333"),
    "pascal_hrnet_w18": _table(_PASCAL, "33404", "33434", "33343", "33334", "33313"),
}
"""Results of the search that were published: a row per target, a number per source (github.com/brdav/atrc, 76d8055)."""


def read_genotype(given: str | Mapping[str, Mapping[str, Any]], tasks: Sequence[str]) -> Genotype:
    """A genotype of `tasks`; what it says of other tasks is left out.

    Args:
        given: A mapping {target: {source: context or its published number}}; the name of a published genotype; one
            context for all pairs; or a `.json` file as ATRC's search writes it.
        tasks: The model's tasks.

    Raises:
        ConfigError: Unknown name or context, an unreadable file, or a pair of tasks that is missing.
    """
    if isinstance(given, str):
        if given in CONTEXTS:
            return {target: dict.fromkeys(tasks, given) for target in tasks}
        table: Mapping[str, Any] = PUBLISHED[given] if given in PUBLISHED else _read_file(given)
    else:
        table = given
    if not all(isinstance(row, Mapping) for row in table.values()):
        raise ConfigError(f"genotype: {dict(table)!r} is no table of pairs of tasks", _MEND)
    named = {_suite(target): {_suite(source): c for source, c in row.items()} for target, row in table.items()}
    missing = [f"{t} from {s}" for t in tasks for s in tasks if s not in named.get(t, {})]
    if missing:
        raise ConfigError(f"the genotype does not say what {', '.join(missing)} takes", _MEND)
    return {target: {source: _context(named[target][source]) for source in tasks} for target in tasks}


def _suite(name: Any) -> str:
    return _NAMES.get(str(name), str(name))


def _context(value: Any) -> Context:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(CONTEXTS):
        return CONTEXTS[value]
    if value in CONTEXTS:
        return cast(Context, value)
    raise ConfigError(f"genotype: unknown context {value!r}", _MEND)


def _read_file(name: str) -> Mapping[str, Any]:
    if not name.endswith(".json"):
        raise ConfigError(f"unknown genotype '{name}'", f"{_MEND} Published are {', '.join(PUBLISHED)}.")
    try:
        held = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the genotype in {name}: {error}", _MEND) from error
    table = held.get("data", held) if isinstance(held, dict) else None
    if not isinstance(table, dict):
        raise ConfigError(f"{name} does not hold a genotype", _MEND)
    return table
