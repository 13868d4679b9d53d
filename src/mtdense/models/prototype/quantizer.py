"""Vector quantisation of the shared feature, and the decoder that reconstructs the image from it."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.models.layers.precision import full_precision
from mtdense.models.prototype.options import CodebookInit, VQDistance, VQGradient
from mtdense.models.prototype.region import mean_weights, weighted_mean
from mtdense.training.distributed import rank, sum_over_ranks, world_size

__all__ = ["ReconstructionDecoder", "VectorQuantizer"]


class VectorQuantizer(nn.Module):
    """Replaces each element of a feature map by the nearest slot of a learnt codebook (eq. 1).

    The result is meant to be added to the feature. Gradients of what follows reach the chosen slots through the
    lookup, and the feature through the other summand, so no estimator is needed. [inferred]

    Args:
        size: Number of slots.
        width: Elements of a slot: the channels of the feature.
        distance: What "nearest" means: Euclidean (`l2`) or the largest `cosine`. [inferred]
        gradient: `lookup`: the lookup's own. `straight_through`: to the feature instead of the slots, which only a
            codebook loss then trains. `both`: to both. The last two double the gradient of the feature.
        init: `uniform` in +-1/size or `normal` with deviation width^-1/2. [inferred]
        dead_code_steps: Calls of `restart` without use after which a slot is dead; 0: never.
    """

    def __init__(
        self,
        size: int,
        width: int,
        distance: VQDistance = "l2",
        gradient: VQGradient = "lookup",
        init: CodebookInit = "uniform",
        dead_code_steps: int = 0,
    ) -> None:
        super().__init__()
        self.distance = distance
        self.gradient = gradient
        self.dead_code_steps = dead_code_steps
        self.codebook = nn.Parameter(torch.empty(size, width))
        if init == "uniform":
            nn.init.uniform_(self.codebook, -1 / size, 1 / size)
        else:
            nn.init.normal_(self.codebook, std=width**-0.5)
        self.idle: Tensor
        if dead_code_steps:
            self.register_buffer("idle", torch.zeros(size, dtype=torch.int64))

    @torch.no_grad()
    def assign(self, feature: Tensor) -> Tensor:
        """Index of the nearest slot of each element of (B, width, h, w): (B, h, w); the first where several tie."""
        with full_precision(feature.device):
            elements = feature.float().movedim(1, -1)
            slots = self.codebook.float()
            if self.distance == "cosine":
                return (F.normalize(elements, dim=-1) @ F.normalize(slots, dim=-1).t()).argmax(-1)
            # ||f - e||^2 without ||f||^2, which is the same for all slots.
            return (slots.square().sum(-1) - 2 * elements @ slots.t()).argmin(-1)

    def lookup(self, indices: Tensor) -> Tensor:
        """Slots of indices (B, h, w): (B, width, h, w), with the lookup's gradient."""
        return F.embedding(indices, self.codebook).movedim(-1, 1)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width, h, w) to the quantised feature of the same shape and the indices (B, h, w)."""
        indices = self.assign(feature)
        quantised = self.lookup(indices)
        if self.gradient == "straight_through":
            quantised = feature + (quantised - feature).detach()
        elif self.gradient == "both":
            quantised = quantised + (feature - feature.detach())
        return quantised, indices

    def distances(self, feature: Tensor, indices: Tensor, shown: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Commitment and codebook distance of each image, (B,) each: mean square error over its elements.

        The first has a gradient for the feature alone, the second for the codebook alone.

        Args:
            feature: Shared features (B, width, h, w).
            indices: Their slots (B, h, w).
            shown: (B, h, w) how much each element counts; None: all alike.
        """
        quantised = self.lookup(indices).float()
        feature = feature.float()
        weights = None if shown is None else mean_weights(shown)

        def distance(a: Tensor, b: Tensor) -> Tensor:
            return weighted_mean((a - b).square().mean(1).flatten(1), weights)

        return distance(feature, quantised.detach()), distance(feature.detach(), quantised)

    @torch.no_grad()
    def restart(
        self, feature: Tensor, indices: Tensor, priorities: Tensor, places: Tensor, shown: Tensor | None = None
    ) -> int:
        """Counts which slots a batch used, and moves dead ones onto elements of the batch's features.

        A dead slot takes an element of the image with the highest priority for it among those of all ranks, so that
        all ranks hold the same codebook; every rank must call this, once a batch.

        Args:
            feature: Shared features (B, width, h, w) of this rank's images.
            indices: Their slots (B, h, w).
            priorities: (B, size), random.
            places: (B, size) in [0, 1): which element of the image.
            shown: (B, h, w), above 0 at elements that count; None: all do.

        Returns:
            Number of slots moved.
        """
        size = len(self.codebook)
        counted = torch.ones_like(indices, dtype=torch.bool) if shown is None else shown > 0
        seen = indices.new_zeros(size).index_add_(0, indices.flatten(), counted.flatten().to(indices.dtype))
        used = sum_over_ranks(seen.clamp(max=1)) > 0
        self.idle.copy_(torch.where(used, 0, self.idle + 1))
        dead = self.idle >= self.dead_code_steps
        if not bool(dead.any()):
            return 0
        best, image = priorities.max(0)
        table = best.new_zeros(world_size(), size)
        table[rank()] = best
        owned = sum_over_ranks(table).argmax(0) == rank()
        elements = feature.flatten(2).movedim(1, -1)
        # Elements that count come first, in their order; an image without any gives its first.
        numbers = counted.flatten(1).sum(1)[image].clamp(min=1)
        place = torch.minimum((places.gather(0, image[None])[0] * numbers).long(), numbers - 1)
        order = counted.flatten(1).int().argsort(dim=1, descending=True, stable=True)
        fresh = sum_over_ranks(elements[image, order[image, place]].float() * owned[:, None])
        self.codebook[dead] = fresh[dead].to(self.codebook.dtype)
        self.idle[dead] = 0
        return int(dead.sum())


class ReconstructionDecoder(nn.Module):
    """Four 3x3 convolutions with ReLU between, each of the first three followed by a bilinear enlargement (eq. 2).

    Number, kernels and widths are not stated. [inferred] Only training uses it.

    Args:
        width: Channels in; each convolution but the last halves them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width, max(1, width // 2), max(1, width // 4), max(1, width // 8), 3]
        convs = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths)]
        for conv in convs[:-1]:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        self.convs = nn.ModuleList(convs)

    def forward(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, width, h, w) to an image (B, 3, *size)."""
        x = feature
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if i < len(self.convs) - 1:
                scale = (2 * x.shape[-2], 2 * x.shape[-1]) if i < len(self.convs) - 2 else size
                x = F.interpolate(F.relu(x), size=scale, mode="bilinear", align_corners=False)
        return x
