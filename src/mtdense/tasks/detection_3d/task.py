"""3-D detection as a task of networks: goals, losses, decoding, metrics, pictures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from mtdense.core.errors import ConfigError
from mtdense.metrics import DetectionScore
from mtdense.metrics.functional.detection_boxes import BoxPredictions, BoxTargets
from mtdense.tasks.base import ArrayAny, LossTerms, Task
from mtdense.tasks.checks import check_number, check_whole_number
from mtdense.tasks.detection_3d.angles import CODINGS, AngleCodingName
from mtdense.tasks.detection_3d.decode import Suppression, decode_image
from mtdense.tasks.detection_3d.detections import Detections, check_full_precision, scored_pair, view_of
from mtdense.tasks.detection_3d.draw import draw_from_above
from mtdense.tasks.detection_3d.grid import Goals, Grid
from mtdense.tasks.detection_3d.kind import BoxLabels
from mtdense.tasks.detection_3d.label import BoxLabel
from mtdense.tasks.detection_3d.losses import loss_columns
from mtdense.tasks.detection_3d.parts import Channels, flatten, level_sizes
from mtdense.tasks.detection_3d.target import CanvasBoxes

__all__ = ["Detection3D"]

CellPoints = Literal["middle", "taskprompter"]

_CLASS_WEIGHT = 5.0
_RANGES = (0.09375, 0.1875, 0.375, 0.75)


class _Scored(NamedTuple):
    """What was made of a batch for the metrics."""

    prediction: Sequence[Detections]
    target: Sequence[CanvasBoxes]
    flags: list[bool]
    pairs: list[tuple[BoxPredictions, BoxTargets]]


class Detection3D(BoxLabels, Task):  # type: ignore[misc]  # targets are no tensors
    """3-D detection in the manner of FCOS3D, as TaskPrompter has it for Cityscapes 3D.

    A network gives maps of cells at several levels (or one map: a single level), each cell a guess of the box whose
    projected centre is near: its class, where the centre is, its depth, size, rotation and modal box. See `Grid.goals`
    for who is to find what, `Channels` for the order of channels. Boxes travel in pixels of the canvas and metres.

    The loss is, summed over cells, 5 focal(class) / (cells with a box + images) + (smooth L1(code) + cross entropy
    (direction) + cross entropy(centerness)) / cells with a box.

    Args:
        class_names: One name per class id; None: those of Cityscapes 3D.
        angle_coding: "fixed": yaw, pitch, roll, and a direction of yaw; "taskprompter": as its public code has it, see
            `AngleCoding`.
        direction_offset: Radians at which the first bin of direction begins; None: the coding's own, pi/4 ("fixed") or
            0 ("taskprompter").
        level_ranges: Shares of the canvas's height at which one level hands over to the next coarser one, by the
            farthest side of a box; the published 96, 192, 384 and 768 of 1024. A network of one level needs none.
        cell_points: Where a cell is taken to be: at its `middle`, or where the public code has it (`taskprompter`),
            which rounds half a cell down to whole pixels, see `Grid.of`.
        learn_from_empty: Images without a box teach that nothing is there; False: they count for nothing, as in the
            public code.
        box_relu: Distances from a cell to the sides of the modal box pass a ReLU, as in the public code, though a
            cell that is to find a box may lie out of it; False: they do not.
        base_depth: Depth in metres of an output of 0 (1 in the public code): a guess to begin with.
        base_size: Length, width and height in metres of outputs of 0 (1 in the public code); None: ones.
        candidates: Cells of each level, the best first, that are looked at.
        min_score: Boxes of less confidence are dropped.
        max_overlap: Intersection over union, from above, from which the less confident of two boxes of a class goes.
        max_boxes: Boxes that are kept of an image.

    Raises:
        ConfigError: An argument makes no sense.
    """

    name: ClassVar[str] = "detection_3d"
    output_kind = "levels"
    primary_metric: ClassVar[str] = "mDS"

    def __init__(
        self,
        class_names: list[str] | None = None,
        angle_coding: AngleCodingName = "fixed",
        direction_offset: float | None = None,
        level_ranges: list[float] | None = None,
        cell_points: CellPoints = "middle",
        learn_from_empty: bool = True,
        box_relu: bool = False,
        base_depth: float = 1.0,
        base_size: list[float] | None = None,
        candidates: int = 1000,
        min_score: float = 0.05,
        max_overlap: float = 0.3,
        max_boxes: int = 200,
    ) -> None:
        super().__init__(class_names)
        if angle_coding not in get_args(AngleCodingName):
            raise ConfigError(f"detection_3d.angle_coding is {angle_coding!r}", f"Choose one of: {', '.join(CODINGS)}.")
        self.coding = CODINGS[angle_coding]
        self.direction_offset = None if direction_offset is None else _number(direction_offset, "direction_offset", -10)
        self.level_ranges = _ranges(list(_RANGES) if level_ranges is None else level_ranges)
        if cell_points not in get_args(CellPoints):
            mend = f"Choose one of: {', '.join(get_args(CellPoints))}."
            raise ConfigError(f"detection_3d.cell_points is {cell_points!r}", mend)
        self.cell_points = cell_points
        for option, value in (("learn_from_empty", learn_from_empty), ("box_relu", box_relu)):
            if not isinstance(value, bool):
                raise ConfigError(f"detection_3d.{option} is {value!r}", "Give true or false.")
        self.learn_from_empty, self.box_relu = learn_from_empty, box_relu
        self._scored: _Scored | None = None
        self.base_depth = _number(base_depth, "base_depth", 1e-3, 1e3)
        self.base_size = _sizes([1.0, 1.0, 1.0] if base_size is None else base_size)
        self.suppression = Suppression(
            check_whole_number(candidates, "detection_3d.candidates", 1, 1_000_000),
            _number(min_score, "min_score", 0.0, 1.0),
            _number(max_overlap, "max_overlap", 0.0, 1.0),
            check_whole_number(max_boxes, "detection_3d.max_boxes", 1, 1_000_000),
        )

    @property
    def spec(self) -> dict[str, Any]:
        """Keyword arguments that rebuild this task."""
        return {
            **super().spec,
            "angle_coding": self.coding.name,
            "direction_offset": self.direction_offset,
            "level_ranges": list(self.level_ranges),
            "cell_points": self.cell_points,
            "learn_from_empty": self.learn_from_empty,
            "box_relu": self.box_relu,
            "base_depth": self.base_depth,
            "base_size": list(self.base_size),
            "candidates": self.suppression.candidates,
            "min_score": self.suppression.min_score,
            "max_overlap": self.suppression.max_overlap,
            "max_boxes": self.suppression.max_boxes,
        }

    # ---- what networks give ---------------------------------------------------------------------------------------
    @property
    def channels(self) -> Channels:
        """What the channels of each level mean."""
        return Channels(len(self.class_names), len(self.coding.binned), self.base_depth, self.base_size, self.box_relu)

    @property
    def num_outputs(self) -> int:
        """Channels of each level."""
        return sum(self.output_groups.values())

    @property
    def output_groups(self) -> dict[str, int]:
        """{what: channels} of each level, in their order."""
        return self.channels.groups

    @property
    def offset(self) -> float:
        """Where the first bin of direction begins."""
        return self.coding.offset if self.direction_offset is None else self.direction_offset

    def target_size(self, target: Sequence[CanvasBoxes]) -> tuple[int, int]:
        """Height and width of the canvas."""
        return target[0].size

    def at_size(self, logits: Tensor | Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, ...]:
        """The levels, as they are: cells find their places on any canvas.

        Raises:
            ConfigError: Neither one level nor as many as `level_ranges` makes.
        """
        levels = (logits,) if isinstance(logits, Tensor) else tuple(logits)
        if len(levels) not in (1, len(self.level_ranges) + 1):
            raise ConfigError(
                f"the network gives {len(levels)} levels of detection_3d, `level_ranges` makes "
                f"{len(self.level_ranges) + 1}",
                "give one number fewer than there are levels (`data.task_options`).",
            )
        return tuple(level.float() for level in levels)

    def ranges_of(self, levels: int) -> tuple[float, ...]:
        """Where levels hand over; a single one finds boxes of any size."""
        return self.level_ranges if levels > 1 else ()

    def _grid(self, sizes: Sequence[Sequence[int]], canvas: tuple[int, int], device: torch.device) -> Grid:
        return Grid.of(sizes, canvas, device, floored=self.cell_points == "taskprompter")

    # ---- losses ----------------------------------------------------------------------------------------------------
    def valid(self, target: Sequence[CanvasBoxes]) -> Tensor:  # type: ignore[override]
        """(B,) bool: images that come with a camera, as all do that are labelled."""
        return torch.stack([one.table[0, 3] > 0 for one in target])

    def counted(self, target: Sequence[CanvasBoxes], labelled: Tensor) -> Tensor:
        """(B,) bool: the images that are labelled; targets of others are not looked at."""
        return labelled

    def goals(self, target: CanvasBoxes, sizes: Sequence[Sequence[int]]) -> Goals:
        """What the cells of levels of some sizes are to predict of an image."""
        grid = self._grid(sizes, target.size, target.table.device)
        return grid.goals(target, self.ranges_of(len(sizes)), self.coding, self.offset, len(self.class_names))

    def loss_terms(  # type: ignore[override]
        self, logits: Sequence[Tensor], target: Sequence[CanvasBoxes], valid: Tensor
    ) -> LossTerms:
        """Sums of classes (weighted), code, direction and centerness; counts of cells with a box, and of images.

        Args:
            logits: Levels (B, num_outputs, h, w).
            target: Boxes of each image.
            valid: (B,) bool, see `counted`.

        Raises:
            ConfigError: Targets in half precision.
        """
        check_full_precision(target[0].table, self.name)
        sizes = level_sizes(logits)
        cells = torch.where(valid[:, None, None], flatten(logits), 0.0)
        nothing = Grid.of(sizes, (1, 1), cells.device).nothing(len(self.class_names), len(self.coding.binned))
        images = valid.tolist()
        rows = [self.goals(one, sizes) if flag else nothing for one, flag in zip(target, images, strict=True)]
        goals = Goals(*(torch.stack(parts) for parts in zip(*rows, strict=True)))
        parts = self.channels.split(cells)
        classes, *others = loss_columns(parts, self.channels.code(parts), goals, self.coding)
        boxes = [flag and bool(len(one.classes)) for one, flag in zip(target, images, strict=True)]
        seen = valid if self.learn_from_empty else torch.tensor(boxes, device=valid.device)
        sums = torch.stack([_CLASS_WEIGHT * torch.where(seen, classes, 0.0), *others], dim=1)
        return LossTerms(sums, torch.stack([goals.found.sum(1), seen.long()], dim=1))

    def loss_value(self, terms: LossTerms) -> Tensor:
        """The four means, added."""
        found, images = terms.counts[:, 0], terms.counts[:, 1]
        classes = terms.sums[:, 0] / (found + images).clamp(min=1).to(terms.sums.dtype)
        return classes + terms.sums[:, 1:].sum(1) / found.clamp(min=1).to(terms.sums.dtype)

    # ---- predictions -----------------------------------------------------------------------------------------------
    def predict(self, logits: Tensor) -> Tensor:
        """There are no boxes in space without a camera.

        Raises:
            ConfigError: Always; use `predict_batch`.
        """
        raise ConfigError("boxes in space cannot be told from a network's outputs alone", "use `predict_batch`.")

    def predict_batch(self, logits: Any, size: Sequence[int], batch: Mapping[str, Any] | None) -> list[Detections]:
        """The boxes of each image; `size` has no say.

        Raises:
            DataError: An image without intrinsics.
            ConfigError: No batch, which has the intrinsics.
        """
        if batch is None:
            raise ConfigError("predictions of detection_3d need the batch's cameras", "give the batch.")
        levels = self.at_size(logits, size)
        cells = flatten(levels).detach()
        views = [view_of(batch, place, self.name) for place in range(len(cells))]
        grid = self._grid(level_sizes(levels), views[0].canvas, cells.device)
        return [
            decode_image(one, grid, view, self.channels, self.coding, self.offset, self.suppression)
            for one, view in zip(cells, views, strict=True)
        ]

    def ideal_levels(self, target: Sequence[CanvasBoxes], sizes: Sequence[Sequence[int]]) -> tuple[Tensor, ...]:
        """Levels of some sizes, (B, num_outputs, h, w) each, from which the boxes of targets are read."""
        cells = torch.stack([self.channels.ideal(self.goals(one, sizes)) for one in target]).transpose(1, 2)
        parts = cells.split([int(height) * int(width) for height, width in sizes], dim=2)
        return tuple(part.unflatten(2, tuple(size)) for part, size in zip(parts, sizes, strict=True))

    def ideal_logits(self, target: Tensor) -> Tensor:
        """There is no average of boxes.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "detection_3d has no prediction that never looks at the image: boxes have no average",
            "leave detection_3d out of `data.tasks` here; finding nothing scores 0.",
        )

    # ---- metrics ---------------------------------------------------------------------------------------------------
    def metrics(self) -> dict[str, Metric]:
        """{"mDS", "mDS_modal"}: boxes matched by those of whole vehicles (official), and of what is seen."""
        return {
            "mDS": DetectionScore(self.class_names, "amodal"),
            "mDS_modal": DetectionScore(self.class_names, "modal"),
        }

    def update_metric(  # type: ignore[override]
        self,
        metric: Metric,
        prediction: Sequence[Detections],
        target: Sequence[CanvasBoxes],
        valid: Tensor,
        batch: Mapping[str, Any] | None = None,
    ) -> None:
        """Feeds one metric with the images that count, in pixels of their stored images."""
        flags = valid.tolist()
        last = self._scored
        if last is None or last.prediction is not prediction or last.target is not target or last.flags != flags:
            # Both metrics ask, one after the other.
            rows = zip(prediction, target, flags, strict=True)
            last = _Scored(prediction, target, flags, [scored_pair(found, one) for found, one, flag in rows if flag])
            self._scored = last
        if last.pairs:
            metric.update([pred for pred, _ in last.pairs], [truth for _, truth in last.pairs])

    # ---- pictures --------------------------------------------------------------------------------------------------
    def draw(self, values: ArrayAny, like: ArrayAny | None = None) -> npt.NDArray[np.uint8]:
        """Boxes from above, the camera in the middle of the lower border; those of `like` in grey below them."""
        return draw_from_above(
            BoxLabel.from_table(values), len(self.class_names), None if like is None else BoxLabel.from_table(like)
        )

    def draw_over(
        self, image: npt.NDArray[np.uint8], values: ArrayAny, like: ArrayAny | None = None
    ) -> npt.NDArray[np.uint8]:
        """Boxes in their classes' colours in the image, which is darkened."""
        return BoxLabels.draw_over(self, image, values, like)


def _number(value: Any, option: str, low: float, high: float = 10.0) -> float:
    return check_number(value, f"detection_3d.{option}", low, high, f"Give a number in {low:g}..{high:g}.")


def _ranges(values: Any) -> tuple[float, ...]:
    numbers = tuple(_number(v, "level_ranges", 0.0, math.inf) for v in values) if isinstance(values, list) else None
    if numbers is None or any(a >= b for a, b in itertools.pairwise(numbers)):
        raise ConfigError(f"detection_3d.level_ranges is {values!r}", "Give shares of the height, from small to large.")
    return numbers


def _sizes(values: Any) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3:
        raise ConfigError(f"detection_3d.base_size is {values!r}", "Give length, width and height in metres.")
    length, width, height = (_number(value, "base_size", 1e-3, 1e3) for value in values)
    return length, width, height
