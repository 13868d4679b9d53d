"""Tasks by name. A new task is one new file (or folder) in this package; it is found, not listed."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from mtdense.core.errors import ConfigError
from mtdense.tasks.base import Task

__all__ = ["build_tasks", "task_names"]


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


@functools.cache
def _discover() -> None:
    package = importlib.import_module("mtdense.tasks")
    for module in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."):
        importlib.import_module(module.name)


def _build_task(name: str, spec: Mapping[str, Any] | None) -> Task:
    known = task_names()
    if name not in known:
        raise ConfigError(f"unknown task {name!r}", _suggest(name, known, "tasks"))
    if spec is not None and not isinstance(spec, Mapping):
        raise ConfigError(f"the options of task {name!r} are {spec!r}", "Give a mapping of options, or null.")
    options = dict(spec or {})
    make: Any = Task.registered[name]
    parameters = {key: value for key, value in inspect.signature(make.__init__).parameters.items() if key != "self"}
    # A class without an `__init__` of its own shows the catch-all arguments of `object`.
    allowed = {
        key: value for key, value in parameters.items() if value.kind not in (value.VAR_POSITIONAL, value.VAR_KEYWORD)
    }
    for option in options:
        if option not in allowed:
            raise ConfigError(
                f"task {name!r} has no option {option!r}", _suggest(str(option), tuple(allowed), "options")
            )
    missing = [key for key, value in allowed.items() if value.default is value.empty and key not in options]
    if missing:
        raise ConfigError(f"task {name!r} needs {', '.join(missing)}", "Give it among the task's options.")
    task: Task = make(**options)
    return task


def _suggest(word: str, known: tuple[str, ...], what: str) -> str:
    if not known:
        return "Leave it out: there are no options."
    close = difflib.get_close_matches(str(word), known, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known {what}: {', '.join(known)}."
