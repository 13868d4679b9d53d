"""Human part segmentation."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from mtdense.tasks.base import ArrayAny
from mtdense.tasks.class_map import IGNORE, ClassMap

__all__ = ["PASCAL_PARTS", "HumanParts"]

PASCAL_PARTS: tuple[str, ...] = (
    "background",
    "head",
    "torso",
    "upper arms",
    "lower arms",
    "upper legs",
    "lower legs",
)
"""The six parts of PASCAL-Context (hands belong to the lower arms, feet to the lower legs), after the background."""


class HumanParts(ClassMap):
    """Human part segmentation: cross-entropy; a map in which no part is left counts for nothing.

    Args:
        num_classes: Number of classes including the background, which is class 0.
        class_names: One name per class; the PASCAL parts where there are seven classes and no names are given.
        palette: One [red, green, blue] per class; None for a fixed one of distinct colours.

    Raises:
        ConfigError: An argument makes no sense.
    """

    name: ClassVar[str] = "human_parts"
    content_dependent: ClassVar[bool] = True
    default_loss_weight: ClassVar[float] = 2.0

    def __init__(
        self, num_classes: int = 7, class_names: list[str] | None = None, palette: list[list[int]] | None = None
    ) -> None:
        if class_names is None and num_classes == len(PASCAL_PARTS):
            class_names = list(PASCAL_PARTS)
        super().__init__(num_classes, class_names, palette)

    def finish_label(self, label: ArrayAny) -> ArrayAny:
        """A map of nothing but background becomes wholly 255: images without people teach and score nothing."""
        if ((label == 0) | (label == IGNORE)).all():
            return self.invalid_label(*label.shape)
        return label

    def finish_target(self, target: Tensor) -> Tensor:
        """As `finish_label`."""
        return torch.where(((target == 0) | (target == IGNORE)).all(), IGNORE, target)
