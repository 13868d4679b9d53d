"""The prompted MTL baseline as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models.base import DenseModule
from mtdense.models.mtl_baseline import PRESETS
from mtdense.models.prompted_baseline.network import PROMPTERS, PromptedNetwork
from mtdense.models.prompted_baseline.prompters import Gate, PrompterOptions

__all__ = ["PromptedBaseline"]

# Prompts per task: of TaskPrompter's code, and the default of TSP-Transformer's.
_NUM_PROMPTS = {"task_prompter": 1, "tsp": 5}


class PromptedBaseline(DenseModule):
    """The MTL baseline with learned task prompts: a reconstruction of two rows that no paper describes.

    The paper on prototype-based knowledge retrieval compares with "+TaskPrompter" and "+TSP-Transformer" on its own
    convolutional baseline and does not say how prompts were attached to it. All of the below is inferred.

    Args:
        prompting: `task_prompter` (one pass with the prompts of all tasks, spatial and channel attention) or `tsp`
            (prompts in each layer, one pass per task).
        preset: Width of neck and decoders: `paper` (512), `small` (128) or `tiny` (16, for tests).
        num_prompts: Prompts per task (and layer, for `tsp`); null: 1 for `task_prompter`, 5 for `tsp`.
        num_layers: Transformer layers over the positions of the stride-32 map and the prompts.
        num_heads: Attention heads; they divide the channels of the backbone's last map.
        mlp_ratio: Hidden width of the layers' perceptrons over their width.
        prompt_std: Standard deviation of the prompts at the start, around 0.
        spatial_attention: Let a task's prompts weigh positions (`task_prompter` only).
        channel_attention: Let a task's prompts weigh channels (`task_prompter` only).
        gate: What multiplies a feature before it is added to it: the bare `scores`, as TaskPrompter's code has it, or
            their `sigmoid` (`task_prompter` only).
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: Options that do not fit each other or the backbone.
    """

    method: ClassVar[str] = "prompted_baseline"

    def __init__(
        self,
        prompting: Literal["task_prompter", "tsp"] = "task_prompter",
        preset: Literal["paper", "small", "tiny"] = "paper",
        num_prompts: int | None = None,
        num_layers: int = 2,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        prompt_std: float = 0.02,
        spatial_attention: bool = True,
        channel_attention: bool = True,
        gate: Gate = "scores",
        **kwargs: Any,
    ) -> None:
        if prompting not in PROMPTERS:
            raise ConfigError(f"unknown prompting '{prompting}'", f"use one of {', '.join(PROMPTERS)}.")
        if prompting == "tsp" and (not spatial_attention or not channel_attention or gate != "scores"):
            raise ConfigError(
                "spatial_attention, channel_attention or gate with `prompting: tsp`, which has none of them",
                "leave these options out, or use `prompting: task_prompter`.",
            )
        super().__init__(**kwargs)
        self.method = f"prompted_{prompting}"  # type: ignore[misc]

    def build_network(self) -> nn.Module:
        """The network of `preset` and `prompting` on the chosen backbone."""
        h = self.hparams
        backbone = self.build_backbone()
        options = PrompterOptions(
            num_prompts=_NUM_PROMPTS[h["prompting"]] if h["num_prompts"] is None else h["num_prompts"],
            num_layers=h["num_layers"],
            num_heads=h["num_heads"],
            mlp_ratio=h["mlp_ratio"],
            prompt_std=h["prompt_std"],
            spatial_attention=h["spatial_attention"],
            channel_attention=h["channel_attention"],
            gate=h["gate"],
        )
        outputs = {name: task.num_outputs for name, task in self.tasks.items()}
        return PromptedNetwork(backbone, outputs, PRESETS[h["preset"]], h["prompting"], options)
