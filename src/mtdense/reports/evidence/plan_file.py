"""The file that declares a comparison of methods, before anything is run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean
from mtdense.reports.table import SINGLE_TASK
from mtdense.tasks.registry import task_names

__all__ = ["RULES", "Estimate", "Method", "Plan", "parse_plan"]

RULES = ("delta_m", "val_loss")
"""Rules by which a grid value is chosen on validation; see `mtdense.reports.evidence.selection`."""

# Ids become folder names, and parts of one another's paths.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Method:
    """One method of a comparison.

    Args:
        id: Its name in folders and tables.
        experiments: Experiment files that it starts from; the comparison's `base` is laid over them.
        config: Configuration laid over experiments and base.
        per_task: One network per task (the single-task baseline) instead of one of all tasks.
        grid: {id: configuration}: what is tried on the first seed.
        cost: Duration of a step in steps of a network of cost 1, for the estimate.
    """

    id: str
    experiments: tuple[str, ...]
    config: dict[str, Any]
    per_task: bool
    grid: dict[str, dict[str, Any]]
    cost: float


@dataclass(frozen=True)
class Estimate:
    """Seconds on one core; 0 where nothing was measured.

    Args:
        start_seconds: From the start of a training process to its first step, and from its last step to its end.
        step_seconds: One step of a method of cost 1.
        test_seconds: One test, from start to end.
    """

    start_seconds: float = 0.0
    step_seconds: float = 0.0
    test_seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A comparison of methods.

    Args:
        source: The file, for errors.
        about: What is compared, in a sentence.
        base: Configuration files that all runs share: data, recipe, budget.
        tasks: Tasks of all networks; single-task networks have one each.
        settings: {id: configuration}: what is compared in tables of its own, such as label settings.
        methods: {id: method}.
        seeds: Seeds; the grid is tried on the first.
        rule: One of `RULES`.
        rule_reference: Method whose first grid value, on the first seed, gives the validation scores that the rule
            "delta_m" measures against; None for the other rule.
        reference: Method against which Δm is measured on the test set.
        pairs: Methods to compare, (a, b); those of neighbouring tiers of `order` are among them.
        order: The order that is expected, best first, in tiers.
        estimate: Durations.
    """

    source: str
    about: str
    base: tuple[str, ...]
    tasks: tuple[str, ...]
    settings: dict[str, dict[str, Any]]
    methods: dict[str, Method]
    seeds: tuple[int, ...]
    rule: str
    rule_reference: str | None
    reference: str
    pairs: tuple[tuple[str, str], ...]
    order: tuple[tuple[str, ...], ...]
    estimate: Estimate


_KEYS = {
    "about": "a sentence",
    "base": "configuration files",
    "tasks": "tasks",
    "settings": "{id: configuration}",
    "methods": "{id: method}",
    "grid": "{id: configuration}",
    "seeds": "whole numbers",
    "selection": "{rule, reference}",
    "reference": "the method that Δm is measured against",
    "pairs": "lists of two methods",
    "order": "methods or lists of methods, best first",
    "estimate": "{start_seconds, step_seconds, test_seconds}",
}
_OPTIONAL = ("pairs", "order", "estimate")


def parse_plan(content: Mapping[str, Any], source: str) -> Plan:
    """Checks what a comparison's file says.

    Args:
        content: The file's mapping.
        source: The file, for errors.

    Raises:
        ConfigError: An unknown or missing key, a value of another kind, a name that is not declared, or methods with
            different numbers of grid values.
    """
    reader = _Reader(source)
    reader.keys(content, "", _KEYS, required=[key for key in _KEYS if key not in _OPTIONAL])
    grid = reader.overlays(content["grid"], "grid")
    methods = {
        name: _method(reader, name, value, grid)
        for name, value in reader.mapping(content["methods"], "methods", ids=True).items()
    }
    tasks = reader.texts(content["tasks"], "tasks")
    for task in tasks:
        reader.one_of(task, "tasks", task_names())
    rule, rule_reference = _selection(reader, content["selection"], methods)
    order = tuple(
        tuple(reader.one_of(name, "order", methods) for name in ([tier] if isinstance(tier, str) else tier))
        for tier in reader.items(content.get("order", []), "order", (str, list))
    )
    reader.unique([name for tier in order for name in tier], "order")
    return Plan(
        source=source,
        about=reader.text(content["about"], "about"),
        base=reader.texts(content["base"], "base"),
        tasks=tasks,
        settings=reader.overlays(content["settings"], "settings"),
        methods=methods,
        seeds=_seeds(reader, content["seeds"]),
        rule=rule,
        rule_reference=rule_reference,
        reference=_reference(reader, content["reference"], methods),
        pairs=_pairs(reader, content.get("pairs", []), methods, order),
        order=order,
        estimate=_estimate(reader, content.get("estimate", {})),
    )


