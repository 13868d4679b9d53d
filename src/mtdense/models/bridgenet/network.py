"""BridgeNet's network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.models.bridgenet.bfe import BridgeFeatureExtractor
from mtdense.models.bridgenet.options import BridgePlan
from mtdense.models.bridgenet.tfr import ConcatRefiner, TaskFeatureRefiner
from mtdense.models.bridgenet.tpp import TaskPatternPropagation
from mtdense.models.layers.inverted_pyramid import (
    FinalDecoders,
    LevelCollector,
    MixProjection,
    PreliminaryDecoders,
    UnusedParts,
    UpEmbed,
)
from mtdense.models.layers.joint_attention import InvPTBlock
from mtdense.models.layers.task_maps import resize
from mtdense.models.outputs import Outputs

__all__ = ["BridgeNetwork", "BridgeStage"]


class BridgeNetwork(nn.Module):
    """Backbone, preliminary decoders with TPP, stages of BFE and refinement, final decoders.

    Maps of all tasks lie side by side on the channel axis, so that one layer serves all tasks. `Outputs.features` holds
    what the figures need; see `BridgeNet.figures`.

    Args:
        backbone: Four maps; see `BridgePlan`.
        num_outputs: {task: channels of its prediction}.
        plan: Sizes and parts.
    """

    def __init__(self, backbone: Backbone, num_outputs: Mapping[str, int], plan: BridgePlan) -> None:
        super().__init__()
        self.plan = plan
        self.tasks = tuple(num_outputs)
        tasks, widths, channels = len(num_outputs), plan.widths, backbone.channels
        self.backbone = backbone
        self.preliminary = PreliminaryDecoders(tasks, channels[-1], plan.preliminary_width, plan.width)
        self.tpp = TaskPatternPropagation(tasks, plan.width) if plan.tpp else None
        self.preliminary_heads = nn.ModuleDict({name: nn.Conv2d(plan.width, n, 1) for name, n in num_outputs.items()})
        self.mix = MixProjection(num_outputs, plan.width, widths[0])
        self.scale_embed = _scale_embed(backbone, plan) if plan.refinement != "none" else nn.ModuleList()
        self.stages = nn.ModuleList(
            BridgeStage(index, tasks, _generic_channels(backbone, plan, index), plan) for index in range(plan.stages)
        )
        self.collect = LevelCollector(tasks, widths)
        self.final = FinalDecoders(num_outputs, widths[0])
        self.unused = UnusedParts(tasks, widths, _unused_embed(backbone, widths[-1])) if plan.unused_parts else None

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at stride 4, and preliminary ones at stride 32."""
        height, width = image.shape[-2:]
        sizes = [(-(-height // stride), -(-width // stride)) for stride in (32, 16, 8, 4)]
        maps = self.backbone(image)
        if self.unused is not None:
            self.unused(maps[0])
        before = self.preliminary(resize(maps[-1], sizes[0]))
        after, features = before, {}
        if self.tpp is not None:
            after, features["attention"] = self.tpp(before)
        parts = after.chunk(len(self.tasks), dim=1)
        preliminary = {name: head(x) for (name, head), x in zip(self.preliminary_heads.items(), parts, strict=True)}
        x = self.mix(after if self.plan.tpp_feature_to_bridge else before, preliminary)
        bridge: Tensor | None = None
        message: Tensor | None = None
        levels, seen = [], []
        for index, stage in enumerate(self.stages):
            generic = self._generic(maps, index)
            x, generic, bridge, message = cast(BridgeStage, stage)(x, sizes[index], generic, bridge, message)
            levels.append(self.collect(index, x))
            seen.append((generic, bridge, x))
        features |= {"before_tpp": before, "after_tpp": after, "stages": seen}
        return Outputs(self.final(levels, sizes[-1]), [preliminary], features)

    def _generic(self, maps: list[Tensor], index: int) -> Tensor | None:
        """The backbone's map for a stage, in the width that the stage reads."""
        if not len(self.scale_embed):
            return None
        scale = len(maps) - 1 - index
        if self.plan.stages == 4:
            return cast(Tensor, self.scale_embed[index](maps[scale]))
        return maps[scale] if index == 0 else cast(Tensor, self.scale_embed[index - 1](maps[scale]))


class BridgeStage(nn.Module):
    """One scale: enlarge the tasks, make the bridge feature, refine the tasks.

    Weights are as the official code initialises them: linear layers with deviation 0.02, convolutions with 0.001.

    Args:
        index: 0 is the coarsest.
        tasks: Number of tasks.
        generic_channels: Channels of the backbone's feature for this stage.
        plan: Sizes and parts.
    """

    def __init__(self, index: int, tasks: int, generic_channels: int, plan: BridgePlan) -> None:
        super().__init__()
        width, pool, kind = plan.widths[index], 2 ** (index + 1), plan.refinement
        self.up = UpEmbed(tasks, plan.widths[index - 1], width) if index > 0 else None
        self.embed: nn.Module | None = None
        self.bridge: nn.Module | None = None
        self.cascade: nn.Module | None = None
        self.refine: nn.Module | None = None
        self.interact: nn.Module | None = None
        self.tasks = tasks
        if kind != "none":
            self.embed = nn.Sequential(
                nn.Conv2d(generic_channels, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
            )
            self.bridge = BridgeFeatureExtractor(tasks, width, 2, pool) if plan.bfe else None
            self.cascade = nn.Conv2d(plan.widths[index - 1], width, 1) if index > 0 else None
        if kind == "tfr":
            self.refine = TaskFeatureRefiner(tasks, width, plan.drop_rates)
        elif kind == "concat":
            self.refine = ConcatRefiner(tasks, width, plan.concat_form)
        elif kind == "add_invpt":
            self.interact = InvPTBlock(tasks, width, 2, pool, receives=index > 0)
        self.apply(_initialise)

    def forward(
        self,
        x: Tensor,
        size: tuple[int, int],
        generic: Tensor | None,
        last_bridge: Tensor | None,
        message: Tensor | None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Runs the stage.

        Args:
            x: Tasks of the stage before, (B, T * its width, h, w).
            size: Size of this stage's tasks.
            generic: The backbone's feature for this stage.
            last_bridge: Bridge feature of the stage before.
            message: Attention scores of the stage before (`add_invpt`).

        Returns:
            Tasks, generic feature in this stage's width, bridge feature, scores.
        """
        if self.up is not None:
            x = self.up(x, size)
        if self.embed is None or generic is None:
            return x, None, None, None
        generic = self.embed(generic)
        bridge = generic if self.bridge is None else self.bridge(generic, x)
        if self.cascade is not None and last_bridge is not None:
            bridge = bridge + resize(self.cascade(last_bridge), (generic.shape[-2], generic.shape[-1]))
        if self.refine is not None:
            return self.refine(x, bridge), generic, bridge, None
        x = torch.flatten(x.unflatten(1, (self.tasks, -1)) + resize(bridge, size)[:, None], 1, 2)
        if self.interact is not None:
            x, message = self.interact(x, message)
        return x, generic, bridge, message


def _scale_embed(backbone: Backbone, plan: BridgePlan) -> nn.ModuleList:
    """Convolutions that bring the backbone's maps to the decoder's widths, in the order of the stages."""
    channels, widths = backbone.channels[::-1], plan.widths
    if plan.stages == 4:
        return nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(channels, widths, strict=True))
    # The coarsest map is taken as it is, the finest not at all.
    return nn.ModuleList(nn.Conv2d(c, w, 3, padding=1) for c, w in zip(channels[1:3], widths, strict=False))


def _generic_channels(backbone: Backbone, plan: BridgePlan, index: int) -> int:
    if plan.stages == 4:
        return plan.widths[index]
    return backbone.channels[-1] if index == 0 else plan.widths[index - 1]


def _unused_embed(backbone: Backbone, width: int) -> nn.Module:
    if len(set(backbone.strides)) == 1:
        return nn.ConvTranspose2d(backbone.channels[0], width, 3, stride=2, padding=1, output_padding=1)
    return nn.Conv2d(backbone.channels[0], width, 3)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.trunc_normal_(module.weight, std=0.02 if isinstance(module, nn.Linear) else 0.001)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
