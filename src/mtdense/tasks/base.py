"""What a task is: everything that the rest of the suite may ask of one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from mtdense.tasks.label_kind import ArrayAny, LabelKind, Placement
from mtdense.tasks.resize import upsample

__all__ = ["ArrayAny", "LossTerms", "Task"]


@dataclass(frozen=True)
class LossTerms:
    """Sums from which a loss value is made, one row per image.

    Rows can be added over images and over ranks before they are turned into a value, which is what makes
    image-pooled, batch-pooled and distributed losses one piece of code.

    Args:
        sums: (B, K) sums over valid pixels, with gradient.
        counts: (B, M) pixel counts, without gradient.
    """

    sums: Tensor
    counts: Tensor


class Task(LabelKind):
    """One dense-prediction task: label coding, geometry, loss, metrics and drawing.

    A label is a NumPy array as the loaders and the joint transform see it: (H, W), or (H, W, 3) for vector maps. A
    target is the tensor a network is trained on: (H, W), or (3, H, W). Keyword arguments of a subclass are the task's
    *specification*: plain values, stored in checkpoints (see `spec`). Defining a subclass with a `name` of its own
    registers it for `build_tasks`.
    """

    trained: ClassVar[bool] = True
    """Whether there is a network side."""
    label_channels: ClassVar[int] = 1
    """1 for maps (H, W), 3 for vector maps (H, W, 3)."""
    invalid: ClassVar[float]
    """Label value (all channels) of a pixel that counts for nothing."""
    content_dependent: ClassVar[bool] = False
    """Whether a label may exist and yet say nothing (no person in the image), so that one must look into it."""
    primary_metric: ClassVar[str]
    """Key in `metrics()` that tables and the Δm use."""
    default_loss_weight: ClassVar[float] = 1.0
    """Weight of the task's loss in the InvPT and DiffusionMTL line of papers."""
    output_kind: ClassVar[Literal["map", "levels"]] = "map"
    """What a network gives: one map of logits at any resolution, or several, of coarser and coarser cells.

    Only architectures that say so (`DenseModule.predicts_levels`) take a task of levels.
    """

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Channels that a network's head must have."""

    @property
    def output_groups(self) -> dict[str, int]:
        """{what: channels} of these outputs in their order, for heads that treat some of them differently."""
        return {self.name: self.num_outputs}

    # ---- labels (NumPy, one image) ---------------------------------------------------------------------------------
    def invalid_label(self, height: int, width: int) -> ArrayAny:
        """A label of which no pixel is valid: (H, W) or (H, W, 3)."""
        shape = (height, width) if self.label_channels == 1 else (height, width, self.label_channels)
        return np.full(shape, self.invalid, dtype=self.label_dtype)

    @abstractmethod
    def check_label(self, label: ArrayAny, source: str) -> ArrayAny:
        """Checks shape and values at the door and casts to `label_dtype`.

        Args:
            label: (H, W) or (H, W, 3) in the suite's coding (invalid pixels already coded as `invalid`).
            source: File or other origin, for the error.

        Raises:
            DataError: Wrong shape or a value out of range; names `source` and the value.
        """

    def flip_label(self, label: ArrayAny) -> ArrayAny:
        """Mirrors a label left to right, with whatever a mirror does to its values."""
        return np.ascontiguousarray(label[:, ::-1])

    def zoom_label(self, label: ArrayAny, zoom: float) -> ArrayAny:
        """What a zoom by `zoom` (> 1: objects get larger) does to the values of an already resampled label."""
        return label

    def finish_label(self, label: ArrayAny) -> ArrayAny:
        """Last step after all geometry, on the cropped and padded canvas (for example: no part left, no label)."""
        return label

    def label_size(self, label: ArrayAny) -> tuple[int, int]:
        """Height and width of the map."""
        return int(label.shape[0]), int(label.shape[1])

    def place_label(self, label: ArrayAny, placement: Placement, zoom: float) -> ArrayAny:
        """Resampled, mirrored, zoomed, padded with `invalid`, finished."""
        only_mirrored = type(self).flip_label is Task.flip_label  # then that costs nothing on the way
        content = placement.resample_label(label, mirrored=placement.flip and only_mirrored)
        if placement.flip and not only_mirrored:
            content = self.flip_label(content)
        content = self.zoom_label(content, zoom)
        if content.shape[:2] == placement.canvas and content.dtype == self.label_dtype:
            return self.finish_label(content)
        canvas = self.invalid_label(*placement.canvas)
        top, left = placement.padding
        canvas[top : top + content.shape[0], left : left + content.shape[1]] = content
        return self.finish_label(canvas)

    def to_target(self, label: ArrayAny) -> Tensor:
        """Label (H, W) or (H, W, 3) to target (H, W) or (3, H, W); class ids become int64."""
        array = label if self.label_channels == 1 else np.moveaxis(label, -1, 0)
        return torch.from_numpy(np.ascontiguousarray(array))

    # ---- geometry of targets and predictions (tensors, one image) ----
    def flip_target(self, target: Tensor) -> Tensor:
        """As `flip_label`, of a target or a prediction (H, W) or (3, H, W).

        Subclasses whose `flip_label` does more than mirror override this, too: through NumPy, a device has to wait.
        """
        if type(self).flip_label is Task.flip_label:
            return target.flip(-1)
        return self._through_label(target, self.flip_label)

    def zoom_target(self, target: Tensor, zoom: float) -> Tensor:
        """As `zoom_label`, of a target or a prediction; see `flip_target`."""
        if type(self).zoom_label is Task.zoom_label:
            return target
        return self._through_label(target, lambda label: self.zoom_label(label, zoom))

    def finish_target(self, target: Tensor) -> Tensor:
        """As `finish_label`, of a target; see `flip_target`."""
        if type(self).finish_label is Task.finish_label:
            return target
        return self._through_label(target, self.finish_label)

    def _through_label(self, target: Tensor, change: Callable[[ArrayAny], ArrayAny]) -> Tensor:
        array = target.detach().cpu().numpy()
        label = array if self.label_channels == 1 else np.ascontiguousarray(np.moveaxis(array, 0, -1))
        return self.to_target(change(label)).to(target)

    # ---- tensors (a batch) -----------------------------------------------------------------------------------------
    @abstractmethod
    def valid(self, target: Tensor) -> Tensor:
        """Which pixels count: (B, H, W) bool from targets (B, H, W) or (B, 3, H, W)."""

    @abstractmethod
    def loss_terms(self, logits: Tensor, target: Tensor, valid: Tensor) -> LossTerms:
        """Sums and counts of the loss over valid pixels, per image.

        Args:
            logits: (B, num_outputs, H, W), same H and W as the target.
            target: (B, H, W) or (B, 3, H, W).
            valid: (B, H, W) bool. Where it is False neither logits nor target may influence anything; an image
                without a valid pixel gives exact zeros that keep the graph.
        """

    @abstractmethod
    def loss_value(self, terms: LossTerms) -> Tensor:
        """Loss of each row of `terms`: (B, K) and (B, M) to (B,). Zero where nothing is valid.

        Must be linear in `terms.sums` for given counts: the distributed reducer relies on it.
        """

    @abstractmethod
    def predict(self, logits: Tensor) -> Tensor:
        """Prediction from logits (B, num_outputs, H, W).

        Class ids (B, H, W) int64 for class maps, probabilities (B, H, W) for saliency and edges, unit vectors
        (B, 3, H, W) for normals, values in the label's unit (B, H, W) for depth.
        """

    @abstractmethod
    def ideal_logits(self, target: Tensor) -> Tensor:
        """Logits (B, num_outputs, H, W) whose `predict` gives the target back, with zeros at invalid pixels.

        Where `predict` gives probabilities these are on the target's side of 0.5. The average of ideal logits over a
        data set (sum over pixels / number of valid pixels) is what predictors that never look at the image are made
        of: the most frequent class, the share of edges or salient pixels (in a monotone coding), the mean direction,
        the mean depth.
        """

    # ---- what a step asks of a batch, whose targets need not be maps -------------------------------------------------
    def target_size(self, target: Any) -> tuple[int, int]:
        """Height and width of the canvas that the targets of a batch lie on."""
        return int(target.shape[-2]), int(target.shape[-1])

    def counted(self, target: Any, labelled: Tensor) -> Tensor:
        """What counts of a batch: the valid pixels (B, H, W) of the images that `labelled` (B,) names."""
        return self.valid(target) & labelled[:, None, None]

    def at_size(self, logits: Any, size: Sequence[int]) -> Any:
        """What a network gave, as `loss_terms` and `predict` take it for targets of a size."""
        return upsample(logits, size)

    def predict_batch(self, logits: Any, size: Sequence[int], batch: Mapping[str, Any] | None) -> Any:
        """Predictions for the images of a batch, from what a network gave; one can be had by its place.

        Args:
            logits: Of the network's own resolution.
            size: Height and width to predict at, where predictions are maps.
            batch: The images' `Batch`, for what a prediction needs beside the image (a camera).
        """
        return self.predict(self.at_size(logits, size))

    # ---- several views of one picture --------------------------------------------------------------------------------
    def soften(self, logits: Tensor) -> Tensor:
        """What predictions of overlapping views are averaged in: (B, K, H, W) probabilities, unit vectors or values."""
        prediction = self.predict(logits)
        return prediction if prediction.dim() == 4 else prediction[:, None]

    def harden(self, blended: Tensor) -> Tensor:
        """The prediction that a weighted mean of `soften` stands for; see `predict`."""
        return blended if self.label_channels > 1 else blended[:, 0]

    # ---- metrics -----------------------------------------------------------------------------------------------
    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """Fresh metrics by name, such as {"mIoU": ...}; `update_metric` feeds them."""

    def image_metrics(self) -> dict[str, Metric]:
        """As `metrics`, to score an image alone: what it lacks must not count against its prediction."""
        return self.metrics()

    def update_metric(
        self, metric: Metric, prediction: Tensor, target: Tensor, valid: Tensor, batch: Mapping[str, Any] | None = None
    ) -> None:
        """Feeds one metric of `metrics()`.

        Args:
            metric: Of `metrics()`.
            prediction: Of a batch, see `predict`.
            target: Of the same images.
            valid: What counts of it.
            batch: The images' `Batch`, for scores that need more than values (a camera); None feeds these nothing.
        """
        metric.update(prediction, target, valid)

    # ---- pictures and files --------------------------------------------------------------------------------------
    @abstractmethod
    def draw(self, values: ArrayAny, like: ArrayAny | None = None) -> npt.NDArray[np.uint8]:
        """Colour picture (H, W, 3) uint8 of a label or of a prediction: (H, W), or (H, W, 3) for vector maps.

        Invalid label pixels are drawn in one neutral grey.

        Args:
            values: What to draw.
            like: A label or prediction whose colour scale to use, so that two pictures can be compared; it matters
                only to tasks that scale their colours per image.
        """

    def legend(self, values: ArrayAny, like: ArrayAny | None = None) -> list[tuple[str, tuple[int, int, int]]]:
        """What colours of `draw(values, like)` mean: [(text, (red, green, blue))], the most telling first."""
        return []

    def draw_over(
        self, image: npt.NDArray[np.uint8], values: ArrayAny, like: ArrayAny | None = None
    ) -> npt.NDArray[np.uint8]:
        """As `draw`: a map needs no image below it."""
        return self.draw(values, like)
