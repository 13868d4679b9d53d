"""From a task's metric to a figure with its unit and direction."""

from __future__ import annotations

from torchmetrics import Metric

from mtdense.core.errors import ConfigError
from mtdense.reports.run_record import MetricValue
from mtdense.tasks.base import Task

__all__ = ["metric_unit", "metric_value"]


def metric_value(task: Task, name: str, metric: Metric, value: float) -> MetricValue:
    """A figure as run records hold it.

    Args:
        task: Task that the metric belongs to.
        name: Key of the metric in `task.metrics()`.
        metric: The metric, for its direction and unit.
        value: What it computed.

    Raises:
        ConfigError: The metric does not say in which direction it gets better.
    """
    if metric.higher_is_better is None:
        raise ConfigError(
            f"{type(metric).__name__} ({task.name}/{name}) does not state a direction",
            "set `higher_is_better` on the metric's class.",
        )
    return MetricValue(
        task=task.name,
        name=name,
        value=float(value),
        unit=metric_unit(task, metric),
        higher_is_better=bool(metric.higher_is_better),
        primary=name == task.primary_metric,
        protocol=getattr(metric, "protocol", ""),
    )


def metric_unit(task: Task, metric: Metric) -> str:
    """Unit of a metric: its own `unit` where it states one, else that of the task's label.

    Angles and overlaps have a unit of their own whatever the label is; an error in the label's values has the label's
    (`unit` in the task's specification, such as "metres"); "" where neither says anything.
    """
    own = getattr(metric, "unit", None)
    return own if isinstance(own, str) else str(task.spec.get("unit", ""))
