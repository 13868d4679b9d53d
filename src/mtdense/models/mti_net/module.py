"""MTI-Net as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.data.sample import Batch
from mtdense.models.agreement import check_choice
from mtdense.models.base import DenseModule
from mtdense.models.feature_pictures import draw_tasks
from mtdense.models.mti_net.network import AttentionGroups, MTINetNetwork
from mtdense.models.outputs import Outputs
from mtdense.tasks.base import ArrayAny

__all__ = ["PRESETS", "MTINet"]

# The most channels that a task's feature has at any scale; at every scale it has no more than the backbone's map.
PRESETS: dict[str, int | None] = {"paper": None, "small": 128, "tiny": 16}


class MTINet(DenseModule):
    """MTI-Net (Vandenhende et al., ECCV 2020): distillation between tasks at each of four scales.

    Args:
        preset: Task features as wide as the backbone's map of their scale (`paper`), and at most 128 (`small`) or 16
            (`tiny`, for tests) channels.
        widths: Channels of the task features at each scale, the finest first, in place of the preset's.
        attention_groups: Over which channels the softmax of feature propagation runs: as many `consecutive` ones as
            there are tasks (the public code), or the same channel of all `tasks` (what the paper says).
        initial_weight: Weight of the losses on the predictions of each scale.
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: An option of unknown value or out of range, or a backbone that does not give four maps.
    """

    method: ClassVar[str] = "mti_net"

    def __init__(
        self,
        preset: Literal["paper", "small", "tiny"] = "paper",
        widths: list[int] | None = None,
        attention_groups: AttentionGroups = "consecutive",
        initial_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        check_choice("preset", preset, tuple(PRESETS))
        check_choice("attention_groups", attention_groups, ("consecutive", "tasks"))
        if not 0 <= initial_weight < float("inf"):
            raise ConfigError(f"initial_weight is {initial_weight}", "give a number of at least 0.")
        super().__init__(**kwargs)
        self.preliminary_weight = initial_weight

    def build_network(self) -> nn.Module:
        """The network of `preset` on the chosen backbone."""
        h = self.hparams
        backbone = self.build_backbone()
        limit = PRESETS[h["preset"]]
        widths = h["widths"] or [c if limit is None else min(c, limit) for c in backbone.channels]
        outputs = {name: task.num_outputs for name, task in self.tasks.items()}
        return MTINetNetwork(backbone, outputs, widths, h["attention_groups"])

    def figures(self, batch: Batch, outputs: Outputs) -> dict[str, ArrayAny]:
        """`refined`: the features that the batch's first image is predicted from, tasks in the model's order.

        Distilled at each scale and fused: what BridgeNet's Figure 9 sets beside its own. For networks in evaluation
        mode.
        """
        # Not kept by the network: at a quarter of the image's size and as wide as all scales together they are large.
        assert isinstance(self.network, MTINetNetwork)
        scales = outputs.features["distilled"]
        fused = [fusion([x[name][:1] for x in scales]) for name, fusion in self.network.fusion.items()]
        return {"refined": draw_tasks(torch.cat(fused, dim=1)[0], len(fused))}
