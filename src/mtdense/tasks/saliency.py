"""Saliency detection."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from mtdense.metrics import MaxF
from mtdense.metrics.functional import Convention
from mtdense.tasks.base import ArrayAny, LossTerms, Task
from mtdense.tasks.checks import check_class_ids
from mtdense.tasks.class_map import IGNORE, cross_entropy_map, one_hot_logits
from mtdense.tasks.colours import draw_grey
from mtdense.tasks.losses import count, masked_sum

__all__ = ["Saliency"]


class Saliency(Task):
    """Saliency: two logits (rest, salient), cross-entropy balanced between the two classes.

    Salient pixels weigh r and the others 1 - r, where r is the share of the others among valid pixels of what is pooled
    (one image in DiffusionMTL, the batch in ATRC and InvPT); the sum is divided by the number of valid pixels, not by
    the sum of the weights. With one class only, every weight that counts is 0, and so is the loss.

    Args:
        maxf_convention: See `MaxF`: "clean" (ATRC), "invpt" (a second sigmoid, in all published tables of the InvPT
            line) or "astmt".

    Raises:
        ConfigError: Unknown convention.
    """

    name: ClassVar[str] = "saliency"
    label_dtype: ClassVar[type[np.generic]] = np.int64
    invalid: ClassVar[float] = IGNORE
    stored_as = "binary"
    primary_metric: ClassVar[str] = "maxF"
    default_loss_weight: ClassVar[float] = 5.0

    def __init__(self, maxf_convention: Convention = "clean") -> None:
        self.maxf_convention: Convention = maxf_convention
        self.metrics()  # says now if there is no such convention

    @property
    def spec(self) -> dict[str, Any]:
        """Keyword arguments that rebuild this task."""
        return {"maxf_convention": self.maxf_convention}

    @property
    def num_outputs(self) -> int:
        """Logits of "rest" and "salient"."""
        return 2

    def check_label(self, label: ArrayAny, source: str) -> ArrayAny:
        """0, 1 (salient) and 255, as int64.

        Raises:
            DataError: Wrong shape or other values.
        """
        mend = "Code salient pixels as 1, others as 0 and list other values under `ignore_values`."
        return check_class_ids(label, self.name, source, 2, IGNORE, mend)

    def valid(self, target: Tensor) -> Tensor:
        """All pixels but those of 255."""
        return target != IGNORE

    def loss_terms(self, logits: Tensor, target: Tensor, valid: Tensor) -> LossTerms:
        """Sums of the cross-entropy over (negatives, positives), and their numbers."""
        entropy = cross_entropy_map(logits, target, valid)
        negative, positive = valid & (target == 0), valid & (target == 1)
        sums = torch.stack([masked_sum(entropy, negative), masked_sum(entropy, positive)], dim=1)
        return LossTerms(sums, count(negative, positive))

    def loss_value(self, terms: LossTerms) -> Tensor:
        """`((1 - r) S_neg + r S_pos) / |V|` with `r = n_neg / |V|`."""
        counts = terms.counts.to(terms.sums.dtype)
        pixels = counts.sum(1).clamp(min=1)
        share = counts[:, 0] / pixels
        return ((1 - share) * terms.sums[:, 0] + share * terms.sums[:, 1]) / pixels

    def predict(self, logits: Tensor) -> Tensor:
        """Probability of "salient" (B, H, W) float32."""
        return logits.float().softmax(dim=1)[:, 1]

    def ideal_logits(self, target: Tensor) -> Tensor:
        """One-hot: the average over images predicts above 0.5 exactly where most of them are salient."""
        return one_hot_logits(target, self.valid(target), 2)

    def metrics(self) -> dict[str, Metric]:
        """{"maxF"}: F-measure with beta^2 = 0.3 at the best threshold for the whole data set."""
        return {"maxF": MaxF(self.maxf_convention)}

    def draw(self, values: ArrayAny, like: ArrayAny | None = None) -> npt.NDArray[np.uint8]:
        """Labels or probabilities, salient in white."""
        return draw_grey(values, values != IGNORE)

    def legend(self, values: ArrayAny, like: ArrayAny | None = None) -> list[tuple[str, tuple[int, int, int]]]:
        """Probability from black to white."""
        return [("salient", (255, 255, 255)), ("perhaps", (128, 128, 128)), ("not", (0, 0, 0))]
