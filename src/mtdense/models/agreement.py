"""Checks of options, and that a model's tasks agree with the data and with the options that name tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mtdense.core.errors import ConfigError
from mtdense.tasks import Task

__all__ = ["check_choice", "check_data_tasks", "check_loss_weights", "check_output_kinds", "check_whole"]


def check_data_tasks(model: Mapping[str, Task], data: Mapping[str, Task]) -> None:
    """Refuses data that a model cannot be trained or scored on.

    Raises:
        ConfigError: The data has a task that the model lacks, or the same task with other classes or units.
    """
    for name, task in data.items():
        if name not in model:
            raise ConfigError(
                f"the data has the task '{name}', the model only {', '.join(model)}",
                "name a subset of the model's tasks in `data.tasks`.",
            )
        if task.meaning != model[name].meaning:
            raise ConfigError(
                f"'{name}' means {task.meaning} in the data but {model[name].meaning} in the model",
                "use the data (version, classes, units) that the model was trained on.",
            )


def check_loss_weights(given: Mapping[str, float], tasks: Mapping[str, Task]) -> dict[str, float]:
    """{task: weight of its loss}, with the task's own default where `given` is silent.

    Raises:
        ConfigError: A weight for an unknown task, or one that is negative or not finite.
    """
    unknown = sorted(set(given) - set(tasks))
    if unknown:
        raise ConfigError(
            f"`loss_weights` names {', '.join(unknown)}, the tasks are {', '.join(tasks)}",
            "remove these weights or add the tasks.",
        )
    weights = {name: float(given.get(name, task.default_loss_weight)) for name, task in tasks.items()}
    for name, value in weights.items():
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"the loss weight of '{name}' is {value}", "give a number of 0 or more.")
    return weights


def check_choice(name: str, value: Any, known: tuple[Any, ...]) -> None:
    """Refuses an option that is none of its known values.

    Raises:
        ConfigError: It is none of them.
    """
    if value not in known:
        raise ConfigError(f"{name} is {value!r}", f"use one of {', '.join(str(choice) for choice in known)}.")


def check_whole(name: str, value: Any, lowest: int = 1) -> None:
    """Refuses an option that is no whole number, or below the lowest.

    Raises:
        ConfigError: It is.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ConfigError(f"{name} is {value!r}", f"give a whole number of {lowest} or more.")


def check_output_kinds(method: str, predicts_levels: bool, tasks: Mapping[str, Task]) -> None:
    """Refuses tasks whose outputs are no map where an architecture predicts maps only.

    Raises:
        ConfigError: There is one.
    """
    others = [name for name, task in tasks.items() if task.output_kind != "map"]
    if others and not predicts_levels:
        raise ConfigError(
            f"the method '{method}' predicts maps, and {', '.join(others)} is none",
            f"leave {', '.join(others)} out of `data.tasks`, or use a method with a detection head, such as "
            "MTLBaseline.",
        )
