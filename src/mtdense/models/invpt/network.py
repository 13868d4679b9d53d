"""InvPT's network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from mtdense.backbones import Backbone
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

__all__ = ["InvPTNetwork", "InvPTStage"]

HEADS = 2


class InvPTNetwork(nn.Module):
    """Backbone, preliminary decoders, three stages of joint attention over all tasks, final decoders.

    Maps of all tasks lie side by side on the channel axis, so that one layer serves all tasks.

    Args:
        backbone: Four maps, all of one stride (ViT) or of strides 4 to 32.
        num_outputs: {task: channels of its prediction}.
        width: Channels of a task's preliminary feature.
        preliminary_width: Channels between the convolutions of a preliminary decoder.
        widths: Channels of a task at each stage, coarsest first.
        unused_parts: Hold what the official code holds and does not use.
        shared: The backbone has one last map for all tasks; otherwise each has its own, see `decode`.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_outputs: Mapping[str, int],
        width: int,
        preliminary_width: int,
        widths: Sequence[int],
        unused_parts: bool = False,
        shared: bool = True,
    ) -> None:
        super().__init__()
        tasks, channels = len(num_outputs), backbone.channels
        self.tasks = tuple(num_outputs)
        self.backbone = backbone
        self.preliminary = PreliminaryDecoders(tasks, channels[-1], preliminary_width, width, shared)
        self.preliminary_heads = nn.ModuleDict({name: nn.Conv2d(width, n, 1) for name, n in num_outputs.items()})
        self.mix = MixProjection(num_outputs, width, widths[0])
        # The maps that stages 1 and 2 take from the backbone, finest first.
        self.plain = len(set(backbone.strides)) == 1
        self.taken = (0, 1) if self.plain else (1, 2)
        fine, middle = channels[self.taken[0]], channels[self.taken[1]]
        enlarge: nn.Module = nn.Conv2d(fine, widths[2], 3, padding=1)
        if self.plain:
            enlarge = nn.ConvTranspose2d(fine, widths[2], 3, stride=2, padding=1, output_padding=1)
        self.scale_embed = nn.ModuleList([enlarge, nn.Conv2d(middle, widths[1], 3, padding=1)])
        self.stages = nn.ModuleList(InvPTStage(index, tasks, widths) for index in range(len(widths)))
        self.collect = LevelCollector(tasks, widths)
        self.final = FinalDecoders(num_outputs, widths[0])
        self.unused: UnusedParts | None = None
        if unused_parts:
            embed = nn.Conv2d(channels[2], widths[0], 3, padding=1)
            self.unused = UnusedParts(tasks, widths, embed, nn.Conv2d(2 * HEADS, HEADS, 1))

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to logits at stride 4, and preliminary ones at stride 32."""
        maps = self.backbone(image)
        return self.decode(image.shape[-2:], maps[-1], maps)

    def decode(self, size: Sequence[int], last: Tensor, maps: Sequence[Tensor]) -> Outputs:
        """The network behind the backbone.

        Args:
            size: Height and width of the images.
            last: What preliminary decoders read: the backbone's last map (B, C, h, w), or one of each task, side by
                side, (B, T * C, h, w).
            maps: What the stages read, as of the backbone; the last one is not read.
        """
        sizes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in (32, 16, 8, 4)]
        if self.unused is not None:
            self.unused(maps[2])
        task = self.preliminary(resize(last, sizes[0]))
        parts = task.chunk(len(self.tasks), dim=1)
        preliminary = {name: head(x) for (name, head), x in zip(self.preliminary_heads.items(), parts, strict=True)}
        x = self.mix(task, preliminary)
        message: Tensor | None = None
        levels = []
        for index, stage in enumerate(self.stages):
            generic = None if index == 0 else self.scale_embed[2 - index](maps[self.taken[2 - index]])
            x, message = cast(InvPTStage, stage)(x, sizes[index], generic, message)
            levels.append(self.collect(index, x))
        return Outputs(self.final(levels, sizes[-1]), [preliminary], {"tasks": x})


class InvPTStage(nn.Module):
    """One scale: enlarge the tasks, add the backbone's feature, let all tasks attend to all.

    Args:
        index: 0 is the coarsest.
        tasks: Number of tasks.
        widths: Channels of a task at each stage.
    """

    def __init__(self, index: int, tasks: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.tasks = tasks
        self.up = UpEmbed(tasks, widths[index - 1], widths[index]) if index > 0 else None
        self.block = InvPTBlock(tasks, widths[index], HEADS, 2 ** (index + 1), receives=index > 0)
        self.apply(_initialise)

    def forward(
        self, x: Tensor, size: tuple[int, int], generic: Tensor | None, message: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Runs the stage.

        Args:
            x: Tasks of the stage before, (B, T * its width, h, w).
            size: Size of this stage's tasks.
            generic: The backbone's feature (B, width, H, W); none at the first stage.
            message: Attention scores of the stage before.

        Returns:
            Tasks and attention scores.
        """
        if self.up is not None:
            x = self.up(x, size)
        if generic is not None:
            x = (x.unflatten(1, (self.tasks, -1)) + resize(generic, size)[:, None]).flatten(1, 2)
        out: tuple[Tensor, Tensor] = self.block(x, message)
        return out


def _initialise(module: nn.Module) -> None:
    # As the official code: linear layers of the stages, not their convolutions.
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
