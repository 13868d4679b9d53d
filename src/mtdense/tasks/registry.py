"""Tasks by name. A new task is one new file (or folder) in this package; it is found, not listed."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean
from mtdense.tasks.base import Task
from mtdense.tasks.label_kind import LabelKind

__all__ = ["build_label_kinds", "build_tasks", "label_names", "spec_options", "task_names"]


def task_names() -> tuple[str, ...]:
    """Names of all tasks that networks can be trained for, sorted."""
    return tuple(name for name in label_names() if Task.registered[name].trained)


def label_names() -> tuple[str, ...]:
    """Names of all tasks that images can carry labels of, sorted."""
    _discover()
    return tuple(sorted(name for name, kind in Task.registered.items() if not inspect.isabstract(kind)))


def build_tasks(specs: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Task]:
    """Tasks from their specifications.

    Args:
        specs: {task name: keyword arguments of its class, or None for the defaults}.

    Returns:
        {task name: task}, in the order of `specs`.

    Raises:
        ConfigError: Unknown task, one that no network can be trained for, or an option that is unknown, missing or
            makes no sense.
    """
    built: dict[str, Task] = {}
    for name, kind in build_label_kinds(specs).items():
        if not isinstance(kind, Task):
            raise ConfigError(
                f"data can carry the task {name!r}, but no network is there that learns it",
                f"Take {name} out of `data.tasks`; a label mask may still be drawn over it (`data.mask_tasks`).",
            )
        built[name] = kind
    return built


def build_label_kinds(specs: Mapping[str, Mapping[str, Any] | None]) -> dict[str, LabelKind]:
    """As `build_tasks`, for what only handles labels: tasks without a network side are built, too.

    Raises:
        ConfigError: Unknown task, or an option that is unknown, missing or makes no sense.
    """
    return {name: _build_kind(name, spec) for name, spec in specs.items()}


def spec_options(name: str) -> dict[str, bool]:
    """Options that a task's specification may have: {option: whether it must be given}, in order.

    Raises:
        ConfigError: Unknown task.
    """
    known = label_names()
    if name not in known:
        raise ConfigError(f"unknown task {name!r}", _suggest(name, known, "tasks"))
    make: Any = Task.registered[name]
    # A class without an `__init__` of its own shows the catch-all arguments of `object`.
    return {
        option: parameter.default is parameter.empty
        for option, parameter in inspect.signature(make.__init__).parameters.items()
        if option != "self" and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


@functools.cache
def _discover() -> None:
    package = importlib.import_module("mtdense.tasks")
    for module in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."):
        importlib.import_module(module.name)


def _build_kind(name: str, spec: Mapping[str, Any] | None) -> LabelKind:
    allowed = spec_options(name)
    if spec is not None and not isinstance(spec, Mapping):
        raise ConfigError(f"the options of task {name!r} are {spec!r}", "Give a mapping of options, or null.")
    options = dict(spec or {})
    for option in options:
        if option not in allowed:
            raise ConfigError(
                f"task {name!r} has no option {option!r}", _suggest(str(option), tuple(allowed), "options")
            )
    missing = [option for option, required in allowed.items() if required and option not in options]
    if missing:
        raise ConfigError(f"task {name!r} needs {', '.join(missing)}", "Give it among the task's options.")
    make: Any = Task.registered[name]
    kind: LabelKind = make(**options)
    return kind


def _suggest(word: str, known: tuple[str, ...], what: str) -> str:
    if not known:
        return "Leave it out: there are no options."
    return f"{did_you_mean(word, known)}Known {what}: {', '.join(known)}."