def _method(reader: _Reader, name: str, value: Any, grid: dict[str, dict[str, Any]]) -> Method:
    where = f"methods.{name}"
    content = reader.mapping(value, where)
    known = ("experiment", "config", "single_task", "grid", "cost")
    reader.keys(content, where, dict.fromkeys(known, ""), required=[])
    own = reader.overlays(content["grid"], f"{where}.grid") if "grid" in content else grid
    if len(own) != len(grid):
        raise reader.error(
            f"{where}.grid has {len(own)} values where the others have {len(grid)}",
            "give every method the same number of trials.",
        )
    if content.get("single_task") not in (None, "per_task"):
        raise reader.error(
            f"{where}.single_task is {content['single_task']!r}", "say `per_task` (one network per task) or leave it."
        )
    experiment = content.get("experiment", [])
    return Method(
        id=name,
        experiments=reader.texts([experiment] if isinstance(experiment, str) else experiment, f"{where}.experiment", 0),
        config=reader.overlay(content.get("config", {}), f"{where}.config"),
        per_task="single_task" in content,
        grid=own,
        cost=reader.number(content.get("cost", 1.0), f"{where}.cost"),
    )


def _selection(reader: _Reader, value: Any, methods: Mapping[str, Method]) -> tuple[str, str | None]:
    content = reader.mapping(value, "selection")
    reader.keys(content, "selection", {"rule": "", "reference": ""}, required=["rule"])
    rule = reader.one_of(content["rule"], "selection.rule", RULES)
    if rule != "delta_m":
        if "reference" in content:
            raise reader.error(f"selection.reference beside the rule {rule}", "leave it out.")
        return rule, None
    if "reference" not in content:
        raise reader.error("selection has no `reference`", "name the method whose validation scores are the measure.")
    name = reader.one_of(content["reference"], "selection.reference", methods)
    if methods[name].per_task:
        raise reader.error(f"selection.reference is {name}, which has a network per task", "name one of all tasks.")
    return rule, name


def _reference(reader: _Reader, value: Any, methods: Mapping[str, Method]) -> str:
    name = reader.one_of(value, "reference", methods)
    if SINGLE_TASK in methods and name != SINGLE_TASK:
        raise reader.error(f"reference is {name}, though there is {SINGLE_TASK}", f"make {SINGLE_TASK} the reference.")
    per_task = [method.id for method in methods.values() if method.per_task]
    if len(per_task) > 1 or (per_task and per_task != [name]):
        raise reader.error(
            f"reference is {name}, and {', '.join(per_task)} has one network per task",
            "make the only method with `single_task: per_task` the reference, or leave it out.",
        )
    return name


def _pairs(
    reader: _Reader, value: Any, methods: Mapping[str, Method], order: Sequence[Sequence[str]]
) -> tuple[tuple[str, str], ...]:
    """What is declared, and before it each method of a tier of the order with each of the next tier."""
    found = [(better, worse) for tier, following in pairwise(order) for better in tier for worse in following]
    for i, pair in enumerate(reader.items(value, "pairs", (list,))):
        where = f"pairs[{i}]"
        if len(pair) != 2 or pair[0] == pair[1]:
            raise reader.error(f"{where} is {pair!r}", "name two different methods.")
        a, b = (reader.one_of(name, where, methods) for name in pair)
        if (b, a) in found:
            raise reader.error(f"{where} turns {b} and {a} of an earlier pair, or of the order, about", "remove it.")
        found.append((a, b))
    return tuple(dict.fromkeys(found))


