"""The network of prototype-based knowledge retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.models.layers import BasicBlock, concat_pyramid
from mtdense.models.outputs import Outputs
from mtdense.models.prototype.affinity import TaskPrototype
from mtdense.models.prototype.options import Preset
from mtdense.models.prototype.quantizer import ReconstructionDecoder, VectorQuantizer
from mtdense.models.prototype.region import grid_weights, mean_weights
from mtdense.models.prototype.retrieval import KnowledgeRetrievalTransformer, positional_encoding

__all__ = ["PrototypeNetwork", "enlarge", "task_decoder"]

_CONVS = 4
_BASIC_BLOCKS = 2


def task_decoder(kind: str, width: int, out_width: int) -> nn.Sequential:
    """Decoder of one task: (B, width, h, w) to (B, out_width, h, w).

    `conv` is four 3x3 convolutions with bias and ReLU, `basic_block` two BasicBlocks; where `out_width` is another
    width, a 1x1 convolution and a 3x3 one that changes it follow, each with ReLU. Plain convolutions start by He's
    rule, for without normalisation PyTorch's default would shrink the signal more than a hundredfold.
    """
    if kind == "conv":
        layers: list[nn.Module] = [m for _ in range(_CONVS) for m in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU())]
    else:
        layers = [BasicBlock(width) for _ in range(_BASIC_BLOCKS)]
    if out_width != width:
        layers += [nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, out_width, 3, padding=1), nn.ReLU()]
    for layer in layers:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def enlarge(small: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Cells (B, C, h, w) of `factor` positions a side to the positions (B, C, *size), bilinear.

    The last cells may reach beyond the positions: the map is enlarged by the whole factor, then cut.
    """
    whole = (small.shape[-2] * factor, small.shape[-1] * factor)
    return F.interpolate(small, size=whole, mode="bilinear", align_corners=False)[..., : size[0], : size[1]]


