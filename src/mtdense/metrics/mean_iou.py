"""Mean intersection over union of class maps."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from mtdense.core.errors import ConfigError
from mtdense.metrics.base import StreamingMetric
from mtdense.metrics.functional.checks import check_valid
from mtdense.metrics.functional.mean_iou import Absent, iou_per_class, mean_iou_compute, mean_iou_update

__all__ = ["MeanIoU"]


class MeanIoU(StreamingMetric):
    """Mean intersection over union over all classes, from one confusion matrix of the data set; a fraction in 0..1.

    Args:
        num_classes: Number of classes C, background included where the data set has one.
        ignore_index: Target value that counts for nothing, besides what `valid` says; None for none, which more than
            255 classes need.
        absent: What a class counts that is in neither targets nor predictions: "zero" (ATRC, InvPT, BridgeNet and
            DiffusionMTL) or "skip" (torchmetrics). MTPSL and LibMTL give NaN then.

    Raises:
        ConfigError: `num_classes` or `absent` makes no sense.
    """

    unit: ClassVar[str | None] = "fraction"
    higher_is_better: bool = True
    confusion: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = 255, absent: Absent = "zero") -> None:
        super().__init__()
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 2:
            raise ConfigError(f"MeanIoU got num_classes={num_classes!r}", "Give a whole number of at least 2.")
        if absent not in ("zero", "skip"):
            raise ConfigError(f"MeanIoU got absent={absent!r}", "Choose 'zero' or 'skip'.")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.absent: Absent = absent
        self._add_count("confusion", (num_classes, num_classes))

    @property
    def protocol(self) -> str:
        """Says when absent classes are left out."""
        return "" if self.absent == "zero" else f"absent={self.absent}"

    def update(self, preds: Tensor, target: Tensor, valid: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            preds: Class ids (B, H, W), or scores (B, C, H, W).
            target: Class ids (B, H, W).
            valid: (B, H, W) bool, pixels that count; None for all but `ignore_index`.

        Raises:
            DataError: Shapes do not fit, or a class id is out of range where it counts.
        """
        if self.ignore_index is not None:
            valid = check_valid(valid, target.shape, target.device) & (target != self.ignore_index)
        self._accumulate(confusion=mean_iou_update(preds, target, self.num_classes, valid))

    def compute(self) -> Tensor:
        """The mean; NaN with a warning where nothing was scored."""
        return self._score(mean_iou_compute(self.confusion, self.absent), self.confusion.sum())

    def per_class(self) -> Tensor:
        """(C,) intersection over union of each class, summed over ranks; NaN for classes that are absent.

        In a distributed run all ranks must call it.
        """
        with self.sync_context():
            return self._score(iou_per_class(self.confusion), self.confusion.sum())
