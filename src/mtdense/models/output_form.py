"""The form of a task's output, for methods that treat predictions and targets alike whatever the task is."""

from __future__ import annotations

from typing import Literal

from mtdense.core.errors import ConfigError
from mtdense.tasks import Task

__all__ = ["OutputForm", "output_form"]

OutputForm = Literal["one_hot", "probability", "vectors", "values"]


def output_form(task: Task) -> OutputForm:
    """How the outputs of a task are to be read.

    `one_hot`: scores of exclusive classes, one channel each. `probability`: the score of one class against the rest, in
    one channel. `vectors`: directions. `values`: measurements.

    Raises:
        ConfigError: The task does not say (`stored_as` is `as_is`).
    """
    if task.stored_as in ("classes", "binary"):
        return "one_hot" if task.num_outputs > 1 else "probability"
    if task.stored_as in ("vectors", "values"):
        return task.stored_as
    raise ConfigError(
        f"the task '{task.name}' does not say what its outputs are",
        "Set its `stored_as` to classes, binary, vectors or values, or use a method that does not compare tasks.",
    )
