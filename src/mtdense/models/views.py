"""A second view of each image: a random crop of the canvas, enlarged back to its size and perhaps mirrored."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtdense.core.errors import ConfigError
from mtdense.core.seeds import derive_rng
from mtdense.data.sample import Batch
from mtdense.models.canvas import inside
from mtdense.models.mtl_baseline import MTLBaseline
from mtdense.models.outputs import Outputs
from mtdense.tasks import Task

__all__ = ["SecondView", "TwoViewModule", "ViewBox"]

_SCALES = (1.0, 1.2, 1.5)


@dataclass(frozen=True)
class ViewBox:
    """What the second view of one image shows.

    Args:
        top: First row of the crop.
        left: First column.
        height: Rows of the crop.
        width: Columns.
        flip: Whether it is mirrored left to right.
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


@dataclass(frozen=True)
class SecondView:
    """Crops of a batch's canvases, one per image, and how images, targets and predictions move into them.

    Images are resampled bilinearly, everything else takes its nearest pixel; pixel centres lie at halves, as in the
    joint transform that made the first view.

    Args:
        size: (H, W) of the canvas.
        boxes: What is shown of each image.
    """

    size: tuple[int, int]
    boxes: tuple[ViewBox, ...]
    _indices: dict[torch.device, tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def draw(
        cls,
        ids: Sequence[str],
        size: tuple[int, int],
        scales: Sequence[float],
        flip_probability: float,
        *purpose: int | str,
    ) -> SecondView:
        """Draws MTPSL's RandomScaleCrop: a factor s of `scales`, a crop of int(H / s) x int(W / s) anywhere.

        Args:
            ids: Ids of the images; an image's crop depends on its id and `purpose` alone.
            size: (H, W) of the canvas.
            scales: Factors of at least 1, equally likely.
            flip_probability: Probability of a mirror.
            purpose: See `derive_rng`: a seed, a name and the step.
        """
        boxes = []
        for sample_id in ids:
            rng = derive_rng(*purpose, sample_id)
            scale = float(scales[int(rng.integers(len(scales)))])
            height, width = max(1, int(size[0] / scale)), max(1, int(size[1] / scale))
            top, left = int(rng.integers(size[0] - height + 1)), int(rng.integers(size[1] - width + 1))
            boxes.append(ViewBox(top, left, height, width, bool(rng.random() < flip_probability)))
        return cls(size, tuple(boxes))

    def take(self, images: Sequence[int]) -> SecondView:
        """The views of some of the images."""
        return SecondView(self.size, tuple(self.boxes[i] for i in images))

    def zoom(self, i: int) -> float:
        """How much larger things are in view i: the factor that was drawn, as far as whole pixels allow it."""
        box = self.boxes[i]
        return float(np.sqrt(self.size[0] / box.height * self.size[1] / box.width))

    def rows(self, i: int) -> Tensor:
        """(H,) row of the canvas that each row of view i shows."""
        box = self.boxes[i]
        return box.top + ((2 * torch.arange(self.size[0]) + 1) * box.height) // (2 * self.size[0])

    def columns(self, i: int) -> Tensor:
        """(W,) column of the canvas that each column of view i shows, before a mirror."""
        box = self.boxes[i]
        return box.left + ((2 * torch.arange(self.size[1]) + 1) * box.width) // (2 * self.size[1])

    def move_images(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images to those of the views."""
        moved = []
        for image, box in zip(images, self.boxes, strict=True):
            crop = image[None, :, box.top : box.top + box.height, box.left : box.left + box.width]
            if (box.height, box.width) != self.size:
                crop = F.interpolate(crop, size=self.size, mode="bilinear", align_corners=False)
            moved.append(crop.flip(-1) if box.flip else crop)
        return torch.cat(moved)

    def move_content(self, content: Tensor) -> Tensor:
        """Where the views show image: (B, 4) int64 top, left, height, width, from those of the canvases."""
        moved = []
        for i, (top, left, height, width) in enumerate(content.tolist()):
            spans = []
            for shown, start, length in ((self.rows(i), top, height), (self.columns(i), left, width)):
                positions = torch.nonzero((shown >= start) & (shown < start + length))[:, 0].tolist()
                spans.append((positions[0], len(positions)) if positions else (0, 0))
            (first_row, num_rows), (first_column, num_columns) = spans
            if self.boxes[i].flip:
                first_column = self.size[1] - first_column - num_columns
            moved.append([first_row, first_column, num_rows, num_columns])
        return torch.tensor(moved, dtype=torch.int64, device=content.device)

    def move_maps(self, maps: Tensor) -> Tensor:
        """(B, H, W) or (B, C, H, W), values untouched: scores, probabilities."""
        return torch.stack([self._gather(row, i, self.boxes[i].flip) for i, row in enumerate(maps)])

    def move_predictions(self, task: Task, predictions: Tensor) -> Tensor:
        """Predictions of a task (see `Task.predict`), with what a mirror and a zoom do to their values."""
        return torch.stack([self._move(task, row, i) for i, row in enumerate(predictions)])

    def move_targets(self, task: Task, targets: Tensor, used: Sequence[bool]) -> Tensor:
        """Targets of a task, with what a mirror and a zoom do to their values.

        Args:
            task: The task.
            targets: (B, H, W) or (B, 3, H, W).
            used: For each image whether it is moved; targets of others are not looked at and come out invalid.
        """
        moved = torch.full_like(targets, task.invalid)
        for i, (target, flag) in enumerate(zip(targets, used, strict=True)):
            if flag:
                moved[i] = task.finish_target(self._move(task, target, i))
        return moved

    def _gather(self, one: Tensor, i: int, flip: bool) -> Tensor:
        if one.device not in self._indices:
            # Made once and sent once: a device need not wait for the host at every map.
            rows = torch.stack([self.rows(j) for j in range(len(self.boxes))])
            columns = torch.stack([self.columns(j) for j in range(len(self.boxes))])
            self._indices[one.device] = rows.to(one.device), columns.to(one.device)
        rows, columns = self._indices[one.device]
        shown = columns[i].flip(0) if flip else columns[i]
        return one.index_select(-2, rows[i]).index_select(-1, shown)

    def _move(self, task: Task, one: Tensor, i: int) -> Tensor:
        moved = self._gather(one, i, flip=False)
        if self.boxes[i].flip:
            moved = task.flip_target(moved)
        return task.zoom_target(moved, self.zoom(i))


class TwoViewModule(MTLBaseline, ABC):
    """Base of methods that run two views of each image through one network, in training.

    The first view is the batch's; the second is a `SecondView` of it. Both go through the network together, so batch
    statistics are those of both. Supervised losses are on the first.

    Args:
        preset: See `MTLBaseline`.
        view_scales: Factors of the second view's zoom, one drawn per image; null: 1.0, 1.2 and 1.5 (MTPSL).
        view_flip_probability: Probability that the second view is mirrored (MTPSL: 0 on NYUD-v2, 0.5 on Cityscapes).
        noise_seed: Seed of the second views and of all other noise.
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: A factor below 1, none at all, or a probability out of range.
    """

    predicts_levels: ClassVar[bool] = False

    def __init__(
        self,
        preset: Literal["paper", "small", "tiny"] = "paper",
        view_scales: list[float] | None = None,
        view_flip_probability: float = 0.0,
        noise_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        scales = _SCALES if view_scales is None else tuple(view_scales)
        if not scales or not all(1 <= scale < float("inf") for scale in scales):
            raise ConfigError(f"view_scales is {view_scales}", "give one factor of at least 1 or more, or null.")
        if not 0 <= view_flip_probability <= 1:
            raise ConfigError(f"view_flip_probability is {view_flip_probability}", "give a number from 0 to 1.")
        super().__init__(preset=preset, **kwargs)
        self._view_scales = scales

    def run_network(self, batch: Batch) -> Outputs:
        """The network's outputs; in training also those of the second view.

        Then `features["view"]` is the `SecondView`, `features["content"]` (B, H, W) is 1 where it shows image, and
        `features["second"]` holds its outputs.
        """
        if not self.training:
            return super().run_network(batch)
        image, content = batch["image"], batch["meta"]["content"]
        h, size = self.hparams, (int(image.shape[-2]), int(image.shape[-1]))
        view = SecondView.draw(
            batch["id"],
            size,
            self._view_scales,
            h["view_flip_probability"],
            h["noise_seed"],
            "view",
            self.global_step,
        )
        moved = view.move_content(content)
        both: Outputs = self(torch.cat([image, view.move_images(image)]), torch.cat([content, moved]))
        first, second = _halves(both)
        first.features |= {"view": view, "content": inside(moved, *size), "second": second}
        return first


def _halves(both: Outputs) -> tuple[Outputs, Outputs]:
    def half(i: int) -> Outputs:
        return Outputs(
            final={name: x.chunk(2)[i] for name, x in both.final.items()},
            features={name: x.chunk(2)[i] for name, x in both.features.items()},
        )

    return half(0), half(1)
