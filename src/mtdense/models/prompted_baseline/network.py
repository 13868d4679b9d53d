"""The MTL baseline with a coarsest map of each task's own, made by prompts."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mtdense.backbones import Backbone
from mtdense.models.mtl_baseline import SharedEncoderNetwork
from mtdense.models.outputs import Outputs
from mtdense.models.prompted_baseline.prompters import PrompterOptions, TaskPrompter, TSPPrompter

__all__ = ["PromptedNetwork"]

PROMPTERS = {"task_prompter": TaskPrompter, "tsp": TSPPrompter}


class PromptedNetwork(SharedEncoderNetwork):
    """Backbone, neck, decoders and heads of the MTL baseline; the stride-32 map goes through a prompter first.

    Its T maps take the place of the backbone's last one: the neck runs once per task, on maps of strides 4 to 16 that
    tasks share and one of stride 32 that is the task's.

    Args:
        backbone: Pyramid of strides 4 to 32.
        num_outputs: {task: channels of its head}.
        width: Channels of neck and decoders.
        prompting: `task_prompter` or `tsp`.
        options: See `PrompterOptions`.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_outputs: Mapping[str, int],
        width: int,
        prompting: str,
        options: PrompterOptions,
    ) -> None:
        super().__init__(backbone, num_outputs, width)
        self.prompter = PROMPTERS[prompting](tuple(num_outputs), backbone.channels[-1], options)

    def forward_with_deepest(self, image: Tensor) -> tuple[Outputs, Tensor]:
        """Normalised images (B, 3, H, W) to logits at stride 8, and the backbone's deepest map, before the prompts."""
        *fine, coarse = self.backbone(image)
        own = self.prompter(coarse)
        features = {name: self.decoders[name](self.merge([*fine, own[name]])) for name in self.heads}
        return Outputs(
            final={name: head(features[name]) for name, head in self.heads.items()}, features=features
        ), coarse
