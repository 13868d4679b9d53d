"""The TIF network: shared encoder with SAFF, and decoders that know nothing of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.core.errors import ConfigError
from mtdense.models.layers import conv_norm_relu, resize
from mtdense.models.outputs import Outputs
from mtdense.models.tif.lthd import LowToHighDiffusion, combine_attention
from mtdense.models.tif.options import TIFOptions
from mtdense.models.tif.pyramid import DeconvolutionPyramid
from mtdense.models.tif.saff import ScaleAttentiveFusion
from mtdense.models.tif.sfd import SelfFeatureDistillation

__all__ = ["SharedMaps", "TIFNetwork", "TaskDecoder"]


@dataclass(frozen=True)
class SharedMaps:
    """What a decoder reads at each scale.

    Args:
        own: The task's maps (B, width, h_i, w_i), finest first.
        first: Those of the first task.
        all_tasks: Those of all tasks, one list per task.
    """

    own: Sequence[Tensor]
    first: Sequence[Tensor]
    all_tasks: Sequence[Sequence[Tensor]]


class TaskDecoder(nn.Module):
    """Decoder of one task: SFD on the low scales, LTHD on the high ones, one fusion, one head.

    Args:
        num_tasks: Tasks of the network.
        num_outputs: Channels of the head.
        fusion_width: Channels that the head reads.
        options: See `TIFOptions`.
    """

    def __init__(self, num_tasks: int, num_outputs: int, fusion_width: int, options: TIFOptions) -> None:
        super().__init__()
        width = options.width
        self.options = options
        projected = options.task_proj == "conv1x1"
        self.project = nn.ModuleList(conv_norm_relu(width, width) for _ in range(4)) if projected else None
        self.sfd = nn.ModuleDict({str(i): SelfFeatureDistillation(num_tasks, options) for i in options.sfd_scales})
        diffused = options.lthd_scales if options.lthd == "on" else ()
        self.lthd = nn.ModuleDict({str(i): LowToHighDiffusion(options) for i in diffused})
        self.fusion = conv_norm_relu(
            len(options.fused_scales) * width, fusion_width, kernel=3, activation=options.fuse_activation
        )
        self.head = nn.Conv2d(fusion_width, num_outputs, 1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def split(self, encoded: Sequence[Tensor]) -> list[Tensor]:
        """The shared maps as this task's: projected, or as they are."""
        if self.project is None:
            return list(encoded)
        return [layer(x) for layer, x in zip(self.project, encoded, strict=True)]

    def attention(self, scale: int, maps: SharedMaps) -> Tensor:
        """Scores of SFD at `scale` before the softmax: (B, heads, N, N)."""
        sfd = self.sfd[str(scale)]
        assert isinstance(sfd, SelfFeatureDistillation)
        return sfd.attend(*self._sfd_inputs(scale, maps))[0]

    def refine(self, maps: SharedMaps) -> list[Tensor]:
        """The maps after SFD and LTHD, finest first; those of scales without either are as they came."""
        refined = list(maps.own)
        scores: dict[int, Tensor] = {}
        for key, sfd in self.sfd.items():
            refined[int(key)], scores[int(key)] = sfd(*self._sfd_inputs(int(key), maps))
        if self.lthd:
            grids = {i: (maps.own[i].shape[-2], maps.own[i].shape[-1]) for i in (2, 3)}
            combined = combine_attention(scores, grids)
            for key, lthd in self.lthd.items():
                refined[int(key)] = lthd(maps.own[int(key)], combined, grids[2])
        return refined

    def forward(self, maps: SharedMaps) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, num_outputs, h_0, w_0) and the refined maps."""
        refined = self.refine(maps)
        size = (refined[0].shape[-2], refined[0].shape[-1])
        fused = self.fusion(torch.cat([resize(refined[i], size) for i in self.options.fused_scales], dim=1))
        logits: Tensor = self.head(fused)
        if self.training and self.options.lthd == "drop":
            # Keeps what made the map that is left out in the graph, as data-parallel training needs it.
            logits = logits + 0.0 * refined[self.options.dropped_scale].mean()
        return logits, refined

    def _sfd_inputs(self, scale: int, maps: SharedMaps) -> tuple[Tensor, list[Tensor] | None, Tensor | None]:
        cross = self.options.distillation == "cross"
        return (
            maps.own[scale],
            [own[scale] for own in maps.all_tasks] if cross else None,
            maps.first[scale] if self.options.query_from == "first_task" else None,
        )


class TIFNetwork(nn.Module):
    """Backbone, reduction to one width, SAFF, and a decoder per task.

    Args:
        backbone: Four maps of strides 4, 8, 16 and 32, or four of stride 16 (a plain vision transformer).
        num_outputs: {task: channels of its head}.
        options: See `TIFOptions`.

    Raises:
        ConfigError: A backbone of other strides.
    """

    def __init__(self, backbone: Backbone, num_outputs: Mapping[str, int], options: TIFOptions) -> None:
        super().__init__()
        channels = backbone.channels
        strides = list(backbone.strides)
        if strides not in ([4, 8, 16, 32], [16, 16, 16, 16]):
            raise ConfigError(
                f"TIF on a backbone of strides {strides}",
                "use one with maps of strides 4, 8, 16 and 32, or a ViT with four maps of stride 16.",
            )
        self.options = options
        self.backbone = backbone
        self.pyramid = DeconvolutionPyramid(channels[0]) if strides[0] == 16 else None
        self.reduce = nn.ModuleList(conv_norm_relu(c, options.width, activation=False) for c in channels)
        sources = channels if options.sa_input == "raw" else (options.width,) * 4
        self.saff = nn.ModuleDict({str(i): ScaleAttentiveFusion(i, sources, options) for i in options.saff_scales})
        fusion_width = options.fusion_width or max(1, sum(channels) // 8)
        self.decoders = nn.ModuleDict(
            {name: TaskDecoder(len(num_outputs), n, fusion_width, options) for name, n in num_outputs.items()}
        )

    def encode(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) to the shared maps (B, width, h_i, w_i) of the four scales."""
        maps = self.backbone(image)
        if self.pyramid is not None:
            maps = self.pyramid(maps)
        reduced = [layer(x) for layer, x in zip(self.reduce, maps, strict=True)]
        sources = maps if self.options.sa_input == "raw" else reduced
        return [self.saff[str(i)](sources, x) if str(i) in self.saff else x for i, x in enumerate(reduced)]

    def split(self, encoded: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """The shared maps as those of each task."""
        return {name: decoder.split(encoded) for name, decoder in self._decoders().items()}

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at stride 4.

        `features` hold `task_maps` and `refined`: {task: four maps before and after SFD and LTHD, finest first}.
        """
        task_maps = self.split(self.encode(image))
        final, refined = {}, {}
        for name, decoder in self._decoders().items():
            final[name], refined[name] = decoder(self.shared_maps(name, task_maps))
        return Outputs(final=final, features={"task_maps": task_maps, "refined": refined})

    def shared_maps(self, task: str, task_maps: Mapping[str, Sequence[Tensor]]) -> SharedMaps:
        """What the decoder of `task` reads."""
        everything = list(task_maps.values())
        return SharedMaps(task_maps[task], everything[0], everything)

    def attention(self, scale: int, task_maps: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
        """{task: scores of SFD at `scale` before the softmax (B, heads, N, N)}."""
        return {
            name: decoder.attention(scale, self.shared_maps(name, task_maps))
            for name, decoder in self._decoders().items()
        }

    def fold(self) -> None:
        """Folds SFD in all decoders, see `SelfFeatureDistillation.fold`.

        Raises:
            ConfigError: SFD reads other tasks.
        """
        self.options = replace(self.options, folded=True, key_terms="tasks")
        for module in self.modules():
            if isinstance(module, SelfFeatureDistillation):
                module.fold()

    def _decoders(self) -> dict[str, TaskDecoder]:
        return dict(self.decoders.items())  # type: ignore[arg-type]
