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

__all__ = ["build_tasks", "spec_options", "task_names"]


def task_names() -> tuple[str, ...]:
    """Names of all tasks, sorted."""
    _discover()
    return tuple(sorted(name for name, task in Task.registered.items() if not inspect.isabstract(task)))


def build_tasks(specs: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Task]:
    """Tasks from their specifications.

    Args:
        specs: {task name: keyword arguments of its class, or None for the defaults}.

    Returns:
        {task name: task}, in the order of `specs`.

    Raises:
        ConfigError: Unknown task, or an option that is unknown, missing or makes no sense.
    """
    return {name: _build_task(name, spec) for name, spec in specs.items()}


def spec_options(name: str) -> dict[str, bool]:
    """Options that a task's specification may have: {option: whether it must be given}, in order.

    Raises:
        ConfigError: Unknown task.
    """
    known = task_names()
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


def _build_task(name: str, spec: Mapping[str, Any] | None) -> Task:
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
    task: Task = make(**options)
    return task


def _suggest(word: str, known: tuple[str, ...], what: str) -> str:
    if not known:
        return "Leave it out: there are no options."
    return f"{did_you_mean(word, known)}Known {what}: {', '.join(known)}."
