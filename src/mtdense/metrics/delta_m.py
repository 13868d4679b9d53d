"""Multi-task gain over single-task baselines, of live metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.wrappers.abstract import WrapperMetric

from mtdense.core.errors import ConfigError
from mtdense.metrics.functional.delta_m import delta_m

__all__ = ["DeltaM"]


class DeltaM(WrapperMetric):
    """Δm, the mean relative gain over single-task baselines in percent, of one metric per task.

    It has no state of its own: `update`, `reset` and `compute` are those of the metrics, which may as well be fed
    elsewhere. Signs come from their `higher_is_better`.

    Args:
        baselines: {task: score of the single-task network}, in the unit of the task's metric, such as fractions (not
            percent), degrees or metres. Tasks that have no metric here may be there.
        metrics: {task: metric}.

    Raises:
        ConfigError: A baseline is missing, zero, not finite or in percent where the metric is a fraction; or a metric
            does not say its direction.
    """

    unit: ClassVar[str | None] = "percent"
    higher_is_better: bool = True
    is_differentiable: bool = False
    full_state_update: bool = False

    def __init__(self, baselines: Mapping[str, float], metrics: Mapping[str, Metric]) -> None:
        super().__init__()
        for task, metric in metrics.items():
            if metric.higher_is_better is None:
                raise ConfigError(
                    f"{type(metric).__name__} of {task!r} does not state a direction",
                    "Set `higher_is_better` on the metric's class.",
                )
            baseline = baselines.get(task)
            if getattr(metric, "unit", None) == "fraction" and baseline is not None and abs(baseline) > 1:
                raise ConfigError(
                    f"the single-task baseline of {task!r} is {baseline:g}, but {type(metric).__name__} is a fraction",
                    "Divide percentages by 100.",
                )
        self.baselines = {task: float(value) for task, value in baselines.items()}
        self._directions = {task: bool(metric.higher_is_better) for task, metric in metrics.items()}
        # Says now what would otherwise come out after an epoch.
        delta_m(dict.fromkeys(metrics, 0.0), self.baselines, self._directions)
        self.metrics = nn.ModuleDict(dict(metrics))

    def update(
        self, preds: Mapping[str, Any], target: Mapping[str, Any], valid: Mapping[str, Tensor] | None = None
    ) -> None:
        """Feeds the metrics of the tasks that a batch has.

        Args:
            preds: {task: predictions}.
            target: {task: targets} of the same tasks.
            valid: {task: mask}, or None for all pixels.

        Raises:
            ConfigError: A task that has no metric here, or predictions without targets.
        """
        for task, arguments in self._arguments(preds, target, valid).items():
            self._metric(task).update(*arguments)

    def forward(
        self, preds: Mapping[str, Any], target: Mapping[str, Any], valid: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """`update`, and Δm of this batch, over the tasks that it has."""
        arguments = self._arguments(preds, target, valid)
        return self._gain({task: self._metric(task)(*values) for task, values in arguments.items()})

    def compute(self) -> Tensor:
        """Δm in percent; NaN where a metric has scored nothing."""
        return self._gain({task: self._metric(task).compute() for task in self._directions})

    def reset(self) -> None:
        """Resets the metrics."""
        for task in self._directions:
            self._metric(task).reset()
        super().reset()

    def _gain(self, values: Mapping[str, Any]) -> Tensor:
        gain = delta_m({task: float(value) for task, value in values.items()}, self.baselines, self._directions)
        return torch.tensor(gain, dtype=torch.float64)

    def _metric(self, task: str) -> Metric:
        metric = self.metrics[task]
        assert isinstance(metric, Metric)
        return metric

    def _arguments(
        self, preds: Mapping[str, Any], target: Mapping[str, Any], valid: Mapping[str, Tensor] | None
    ) -> dict[str, tuple[Any, ...]]:
        if set(preds) != set(target) or not set(preds) <= set(self._directions):
            raise ConfigError(
                f"DeltaM of {', '.join(self._directions)} got predictions of {', '.join(preds) or 'nothing'} and "
                f"targets of {', '.join(target) or 'nothing'}",
                "Give both for the same tasks, each with a metric.",
            )
        masks = {} if valid is None else valid
        return {
            task: (pred, target[task], masks[task]) if task in masks else (pred, target[task])
            for task, pred in preds.items()
        }
