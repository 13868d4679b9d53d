"""Edge (boundary) detection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from mtdense.metrics import OdsF
from mtdense.tasks.base import ArrayAny, LossTerms, Task
from mtdense.tasks.checks import check_class_ids, check_number
from mtdense.tasks.class_map import IGNORE
from mtdense.tasks.colours import draw_grey
from mtdense.tasks.losses import count, mask_logits, masked_sum

__all__ = ["Edges"]

_SCORING_THREADS = 4
"""Threads that match edges while the network goes on; `OdsF` never takes more than the rank has cores."""


class Edges(Task):
    """Edges: one logit, class-weighted binary cross-entropy, mean over valid pixels.

    -w y log s(x) - (1 - w) (1 - y) log(1 - s(x)).

    Args:
        positive_weight: w; 0.95 throughout the ATRC, InvPT and DiffusionMTL line. None for the share of non-edges among
            valid pixels of what is pooled (HED; Xie and Tu, ICCV 2015); then an image without edges has loss 0.
        max_dist: See `OdsF`: 0.0075 on PASCAL-Context, 0.011 on NYUD-v2.
        target_kind: See `OdsF`. "labels" treats the edge map like a map of regions, as the public scripts do with that
            of NYUD-v2.

    Raises:
        ConfigError: `positive_weight` or `max_dist` is not between 0 and 1, or `target_kind` unknown.
    """

    name: ClassVar[str] = "edges"
    label_dtype: ClassVar[type[np.generic]] = np.float32
    invalid: ClassVar[float] = IGNORE
    stored_as = "binary"
    primary_metric: ClassVar[str] = "odsF"
    default_loss_weight: ClassVar[float] = 50.0

    def __init__(
        self,
        positive_weight: float | None = 0.95,
        max_dist: float = 0.0075,
        target_kind: Literal["edges", "labels"] = "edges",
    ) -> None:
        if positive_weight is not None:
            mend = "Give a number in 0..1, or null to weigh by the share of non-edges (HED)."
            positive_weight = check_number(positive_weight, "edges.positive_weight", 0.0, 1.0, mend)
        self.positive_weight = positive_weight
        self.max_dist = max_dist
        self.target_kind = target_kind
        self.metrics()  # says now what is wrong with the two

    @property
    def spec(self) -> dict[str, Any]:
        """Keyword arguments that rebuild this task."""
        return {
            "positive_weight": self.positive_weight,
            "max_dist": self.max_dist,
            "target_kind": self.target_kind,
        }

    @property
    def num_outputs(self) -> int:
        """One logit."""
        return 1

    def check_label(self, label: ArrayAny, source: str) -> ArrayAny:
        """0, 1 (edge) and 255, as float32.

        Raises:
            DataError: Wrong shape or other values.
        """
        mend = "Code edges as 1, other pixels as 0 and list other values under `ignore_values`."
        return check_class_ids(label, self.name, source, 2, IGNORE, mend).astype(np.float32)

    def valid(self, target: Tensor) -> Tensor:
        """All pixels but those of 255 (or NaN)."""
        return target < IGNORE

    def loss_terms(self, logits: Tensor, target: Tensor, valid: Tensor) -> LossTerms:
        """Sums of softplus over (non-edges, edges), and their numbers."""
        masked = mask_logits(logits, valid)[:, 0]
        positive = valid & (target > 0.5)
        negative = valid & ~positive
        sums = [masked_sum(F.softplus(masked), negative), masked_sum(F.softplus(-masked), positive)]
        return LossTerms(torch.stack(sums, dim=1), count(negative, positive))

    def loss_value(self, terms: LossTerms) -> Tensor:
        """`((1 - w) S_neg + w S_pos) / |V|`; w is fixed or `n_neg / |V|`."""
        counts = terms.counts.to(terms.sums.dtype)
        pixels = counts.sum(1).clamp(min=1)
        weight = counts[:, 0] / pixels if self.positive_weight is None else self.positive_weight
        return ((1 - weight) * terms.sums[:, 0] + weight * terms.sums[:, 1]) / pixels

    def predict(self, logits: Tensor) -> Tensor:
        """Probability of an edge (B, H, W) float32."""
        return logits[:, 0].float().sigmoid()

    def ideal_logits(self, target: Tensor) -> Tensor:
        """+1 at edges, -1 elsewhere; the average grows with the share of edges and is above 0 where most are."""
        valid = self.valid(target)
        signs = torch.where(target > 0.5, 1.0, -1.0)
        return torch.where(valid, signs, 0.0).unsqueeze(1)

    def metrics(self) -> dict[str, Metric]:
        """{"odsF"}: boundary F-measure at the one threshold that is best for the whole data set."""
        return {"odsF": OdsF(max_dist=self.max_dist, target_kind=self.target_kind, workers=_SCORING_THREADS)}

    def update_metric(
        self, metric: Metric, prediction: Tensor, target: Tensor, valid: Tensor, batch: Mapping[str, Any] | None = None
    ) -> None:
        """Feeds probabilities and the map of edges; invalid pixels are neither."""
        metric.update(prediction, (target > 0.5).to(torch.uint8), valid)

    def draw(self, values: ArrayAny, like: ArrayAny | None = None) -> npt.NDArray[np.uint8]:
        """Labels or probabilities, edges in white."""
        return draw_grey(values, values != IGNORE)

    def legend(self, values: ArrayAny, like: ArrayAny | None = None) -> list[tuple[str, tuple[int, int, int]]]:
        """Probability from black to white."""
        return [("edge", (255, 255, 255)), ("perhaps", (128, 128, 128)), ("not", (0, 0, 0))]
