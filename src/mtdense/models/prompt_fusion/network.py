"""Encoder with prompts, decoders of each task and level, heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtdense.backbones.swin import Swin
from mtdense.models.layers import resize
from mtdense.models.layers.detection_head import DetectionBranch
from mtdense.models.outputs import Outputs
from mtdense.models.prompt_fusion.decoder import TaskLevel
from mtdense.models.prompt_fusion.encoder import FusedSwin, PlainSwin
from mtdense.models.prompt_fusion.options import PromptFusionOptions
from mtdense.models.task_prompter.decoder import task_head
from mtdense.tasks import Task

__all__ = ["PromptFusionNetwork"]


class DenseHead(nn.Module):
    """All levels of a task, added up at the finest one's size, to logits at twice that size, as in TaskPrompter.

    Args:
        width: Channels of the levels.
        num_outputs: Channels of the logits.
    """

    def __init__(self, width: int, num_outputs: int) -> None:
        super().__init__()
        self.merge = nn.Conv2d(width, width, 3, padding=1)
        self.head = task_head("deconv", width, num_outputs)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Levels (B, width, h, w), finest first, to (B, num_outputs, 2 h, 2 w)."""
        size = (maps[0].shape[-2], maps[0].shape[-1])
        logits: Tensor = self.head(self.merge(torch.stack([resize(x, size) for x in maps]).sum(0)))
        return logits


class PromptFusionNetwork(nn.Module):
    """One network for dense tasks and 3-D detection.

    Args:
        backbone: A Swin with `output_norm: last`.
        tasks: {task: what it is}, in the order of their prompts.
        options: See `PromptFusion`.
        input_size: (height, width) of images; needed by `channel_attention: pixels`.
    """

    def __init__(
        self,
        backbone: Swin,
        tasks: Mapping[str, Task],
        options: PromptFusionOptions,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.encoder: FusedSwin | PlainSwin = (
            FusedSwin(backbone, len(tasks), options, input_size) if options.prompts else PlainSwin(backbone, options)
        )
        self.levels = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        channels, convs = options.detection
        for name, task in tasks.items():
            dense = task.output_kind == "map"
            self.levels[name] = nn.ModuleList(
                TaskLevel(width, heads, options, enlarge=dense)
                for width, heads in zip(self.encoder.channels, self.encoder.heads, strict=True)
            )
            self.heads[name] = (
                DenseHead(options.width, task.num_outputs)
                if dense
                else DetectionBranch(
                    [options.width] * len(self.encoder.channels),
                    task.output_groups,
                    channels,
                    tower_convs=convs,
                    kind=options.detection_head,
                )
            )

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W): logits at stride 2; of detection, levels of strides 8, 16, 32, 32 and 64."""
        levels = self.encoder(image)
        final = {}
        for place, (name, decoders) in enumerate(self.levels.items()):
            assert isinstance(decoders, nn.ModuleList)
            maps = [decoder(level, place) for decoder, level in zip(decoders, levels, strict=True)]
            final[name] = self.heads[name](maps)
        return Outputs(final=final, features={"levels": levels})
