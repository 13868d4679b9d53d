"""What tasks that give each pixel one of several classes share."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from mtdense.metrics import MeanIoU
from mtdense.tasks.base import ArrayAny, LossTerms, Task
from mtdense.tasks.checks import check_class_ids, check_palette, check_strings, check_whole_number
from mtdense.tasks.colours import class_palette, draw_classes
from mtdense.tasks.losses import count, mask_logits, masked_sum, mean_over_counts

__all__ = ["IGNORE", "ClassMap", "cross_entropy_map", "one_hot_logits"]

IGNORE = 255
"""Class id of pixels that count for nothing, in files and in labels."""


def cross_entropy_map(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """(B, H, W) cross-entropy of each pixel; only the values where `valid` holds mean anything."""
    return F.cross_entropy(mask_logits(logits, valid), torch.where(valid, target, 0).long(), reduction="none")


def one_hot_logits(target: Tensor, valid: Tensor, num_classes: int) -> Tensor:
    """(B, num_classes, H, W) float32: 1 at the class of a valid pixel, 0 elsewhere."""
    # Not F.one_hot: it reads the largest id back, and its int64 map is twice as large.
    classes = torch.arange(num_classes, device=target.device).view(-1, 1, 1)
    return ((target.unsqueeze(1) == classes) & valid.unsqueeze(1)).float()


class ClassMap(Task):
    """One class per pixel, trained by cross-entropy over valid pixels.

    Args:
        num_classes: Number of classes, background included where there is one; 2..255 as 255 means "ignore".
        class_names: One name per class, for tables and pictures.
        palette: One [red, green, blue] per class; None for a fixed one of distinct colours.

    Raises:
        ConfigError: An argument makes no sense.
    """

    label_dtype: ClassVar[type[np.generic]] = np.int64
    invalid: ClassVar[float] = IGNORE
    stored_as = "classes"
    meaning_keys: ClassVar[tuple[str, ...]] = ("num_classes", "class_names")
    primary_metric: ClassVar[str] = "mIoU"

    def __init__(
        self, num_classes: int, class_names: list[str] | None = None, palette: list[list[int]] | None = None
    ) -> None:
        self.num_classes = check_whole_number(num_classes, f"{self.name}.num_classes", 2, IGNORE)
        self.class_names = (
            None if class_names is None else check_strings(class_names, f"{self.name}.class_names", self.num_classes)
        )
        self.palette = None if palette is None else check_palette(palette, f"{self.name}.palette", self.num_classes)

    @property
    def spec(self) -> dict[str, Any]:
        """Keyword arguments that rebuild this task."""
        return {"num_classes": self.num_classes, "class_names": self.class_names, "palette": self.palette}

    @property
    def num_outputs(self) -> int:
        """One logit per class."""
        return self.num_classes

    @property
    def colours(self) -> list[list[int]]:
        """The colour of each class: the given palette, or the fixed one."""
        if self.palette is not None:
            return self.palette
        background = self.class_names is not None and self.class_names[0].lower() == "background"
        return [list(colour) for colour in class_palette(self.num_classes, background)]

    def check_label(self, label: ArrayAny, source: str) -> ArrayAny:
        """Class ids 0..num_classes - 1 and 255, as int64.

        Raises:
            DataError: Wrong shape or other values.
        """
        mend = "Set `num_classes`, map the class to an allowed one, or list it under `ignore_values`."
        return check_class_ids(label, self.name, source, self.num_classes, IGNORE, mend)

    def valid(self, target: Tensor) -> Tensor:
        """All pixels but those of class 255."""
        return target != IGNORE

    def loss_terms(self, logits: Tensor, target: Tensor, valid: Tensor) -> LossTerms:
        """Sum of the cross-entropy and number of valid pixels."""
        entropy = cross_entropy_map(logits, target, valid)
        return LossTerms(masked_sum(entropy, valid).unsqueeze(1), count(valid))

    def loss_value(self, terms: LossTerms) -> Tensor:
        """Mean over valid pixels."""
        return mean_over_counts(terms.sums, terms.counts)

    def predict(self, logits: Tensor) -> Tensor:
        """Class of the largest logit (B, H, W) int64."""
        return logits.argmax(dim=1)

    def soften(self, logits: Tensor) -> Tensor:
        """Probabilities of the classes."""
        return logits.float().softmax(dim=1)

    def harden(self, blended: Tensor) -> Tensor:
        """Class of the largest mean probability."""
        return blended.argmax(dim=1)

    def ideal_logits(self, target: Tensor) -> Tensor:
        """One-hot; the average over images is the frequency of each class."""
        return one_hot_logits(target, self.valid(target), self.num_classes)

    def metrics(self) -> dict[str, Metric]:
        """{"mIoU"}."""
        return {"mIoU": MeanIoU(self.num_classes)}

    def image_metrics(self) -> dict[str, Metric]:
        """{"mIoU"} over the classes that the image or its prediction has."""
        return {"mIoU": MeanIoU(self.num_classes, absent="skip")}

    def legend(self, values: ArrayAny, like: ArrayAny | None = None) -> list[tuple[str, tuple[int, int, int]]]:
        """The classes that are there, largest area first."""
        found, pixels = np.unique(values[(values >= 0) & (values < self.num_classes)], return_counts=True)
        names = self.class_names or [f"class {i}" for i in range(self.num_classes)]
        colours = self.colours
        ids = [int(found[place]) for place in np.argsort(-pixels, kind="stable")]
        return [(names[i], (colours[i][0], colours[i][1], colours[i][2])) for i in ids]

    def draw(self, values: ArrayAny, like: ArrayAny | None = None) -> npt.NDArray[np.uint8]:
        """Each class in its colour."""
        return draw_classes(values, self.colours)
