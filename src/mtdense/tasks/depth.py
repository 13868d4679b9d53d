"""Depth estimation, in metres or as disparity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics import AbsoluteError, RootMeanSquaredError
from mtdense.tasks.base import ArrayAny, LossTerms, Task
from mtdense.tasks.checks import check_number, check_shape
from mtdense.tasks.colours import draw_scale
from mtdense.tasks.losses import count, mask_logits, masked_sum, mean_over_counts

__all__ = ["Depth", "OtherUnitRMSE"]

UNITS = ("metres", "disparity", "normalised_disparity")
INVALID = -1.0
# Units that a stereo camera turns into each other.
_OTHER = {"metres": "disparity", "disparity": "metres"}


class OtherUnitRMSE(RootMeanSquaredError):
    """RMSE of depth in the unit that the label is not in; `Depth.update_metric` feeds it where it has cameras."""


class _MetresRMSE(OtherUnitRMSE):
    unit: ClassVar[str | None] = "metres"


class _DisparityRMSE(OtherUnitRMSE):
    unit: ClassVar[str | None] = "disparity"


class Depth(Task):
    """Depth or disparity: mean absolute difference over valid pixels.

    A pixel is valid where its value is finite, not negative, above `min_depth` if that is above 0, and below
    `max_depth` if there is one. A value of 0 is valid here: loaders of files that mean "missing" by 0 code it as -1.
    Metrics may count fewer: see `score_above` and `score_below`.

    Args:
        unit: "metres", "disparity" (pixels of the image as published, or another scale that the data set has), or
            "normalised_disparity" (a share, 0 to 1).
        min_depth: Values up to this do not count, and predictions are raised to it.
        max_depth: Values from this on do not count; None for no limit.
        legacy_zoom: Divide disparity by the zoom as if it were depth (the public MTPSL and MTAN code does); only makes
            sense for disparity, which grows when objects come nearer.
        score_above: Metrics count pixels above this value only; None: all valid ones.
        score_below: Metrics count pixels below this value only; None: all valid ones. TaskPrompter and MTMamba train on
            every disparity but score 0 < d < 80.
        other_unit_below: Score the RMSE in the other unit, too: metres of disparity in pixels and the reverse, by the
            stereo camera of each image, where the label is above 0 and below this value of that unit; predictions are
            brought to at most it. None: no such score. Images without intrinsics or baseline do not count in it.

    Raises:
        ConfigError: An argument makes no sense.
    """

    name: ClassVar[str] = "depth"
    label_dtype: ClassVar[type[np.generic]] = np.float32
    invalid: ClassVar[float] = INVALID
    stored_as = "values"
    meaning_keys: ClassVar[tuple[str, ...]] = ("unit",)
    primary_metric: ClassVar[str] = "RMSE"

    def __init__(
        self,
        unit: str = "metres",
        min_depth: float = 0.0,
        max_depth: float | None = None,
        legacy_zoom: bool = False,
        score_above: float | None = None,
        score_below: float | None = None,
        other_unit_below: float | None = None,
    ) -> None:
        if unit not in UNITS:
            raise ConfigError(f"depth.unit is {unit!r}", f"Choose one of: {', '.join(UNITS)}.")
        self.unit = unit
        self.min_depth = check_number(min_depth, "depth.min_depth", 0.0, math.inf, "Give a number of at least 0.")
        if max_depth is not None:
            mend = f"Give a number above `min_depth` ({self.min_depth}), or null for no limit."
            max_depth = check_number(
                max_depth, "depth.max_depth", math.nextafter(self.min_depth, math.inf), math.inf, mend
            )
        self.max_depth = max_depth
        if not isinstance(legacy_zoom, bool):
            raise ConfigError(f"depth.legacy_zoom is {legacy_zoom!r}", "Give true or false.")
        if legacy_zoom and unit == "metres":
            raise ConfigError(
                "depth.legacy_zoom is set for metres, which are divided by the zoom anyway",
                "Leave it out, or set `unit: disparity`.",
            )
        self.legacy_zoom = legacy_zoom
        self.score_above, self.score_below = _check_range(score_above, score_below)
        if other_unit_below is not None:
            if unit not in _OTHER:
                raise ConfigError(
                    f"depth.other_unit_below is set for {unit}, which has no other unit",
                    f"Leave it out, or use {' or '.join(_OTHER)}.",
                )
            mend = "Give a number above 0, or null for no such score."
            other_unit_below = check_number(other_unit_below, "depth.other_unit_below", 1e-6, math.inf, mend)
        self.other_unit_below = other_unit_below

    @property
    def spec(self) -> dict[str, Any]:
        """Keyword arguments that rebuild this task."""
        return {
            "unit": self.unit,
            "min_depth": self.min_depth,
            "max_depth": self.max_depth,
            "legacy_zoom": self.legacy_zoom,
            "score_above": self.score_above,
            "score_below": self.score_below,
            "other_unit_below": self.other_unit_below,
        }

    @property
    def num_outputs(self) -> int:
        """One value."""
        return 1

    def check_label(self, label: ArrayAny, source: str) -> ArrayAny:
        """Values of at least 0 (of at most 1 for "normalised_disparity"), and -1, as float32.

        Raises:
            DataError: Wrong shape, values that are not finite or too large, or negative ones other than -1.
        """
        check_shape(label, self.name, source)
        wrong = ~np.isfinite(label) | ((label < 0) & (label != INVALID))
        if wrong.any():
            raise DataError(
                f"{source}: a depth label holds {label[wrong][0]!s} ({int(wrong.sum())} px); allowed are finite values "
                f"of at least 0, and {INVALID:g} for missing ones",
                "List the file's codes of missing depth under `ignore_values`.",
            )
        if self.unit == "normalised_disparity" and label.max() > 1:
            raise DataError(
                f"{source}: normalised disparity reaches {label.max()!s}, above 1",
                "Read the file as `unit: disparity`, or divide it by the largest disparity that can be.",
            )
        return label.astype(np.float32)

    def zoom_label(self, label: ArrayAny, zoom: float) -> ArrayAny:
        """Metres are divided by the zoom; disparity is multiplied (`legacy_zoom`: divided)."""
        return np.where(label >= 0, label * self._zoom_factor(zoom), label).astype(np.float32)

    def zoom_target(self, target: Tensor, zoom: float) -> Tensor:
        """As `zoom_label`."""
        return torch.where(target >= 0, target * self._zoom_factor(zoom), target)

    def _zoom_factor(self, zoom: float) -> float:
        return 1 / zoom if self.unit == "metres" or self.legacy_zoom else zoom

    def valid(self, target: Tensor) -> Tensor:
        """Finite values in the range of the specification."""
        valid = torch.isfinite(target) & (target >= 0)
        if self.min_depth > 0:
            valid = valid & (target > self.min_depth)
        if self.max_depth is not None:
            valid = valid & (target < self.max_depth)
        return valid

    def loss_terms(self, logits: Tensor, target: Tensor, valid: Tensor) -> LossTerms:
        """Sum of absolute differences and number of valid pixels."""
        prediction = mask_logits(logits, valid)[:, 0]
        truth = torch.where(valid, target, 0.0).to(prediction.dtype)
        return LossTerms(masked_sum((prediction - truth).abs(), valid).unsqueeze(1), count(valid))

    def loss_value(self, terms: LossTerms) -> Tensor:
        """Mean over valid pixels."""
        return mean_over_counts(terms.sums, terms.counts)

    def predict(self, logits: Tensor) -> Tensor:
        """Values (B, H, W) float32 in the label's unit, not below `min_depth`."""
        return logits[:, 0].float().clamp(min=self.min_depth)

    def ideal_logits(self, target: Tensor) -> Tensor:
        """The values; their average is the mean depth."""
        return torch.where(self.valid(target), target, 0.0).unsqueeze(1)

    def metrics(self) -> dict[str, Metric]:
        """{"RMSE", "absErr"} in the label's unit; with `other_unit_below` also "RMSE_metres" or "RMSE_disparity"."""
        metrics: dict[str, Metric] = {"RMSE": RootMeanSquaredError(), "absErr": AbsoluteError()}
        if self.other_unit_below is not None:
            other = _DisparityRMSE() if self.unit == "metres" else _MetresRMSE()
            metrics[f"RMSE_{other.unit}"] = other
        return metrics

    def update_metric(
        self, metric: Metric, prediction: Tensor, target: Tensor, valid: Tensor, batch: Mapping[str, Any] | None = None
    ) -> None:
        """Feeds a metric with the valid pixels in the range that is scored.

        That of the other unit is fed with what the batch's cameras make of the values, and nothing without a batch.
        """
        if isinstance(metric, OtherUnitRMSE):
            if batch is not None:
                metric.update(*self._in_other_unit(prediction, target, valid, batch["meta"]))
            return
        if self.score_above is not None:
            valid = valid & (target > self.score_above)
        if self.score_below is not None:
            valid = valid & (target < self.score_below)
        metric.update(prediction, target, valid)

    def _in_other_unit(
        self, prediction: Tensor, target: Tensor, valid: Tensor, meta: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Prediction, target, and what counts of it, each (B, H, W)."""
        assert self.other_unit_below is not None
        factor = _stereo_factor(meta).to(prediction.device)[:, None, None]
        counts = valid & (target > 0) & (factor > 0)
        truth = torch.where(counts, factor / torch.where(counts, target, 1.0), 0.0)
        counts = counts & (truth < self.other_unit_below)
        nearest = torch.where(counts, factor / self.other_unit_below, 1.0)
        guess = torch.where(counts, factor / torch.maximum(prediction, nearest), 0.0)
        return guess, torch.where(counts, truth, 0.0), counts

    def draw(
        self,
        values: ArrayAny,
        like: ArrayAny | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Near is bright, far is dark, in either unit.

        Args:
            values: (H, W) label or prediction.
            like: Map whose 2nd and 98th percentiles span the colours; `values` itself if None.
            low: Start of the colours instead of a percentile, in the label's unit.
            high: End of the colours instead of a percentile.
        """
        start, end = _span(values if like is None else like)
        start, end = (start if low is None else low), (end if high is None else high)
        shown = np.isfinite(values) & (values >= 0)
        shares = (np.where(shown, values, 0) - start) / (end - start) if end > start else np.full(values.shape, 0.5)
        return draw_scale(1 - shares if self.unit == "metres" else shares, shown)

    def legend(self, values: ArrayAny, like: ArrayAny | None = None) -> list[tuple[str, tuple[int, int, int]]]:
        """Five values along the colours, nearest first."""
        steps = np.linspace(*_span(values if like is None else like), 5)
        steps = steps if self.unit == "metres" else steps[::-1]
        unit = {"metres": " m", "disparity": " px"}.get(self.unit, "")
        colours = self.draw(steps[None].astype(np.float32), low=float(steps.min()), high=float(steps.max()))[0]
        return [(f"{s:.3g}{unit}", (int(r), int(g), int(b))) for s, (r, g, b) in zip(steps, colours, strict=True)]


def _span(values: ArrayAny) -> tuple[float, float]:
    """2nd and 98th percentile of the values that are there."""
    counted = values[np.isfinite(values) & (values >= 0)]
    low, high = np.percentile(counted, [2, 98]) if counted.size else (0.0, 1.0)
    return float(low), float(high)


def _stereo_factor(meta: Mapping[str, Any]) -> Tensor:
    """(B,) metres times pixels of disparity: baseline times focal length of the stored image; 0 where unknown."""
    zoom = meta["window"][:, 3] / meta["content"][:, 3].clamp(min=1)
    factor: Tensor = meta["baseline"] * meta["camera"][:, 0, 0] * zoom
    return factor


def _check_range(above: float | None, below: float | None) -> tuple[float | None, float | None]:
    low = (
        None if above is None else check_number(above, "depth.score_above", 0.0, math.inf, "Give at least 0, or null.")
    )
    if below is None:
        return low, None
    mend = "Give a number above 0 and `score_above`, or null for no limit."
    return low, check_number(below, "depth.score_below", math.nextafter(low or 0.0, math.inf), math.inf, mend)
