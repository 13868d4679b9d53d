"""TSP-Transformer as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from mtdense.backbones import VisionTransformer
from mtdense.core.errors import ConfigError
from mtdense.models.agreement import check_choice
from mtdense.models.base import DenseModule
from mtdense.models.invpt.module import PRESETS, decoder_widths
from mtdense.models.tsp_transformer.network import Placement, PromptPlan, TSPNetwork

__all__ = ["PRESETS", "TSPTransformer"]


class TSPTransformer(DenseModule):
    """A vision transformer run once per task, each time with prompts of that task, in front of InvPT's decoders.

    S. Wang, J. Li, Z. Zhao, D. Lian, B. Huang, X. Wang, Z. Li and S. Gao, "TSP-Transformer: Task-Specific Prompts
    Boosted Transformer for Holistic Scene Understanding", WACV 2024. See the README of this folder.

    Args:
        preset: `paper`, `small` (128 wide) or `tiny` (16 wide, for tests).
        prompts_per_task: Prompts of a task in each block that has some.
        prompt_layers: Blocks with prompts; null: half of the backbone's.
        prompt_placement: Prompts in the last blocks (`late`, the paper's text and its NYUD-v2) or in the first
            (`early`, its PASCAL-Context).
        prompt_std: Standard deviation that prompts begin with. 0, as in the public code, makes a task's prompts of a
            block one prompt counted several times, for ever.
        share_blocks: Run blocks before the first prompt once for all tasks. The public code runs them once per task,
            which gives the same but for stochastic depth.
        preliminary_width: Channels between the convolutions of a preliminary decoder; null: those of the backbone's
            last map, in `small` and `tiny` at most the preset's width.
        preliminary_weight: Weight of the loss on preliminary predictions; 1 in the public code.
        unused_parts: Hold what the public code holds and does not use: published checkpoints then fit.
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: A backbone that is no ViT of four maps, or an option of unknown value.
    """

    method: ClassVar[str] = "tsp_transformer"

    def __init__(
        self,
        preset: Literal["paper", "small", "tiny"] = "paper",
        prompts_per_task: int = 5,
        prompt_layers: int | None = None,
        prompt_placement: Placement = "late",
        prompt_std: float = 0.02,
        share_blocks: bool = True,
        preliminary_width: int | None = None,
        preliminary_weight: float = 1.0,
        unused_parts: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)

    def build_network(self) -> nn.Module:
        """The network of `preset` on the chosen backbone."""
        h = self.hparams
        check_choice("preset", h["preset"], tuple(PRESETS))
        self.preliminary_weight = h["preliminary_weight"]
        plan = PromptPlan(
            h["prompts_per_task"], h["prompt_layers"], h["prompt_placement"], h["prompt_std"], h["share_blocks"]
        )
        backbone = self.build_backbone()
        if not isinstance(backbone, VisionTransformer) or len(backbone.strides) != 4:
            raise ConfigError(
                f"prompts of tasks in the backbone '{h['backbone']}', which is no ViT of four maps",
                "use vit_base, vit_large, or another of timm's plain ViTs.",
            )
        widths = decoder_widths(h["preset"], h["preliminary_width"], backbone.channels[-1])
        outputs = {name: task.num_outputs for name, task in self.tasks.items()}
        return TSPNetwork(backbone, outputs, *widths, plan, h["unused_parts"])
