"""Multi-task gain over single-task baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mtdense.core.errors import ConfigError

__all__ = ["delta_m"]


def delta_m(values: Mapping[str, float], baselines: Mapping[str, float], higher_is_better: Mapping[str, bool]) -> float:
    """Mean relative gain over single-task baselines, in percent.

    100 / T * sum over tasks of s (M - S) / S, with s = +1 where higher is better and -1 elsewhere (Maninis et al.,
    "Attentive single-tasking of multiple tasks", CVPR 2019; Vandenhende et al., "Multi-task learning for dense
    prediction tasks: a survey"). Their public implementations return the fraction, tables print the percentage.

    Args:
        values: {task: score M of the multi-task network}; the mean runs over these T tasks.
        baselines: {task: score S of the single-task network}, in the same units. More tasks than in `values` may be
            there.
        higher_is_better: {task: direction of the metric}.

    Returns:
        Percent; positive is better than the baselines. NaN where a value of `values` is NaN.

    Raises:
        ConfigError: No task at all, or a baseline that is missing, zero or not finite, or a direction that is missing.
    """
    if not values:
        raise ConfigError("delta_m needs at least one task", "Give the score of each task.")
    total = 0.0
    for task, value in values.items():
        if task not in baselines:
            raise ConfigError(
                f"delta_m has no single-task baseline for {task!r} (there are: {', '.join(baselines) or 'none'})",
                "Give the single-task score of every task that is compared.",
            )
        if task not in higher_is_better:
            raise ConfigError(
                f"delta_m does not know whether higher is better for {task!r}", "Take `higher_is_better` of its metric."
            )
        baseline = float(baselines[task])
        if baseline == 0 or not math.isfinite(baseline):
            raise ConfigError(
                f"the single-task baseline of {task!r} is {baseline}; a relative gain over it is undefined",
                "Give the finite, non-zero score of a trained single-task network.",
            )
        sign = 1.0 if higher_is_better[task] else -1.0
        total += sign * (float(value) - baseline) / baseline
    return 100.0 * total / len(values)
