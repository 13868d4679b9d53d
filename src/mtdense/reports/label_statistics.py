"""What labels hold: valid share, ranges, class histogram, share of positives; of boxes, how many and how far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError
from mtdense.geometry.boxes import convert_boxes
from mtdense.tasks import BoxLabels, LabelKind
from mtdense.tasks.base import ArrayAny, Task
from mtdense.tasks.detection_3d import BoxLabel

__all__ = ["BoxStatistics", "LabelStatistics", "statistics_of"]


@dataclass
class LabelStatistics:
    """Sums over the labels of one task, in the suite's own coding.

    Args:
        task: The task.
    """

    task: Task
    labels: int = 0
    empty: int = 0
    """Labels without a valid pixel."""
    pixels: int = 0
    valid: int = 0
    low: npt.NDArray[np.float64] | None = None
    """Smallest valid value, per channel."""
    high: npt.NDArray[np.float64] | None = None
    """Largest valid value, per channel."""
    total: npt.NDArray[np.float64] | None = None
    """Sum of the valid values, per channel."""
    histogram: npt.NDArray[np.int64] = field(init=False)
    """Valid pixels of each class; for binary labels of negatives and positives; else empty."""

    def __post_init__(self) -> None:
        length = {"classes": self.task.num_outputs, "binary": 2}.get(self.task.stored_as, 0)
        self.histogram = np.zeros(length, dtype=np.int64)

    def add(self, label: ArrayAny) -> None:
        """Takes in one label, (H, W) or (H, W, 3), as a data set gives it.

        It is finished as in training first: human parts of an image without people have no valid pixel.
        """
        label = self.task.finish_label(label)
        valid = self.task.valid(self.task.to_target(label)[None])[0].numpy()
        values = label[valid].reshape(-1, self.task.label_channels)
        self.labels += 1
        self.pixels += valid.size
        self.valid += len(values)
        if not len(values):
            self.empty += 1
            return
        if len(self.histogram):
            self.histogram += np.bincount(values[:, 0].astype(np.int64), minlength=len(self.histogram))
        low, high, total = values.min(axis=0), values.max(axis=0), values.sum(axis=0, dtype=np.float64)
        self.low = low.astype(np.float64) if self.low is None else np.minimum(self.low, low)
        self.high = high.astype(np.float64) if self.high is None else np.maximum(self.high, high)
        self.total = total if self.total is None else self.total + total

    @property
    def valid_share(self) -> float | None:
        """Share of the pixels that is valid; None without a label."""
        return self.valid / self.pixels if self.pixels else None

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Share of the valid pixels that each class has; of binary labels, negatives and positives."""
        return self.histogram / max(self.valid, 1)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, or their ids; empty for tasks without classes."""
        if self.task.stored_as != "classes":
            return []
        return list(self.task.spec.get("class_names") or map(str, range(len(self.histogram))))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        facts: dict[str, Any] = {"decoded": self.labels, "empty": self.empty, "valid_share": self.valid_share}
        if self.low is not None and self.high is not None and self.total is not None:
            facts["lowest"], facts["highest"] = self.low.tolist(), self.high.tolist()
            facts["mean"] = (self.total / self.valid).tolist()
        if self.task.stored_as == "classes":
            facts["class_pixels"] = dict(zip(self.class_names, self.histogram.tolist(), strict=True))
        if self.task.stored_as == "binary":
            facts["positive_share"] = float(self.shares[1]) if self.valid else None
        return facts


@dataclass
class BoxStatistics:
    """Sums over the labels of 3-D boxes.

    Args:
        task: The task.
    """

    task: BoxLabels
    labels: int = 0
    empty: int = 0
    """Images that show no vehicle."""
    boxes: int = 0
    ignored: int = 0
    """Regions to ignore."""
    nearest: float | None = None
    """Smallest distance of a middle along the camera's axis, in metres."""
    farthest: float | None = None
    """Largest of them."""
    histogram: npt.NDArray[np.int64] = field(init=False)
    """Vehicles of each class."""

    def __post_init__(self) -> None:
        self.histogram = np.zeros(len(self.task.class_names), dtype=np.int64)

    def add(self, label: ArrayAny) -> None:
        """Takes in one label."""
        found = BoxLabel.from_table(label)
        self.labels += 1
        self.empty += not len(found)
        self.boxes += len(found)
        self.ignored += len(found.ignored)
        self.histogram += np.bincount(found.classes, minlength=len(self.histogram))
        if len(found):
            ahead = convert_boxes(found.boxes, "S", found.camera).centers[:, 2]
            self.nearest = min(float(ahead.min()), np.inf if self.nearest is None else self.nearest)
            self.farthest = max(float(ahead.max()), -np.inf if self.farthest is None else self.farthest)

    @property
    def valid_share(self) -> float | None:
        """Boxes are no map: None."""
        return None

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Share of the vehicles that each class has."""
        return self.histogram / max(self.boxes, 1)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes."""
        return list(self.task.class_names)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "decoded": self.labels,
            "empty": self.empty,
            "boxes": self.boxes,
            "ignored_regions": self.ignored,
            "nearest": self.nearest,
            "farthest": self.farthest,
            "class_boxes": dict(zip(self.class_names, self.histogram.tolist(), strict=True)),
        }


def statistics_of(task: LabelKind) -> LabelStatistics | BoxStatistics:
    """Empty statistics of a task's labels.

    Raises:
        ConfigError: Nobody has said what to count of them.
    """
    if isinstance(task, BoxLabels):
        return BoxStatistics(task)
    if isinstance(task, Task):
        return LabelStatistics(task)
    raise ConfigError(f"what labels of {task.name!r} hold is not known", "Add statistics of them here.")
