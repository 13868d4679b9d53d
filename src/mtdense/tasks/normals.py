"""Surface normal estimation."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics import MeanAngularError
from mtdense.tasks.base import ArrayAny, LossTerms, Task
from mtdense.tasks.checks import check_shape
from mtdense.tasks.colours import GREY
from mtdense.tasks.losses import count, mask_logits, masked_sum, mean_over_counts, unit_vectors
from mtdense.tasks.unit_vectors import scale_to_unit

__all__ = ["SurfaceNormals"]

LOSSES = ("l1", "cosine")
SHORTEST = 0.5
LONGEST = 1.1


class SurfaceNormals(Task):
    """Surface normals as unit vectors (camera x right, y down, z forward, facing the camera).

    Vectors shorter than 0.5 count as "no normal": the exact zero, what 8-bit files make of it, and blends of opposite
    directions. The prediction is normalised before the loss.

    Args:
        loss: "l1" sums absolute differences over the three components (ATRC, InvPT, DiffusionMTL: three times a mean
            over components); "cosine" is 1 - <p, g> (MTPSL). Both are means over valid pixels.

    Raises:
        ConfigError: `loss` is neither.
    """

    name: ClassVar[str] = "normals"
    label_dtype: ClassVar[type[np.generic]] = np.float32
    label_channels: ClassVar[int] = 3
    invalid: ClassVar[float] = 0.0
    stored_as = "vectors"
    primary_metric: ClassVar[str] = "mErr"
    default_loss_weight: ClassVar[float] = 10.0

    def __init__(self, loss: str = "l1") -> None:
        if loss not in LOSSES:
            raise ConfigError(f"normals.loss is {loss!r}", f"Choose one of: {', '.join(LOSSES)}.")
        self.loss = loss

    @property
    def spec(self) -> dict[str, Any]:
        """Keyword arguments that rebuild this task."""
        return {"loss": self.loss}

    @property
    def num_outputs(self) -> int:
        """The components x, y and z."""
        return 3

    def check_label(self, label: ArrayAny, source: str) -> ArrayAny:
        """Vectors (H, W, 3) float32, brought to unit length or, where shorter than 0.5, to zero.

        Lengths up to 1.1 and a median length of at least 0.9 pass, which allows for the rounding of 8-bit files.

        Raises:
            DataError: Wrong shape, values that are not finite, or lengths that are no unit vector's.
        """
        check_shape(label, self.name, source, channels=3)
        vectors = label.astype(np.float32, copy=False)
        unit, seen = scale_to_unit(vectors, SHORTEST, 2 - LONGEST)
        if seen.infinite:
            raise DataError(
                f"{source}: {seen.infinite} normals are not finite", "Store (0, 0, 0) where there is no normal."
            )
        # With more than half of them long enough, so is the median, and need not be sought.
        if seen.longest > LONGEST or 2 * seen.long_enough <= seen.counted:
            _check_lengths(vectors, source)
        return unit

    def flip_label(self, label: ArrayAny) -> ArrayAny:
        """Mirrors the map and negates x."""
        flipped = np.asarray(cv2.flip(label, 1))
        np.subtract(0, flipped[..., 0], out=flipped[..., 0])  # not `-x`: it would make a negative zero of a zero
        return flipped

    def flip_target(self, target: Tensor) -> Tensor:
        """As `flip_label`."""
        flipped = target.flip(-1)
        flipped[0] = 0 - flipped[0]
        return flipped

    def finish_label(self, label: ArrayAny) -> ArrayAny:
        """Back to unit length after resampling; blends that came out shorter than 0.5 become invalid."""
        return scale_to_unit(label, SHORTEST, planar=True)[0]

    def finish_target(self, target: Tensor) -> Tensor:
        """As `finish_label`."""
        x, y, z = target
        length = ((x * x + y * y) + z * z).sqrt()
        some = length > SHORTEST
        return torch.where(some, target / torch.where(some, length, 1.0), 0.0)

    def valid(self, target: Tensor) -> Tensor:
        """Vectors longer than 0.5 (NaN is not)."""
        return target.square().sum(dim=1) > SHORTEST**2

    def loss_terms(self, logits: Tensor, target: Tensor, valid: Tensor) -> LossTerms:
        """Sum of the pixel losses and number of valid pixels."""
        prediction = unit_vectors(mask_logits(logits, valid))
        truth = torch.where(valid.unsqueeze(1), target, 0.0).to(prediction.dtype)
        return LossTerms(masked_sum(self._pixel_losses(prediction, truth), valid).unsqueeze(1), count(valid))

    def loss_value(self, terms: LossTerms) -> Tensor:
        """Mean over valid pixels."""
        return mean_over_counts(terms.sums, terms.counts)

    def predict(self, logits: Tensor) -> Tensor:
        """Unit vectors (B, 3, H, W) float32."""
        return unit_vectors(logits.float())

    def harden(self, blended: Tensor) -> Tensor:
        """Unit vectors; where opposite ones cancelled, the direction to the camera."""
        length = blended.norm(dim=1, keepdim=True)
        camera = torch.tensor([0.0, 0.0, -1.0], device=blended.device).view(1, 3, 1, 1)
        return torch.where(length > 1e-3, blended / length.clamp(min=1e-3), camera)

    def ideal_logits(self, target: Tensor) -> Tensor:
        """The vectors; their average is the mean direction."""
        return torch.where(self.valid(target).unsqueeze(1), target, 0.0)

    def metrics(self) -> dict[str, Metric]:
        """{"mErr"} in degrees."""
        return {"mErr": MeanAngularError()}

    def draw(self, values: ArrayAny, like: ArrayAny | None = None) -> npt.NDArray[np.uint8]:
        """The usual picture: right is red, up is green, towards the camera is blue."""
        shares = (np.clip(values, -1, 1) * np.array([1, -1, -1]) + 1) / 2
        picture: npt.NDArray[np.uint8] = np.round(shares * 255).astype(np.uint8)
        picture[np.linalg.norm(values, axis=-1) <= SHORTEST] = GREY
        return picture

    def legend(self, values: ArrayAny, like: ArrayAny | None = None) -> list[tuple[str, tuple[int, int, int]]]:
        """Directions that a surface may face."""
        names = ("to the camera", "up", "down", "left", "right")
        vectors = np.array([[[0, 0, -1], [0, -1, 0], [0, 1, 0], [-1, 0, 0], [1, 0, 0]]], dtype=np.float32)
        return [(name, (int(r), int(g), int(b))) for name, (r, g, b) in zip(names, self.draw(vectors)[0], strict=True)]

    def _pixel_losses(self, prediction: Tensor, truth: Tensor) -> Tensor:
        if self.loss == "l1":
            return (prediction - truth).abs().sum(dim=1)
        return 1 - (prediction * truth).sum(dim=1)


def _check_lengths(vectors: ArrayAny, source: str) -> None:
    lengths = np.linalg.norm(vectors, axis=-1)
    counted = lengths[lengths > SHORTEST]
    if counted.size and (counted.max() > LONGEST or np.median(counted) < 2 - LONGEST):
        raise DataError(
            f"{source}: normals must be unit vectors, but lengths are {np.median(counted):.3g} in the median and "
            f"{counted.max():.3g} at most",
            "Decode the file to components in -1..1 (8-bit files: 2 * value / 255 - 1).",
        )
