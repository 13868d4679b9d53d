"""The ATRC network: one feature per task, context from every task, one head per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.models.atrc.contexts import GlobalContext, LabelContext, LocalContext
from mtdense.models.atrc.genotype import Context, Genotype
from mtdense.models.layers import concat_pyramid, conv_norm_relu, logit_heads, task_convolutions
from mtdense.models.outputs import Outputs

__all__ = ["ATRCNetwork", "first_predicted", "place_weights"]


def first_predicted(genotype: Genotype) -> list[str]:
    """Tasks whose classes some label context asks for."""
    asked = {target for target, row in genotype.items() if "t_label" in row.values()}
    asked |= {source for row in genotype.values() for source, context in row.items() if context == "s_label"}
    return [task for task in genotype if task in asked]


def place_weights(logits: Tensor, shown: Tensor | None = None) -> Tensor:
    """Softmax of each class over the places.

    Args:
        logits: (B, K, h, w).
        shown: (B, H, W), 1 where the image is: other places weigh nothing; null counts all.

    Returns:
        (B, K, h * w), each row a distribution, or zeros for an image that shows nothing.
    """
    scores = logits.flatten(2)
    if shown is None:
        return scores.softmax(dim=2)
    mask = F.interpolate(shown[:, None], size=logits.shape[-2:], mode="nearest").flatten(2) > 0
    weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=2)
    return torch.where(mask.any(dim=2, keepdim=True), weights, 0.0)


class RelationalContext(nn.Module):
    """Context of one task: one block per source, their outputs merged with the task's own feature.

    Args:
        row: {source: context}.
        channels: Channels of a task's feature.
        width: Channels of each context.
        dropout: Rate at which whole channels are dropped behind the merge.
        zero_init: Start with the contexts' sum multiplied by zero, so that training begins without them.
    """

    def __init__(self, row: Mapping[str, Context], channels: int, width: int, dropout: float, zero_init: bool) -> None:
        super().__init__()
        self.kinds = {source: context for source, context in row.items() if context != "none"}
        self.blocks = nn.ModuleDict({source: _block(kind, channels, width) for source, kind in self.kinds.items()})
        self.projection = None
        if self.kinds:
            self.projection = conv_norm_relu(width * len(self.kinds), channels, activation=False)
            if zero_init:
                norm = self.projection[1]
                assert isinstance(norm, nn.BatchNorm2d)
                nn.init.zeros_(norm.weight)
        self.merge = conv_norm_relu(channels * 2 if self.kinds else channels, channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, target: str, features: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Tensor:
        """{task: (B, channels, h, w)} and {task: (B, K, h * w)} to the target's (B, channels, h, w)."""
        joined = features[target]
        if self.projection is not None:
            found = []
            for source, block in self.blocks.items():
                labels = weights.get(target if self.kinds[source] == "t_label" else source)
                found.append(block(features[target], features[source], labels))
            joined = torch.cat([joined, self.projection(torch.cat(found, dim=1))], dim=1)
        merged: Tensor = self.dropout(self.merge(joined))
        return merged


class ATRCNetwork(nn.Module):
    """Adaptive task-relational context (Brüggemann et al., ICCV 2021), or its plain baseline.

    Args:
        backbone: Any pyramid; its maps are resized to the finest and concatenated.
        num_outputs: {task: channels of its head}.
        genotype: Context of each pair of tasks; null: the baseline, one convolution and a head per task.
        num_classes: {task: classes of its first prediction}.
        max_width: The most channels of a task's feature, which has a quarter of the backbone's otherwise.
        dropout: See `RelationalContext`.
        zero_init: See `RelationalContext`.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_outputs: Mapping[str, int],
        genotype: Genotype | None,
        num_classes: Mapping[str, int],
        max_width: int | None = None,
        dropout: float = 0.05,
        zero_init: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        inputs = sum(backbone.channels)
        channels = inputs // 4 if max_width is None else min(inputs // 4, max_width)
        self.task_convolutions = task_convolutions(num_outputs, inputs, channels)
        self.heads = logit_heads(num_outputs, channels)
        first = first_predicted(genotype) if genotype else []
        hidden = inputs if max_width is None else min(inputs, 4 * max_width)
        self.auxiliary = nn.ModuleDict({name: conv_norm_relu(inputs, hidden) for name in first})
        self.auxiliary_heads = logit_heads({name: num_classes[name] for name in first}, hidden)
        rows = genotype or {}
        self.contexts = nn.ModuleDict(
            {t: RelationalContext(row, channels, channels // 2, dropout, zero_init) for t, row in rows.items()}
        )

    def forward(self, image: Tensor, shown: Tensor | None = None) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at the finest map's stride.

        Args:
            image: The images.
            shown: (B, H, W), 1 where the canvas shows the image; other places belong to no class. Null: all do.

        Returns:
            `features["auxiliary"]` holds the first predictions, {task: (B, K, h, w)}.
        """
        x = self._joined(self.backbone(image))
        features = {name: layer(x) for name, layer in self.task_convolutions.items()}
        # The first predictions learn from what the backbone gives but do not teach it.
        constant = x.detach()
        first = {name: head(self.auxiliary[name](constant)) for name, head in self.auxiliary_heads.items()}
        weights = {name: place_weights(logits, shown) for name, logits in first.items()}
        if self.contexts:
            features = {name: context(name, features, weights) for name, context in self.contexts.items()}
        final = {name: head(features[name]) for name, head in self.heads.items()}
        return Outputs(final=final, features={"auxiliary": first})

    @staticmethod
    def _joined(maps: Sequence[Tensor]) -> Tensor:
        return concat_pyramid(maps, (maps[0].shape[-2], maps[0].shape[-1]))


def _block(kind: Context, channels: int, width: int) -> nn.Module:
    if kind == "global":
        return GlobalContext(channels, width)
    return LocalContext(channels, width) if kind == "local" else LabelContext(channels, width)