def _seeds(reader: _Reader, value: Any) -> tuple[int, ...]:
    seeds = reader.items(value, "seeds", (int,))
    if not seeds or any(isinstance(seed, bool) or seed < 0 for seed in seeds):
        raise reader.error(f"seeds is {seeds!r}", "give one or more whole numbers of 0 or more.")
    reader.unique(seeds, "seeds")
    return tuple(seeds)


def _estimate(reader: _Reader, value: Any) -> Estimate:
    content = reader.mapping(value, "estimate", empty=True)
    known = ("start_seconds", "step_seconds", "test_seconds")
    reader.keys(content, "estimate", dict.fromkeys(known, ""), required=[])
    return Estimate(**{str(key): reader.number(number, f"estimate.{key}") for key, number in content.items()})


class _Reader:
    """Checks of one file's values; every error names file and place."""

    # Of the run, not of the method: the program gives these to each run itself.
    RESERVED = ("seed_everything", "run_dir", "log_dir", "ckpt_path", "overwrite", "variant", "extends")

    def __init__(self, source: str) -> None:
        self.source = source

    def error(self, problem: str, mend: str) -> ConfigError:
        return ConfigError(f"{self.source}: {problem}", mend)

    def keys(self, content: Mapping[str, Any], where: str, known: Mapping[str, str], required: Sequence[str]) -> None:
        of = f" of `{where}`" if where else ""
        for key in content:
            if key not in known:
                raise self.error(
                    f"unknown key {key!r}{of}", f"{did_you_mean(key, known)}The keys are: {', '.join(known)}."
                )
        for key in required:
            if key not in content:
                meaning = f": {known[key]}" if known[key] else ""
                raise self.error(f"the key {key!r}{of} is missing", f"add it{meaning}.")

    def mapping(self, value: Any, where: str, ids: bool = False, empty: bool = False) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not (value or empty or not ids):
            raise self.error(f"{where} is {value!r}", "write `key: value` lines.")
        for key in value if ids else ():
            if not isinstance(key, str) or not _ID.fullmatch(key):
                raise self.error(
                    f"{where} has the id {key!r}, which names folders",
                    "use letters, digits, `_`, `.`, `+` and `-`, and quote what YAML takes for a number.",
                )
        return dict(value)

    def overlays(self, value: Any, where: str) -> dict[str, dict[str, Any]]:
        return {
            name: self.overlay(part, f"{where}.{name}") for name, part in self.mapping(value, where, ids=True).items()
        }

    def overlay(self, value: Any, where: str) -> dict[str, Any]:
        content = self.mapping({} if value is None else value, where, empty=True)
        for key in content:
            if key in self.RESERVED:
                raise self.error(f"{where} sets `{key}`", "leave it out: each run is given its own.")
        for key in ("tasks", "mask_tasks", "only_labelled"):
            data = content.get("data")
            if isinstance(data, Mapping) and key in (data.get("init_args") or {}):
                raise self.error(
                    f"{where} sets `data.init_args.{key}`", "leave it out: `tasks` of the comparison decides it."
                )
        return content

    def items(self, value: Any, where: str, kinds: tuple[type, ...]) -> list[Any]:
        if not isinstance(value, list) or not all(isinstance(item, kinds) for item in value):
            raise self.error(f"{where} is {value!r}", f"give a list of {' or '.join(k.__name__ for k in kinds)}.")
        return value

    def texts(self, value: Any, where: str, least: int = 1) -> tuple[str, ...]:
        found = self.items(value, where, (str,))
        if len(found) < least:
            raise self.error(f"{where} is empty", "name at least one.")
        self.unique(found, where)
        return tuple(found)

    def unique(self, values: Iterable[Any], where: str) -> None:
        seen: set[Any] = set()
        for value in values:
            if value in seen:
                raise self.error(f"{where} names {value!r} twice", "name each once.")
            seen.add(value)

    def text(self, value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise self.error(f"{where} is {value!r}", "give text.")
        return value.strip()

    def number(self, value: Any, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise self.error(f"{where} is {value!r}", "give a number of 0 or more.")
        return float(value)

    def one_of(self, value: Any, where: str, known: Iterable[str]) -> str:
        names = list(known)
        if value not in names:
            raise self.error(
                f"{where} has {value!r}, which is unknown",
                f"{did_you_mean(value, names)}There are: {', '.join(names)}.",
            )
        return cast(str, value)