class PrototypeNetwork(nn.Module):
    """Shared encoder, vector quantisation, task decoders, task prototype, retrieval, heads.

    Args:
        backbone: Pyramid of strides 4 to 32.
        num_outputs: {task: channels of its head}.
        preset: Sizes.
        options: The options of `Prototype`, checked.
    """

    def __init__(
        self, backbone: Backbone, num_outputs: Mapping[str, int], preset: Preset, options: Mapping[str, Any]
    ) -> None:
        super().__init__()
        tasks, width, feature_width = list(num_outputs), preset.width, preset.feature_width
        self._last_only = preset.neck == "last"
        self._stride: int = options["decoder_stride"]
        self._shrink: int = options["attention_downsample"]
        self._sincos = options["positional_encoding"] == "sincos"
        self._sum_for_head = options["head_input"] == "sum"
        self.backbone = backbone
        maps = backbone.channels[-1:] if self._last_only else backbone.channels
        self.neck = nn.Conv2d(sum(maps), width, 3, padding=1)
        self.quantizer: VectorQuantizer | None = None
        if options["vq"]:
            self.quantizer = VectorQuantizer(
                options["codebook_size"] or preset.codebook_size,
                width,
                options["vq_distance"],
                options["vq_gradient"],
                options["codebook_init"],
                options["dead_code_steps"],
            )
        self.reconstruction = ReconstructionDecoder(width) if options["loss_tae"] else None
        kind = options["decoder"] or preset.decoder
        self.decoders = nn.ModuleDict({name: task_decoder(kind, width, feature_width) for name in tasks})
        self.projections: nn.ModuleDict | None = None
        self.prototype: TaskPrototype | None = None
        slot_dim = options["slot_dim"] or preset.slot_dim
        if options["retrieval"] or options["loss_tke"] or options["loss_tc"]:
            self.projections = nn.ModuleDict({name: nn.Conv2d(feature_width, slot_dim, 1) for name in tasks})
            self.prototype = TaskPrototype(
                len(tasks),
                slot_dim,
                options["affinity"],
                options["similarity"],
                options["temperature"],
                options["prototype_init"],
                options["prototype_gradient"],
            )
        self.retrieval: KnowledgeRetrievalTransformer | None = None
        self.lifts: nn.ModuleDict | None = None
        head_width = feature_width
        if options["retrieval"]:
            self.retrieval = KnowledgeRetrievalTransformer(
                options["retrieval_blocks"],
                feature_width,
                slot_dim,
                options["retrieval_heads"] or preset.heads,
                options["retrieval_norm"],
                options["cross_residual"],
                options["attention_scaling"],
            )
            head_width = preset.output_width
            self.lifts = nn.ModuleDict({name: nn.Conv2d(feature_width, head_width, 1) for name in tasks})
        self.heads = nn.ModuleDict({name: nn.Conv2d(head_width, n, 1) for name, n in num_outputs.items()})
        self.preliminary_heads: nn.ModuleDict | None = None
        if options["preliminary_supervision"] > 0:
            self.preliminary_heads = nn.ModuleDict(
                {name: nn.Conv2d(feature_width, n, 1) for name, n in num_outputs.items()}
            )

    def encode(self, image: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to the shared feature (B, width, H / stride, W / stride)."""
        maps = self.backbone(image)
        height, width = maps[0].shape[-2:]
        factor = self._stride // 4
        size = (max(1, height // factor), max(1, width // factor))
        shared: Tensor = self.neck(concat_pyramid(maps[-1:] if self._last_only else maps, size))
        return shared

    def forward(self, image: Tensor, shown: Tensor | None = None) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at the decoders' stride.

        `features` has the `encoded` and `integrated` feature and, where the network has the parts, the `indices` of
        the codebook, and for each task the projected feature's `tokens` (B, L, D) and their `scores` (B, L or 1, T),
        the `grid` (h, w) that L stands for, and the tokens' `weights` (B, L) in means. `shown` is what the argument
        becomes on the grid of `encoded`.

        Args:
            image: Images.
            shown: (B, H, W), 1 where means over positions count the canvas; None: everywhere.
        """
        encoded = self.encode(image)
        grid = None if shown is None else grid_weights(shown, (encoded.shape[-2], encoded.shape[-1]))
        features: dict[str, Any] = {"encoded": encoded, "integrated": encoded, "shown": grid}
        if self.quantizer is not None:
            quantised, features["indices"] = self.quantizer(encoded)
            features["integrated"] = encoded + quantised
        decoded = {name: decoder(features["integrated"]) for name, decoder in self.decoders.items()}
        heads_read = decoded
        small = {name: self._reduce(x) for name, x in decoded.items()}
        if self.prototype is not None and self.projections is not None:
            tokens = {name: conv(small[name]).flatten(2).transpose(1, 2) for name, conv in self.projections.items()}
            weights = None if grid is None else mean_weights(self._reduce(grid[:, None]))
            scores = {name: self.prototype.scores(x, weights) for name, x in tokens.items()}
            features |= {
                "tokens": tokens,
                "scores": {name: x for name, (x, _) in scores.items()},
                "grid": tuple(next(iter(small.values())).shape[-2:]),
                "weights": weights,
            }
            if self.retrieval is not None:
                knowledge = [self.prototype.feature(x, tokens[name].dtype) for name, (_, x) in scores.items()]
                heads_read = self._refine(self.retrieval, decoded, small, torch.cat(knowledge))
        preliminary = []
        if self.preliminary_heads is not None:
            preliminary.append({name: head(decoded[name]) for name, head in self.preliminary_heads.items()})
        return Outputs({name: head(heads_read[name]) for name, head in self.heads.items()}, preliminary, features)

    def _reduce(self, feature: Tensor) -> Tensor:
        return feature if self._shrink == 1 else F.avg_pool2d(feature, self._shrink, ceil_mode=True)

    def _refine(
        self,
        retrieval: KnowledgeRetrievalTransformer,
        decoded: Mapping[str, Tensor],
        small: Mapping[str, Tensor],
        knowledge: Tensor,
    ) -> dict[str, Tensor]:
        """What retrieval makes of the decoded features, lifted to what the heads read."""
        assert self.lifts is not None
        # The transformer is the same for all tasks: one pass over (T * B) maps.
        x = torch.cat([small[name].flatten(2).transpose(1, 2) for name in decoded])
        height, width = next(iter(small.values())).shape[-2:]
        if self._sincos:
            x = x + positional_encoding(height, width, x.shape[-1], x)
        refined = retrieval(x, knowledge).transpose(1, 2).unflatten(2, (height, width))
        result = {}
        for (name, whole), part in zip(decoded.items(), refined.chunk(len(decoded)), strict=True):
            if self._shrink > 1:
                part = whole + enlarge(part - small[name], self._shrink, (whole.shape[-2], whole.shape[-1]))
            result[name] = self.lifts[name](whole + part if self._sum_for_head else part)
        return result

    def reconstruct(self, integrated: Tensor, size: tuple[int, int]) -> Tensor:
        """The image (B, 3, *size) that the integrated feature stands for; only with the reconstruction decoder."""
        assert self.reconstruction is not None
        image: Tensor = self.reconstruction(integrated, size)
        return image
