"""The MTL baseline as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from mtdense.backbones import create_backbone
from mtdense.models.base import DenseModule
from mtdense.models.mtl_baseline.network import SharedEncoderNetwork

__all__ = ["PRESETS", "MTLBaseline"]

# Width of neck and decoders. `paper` gives the published parameter counts, `small` is for CPUs and demonstrations.
PRESETS = {"paper": 512, "small": 128, "tiny": 16}


class MTLBaseline(DenseModule):
    """One shared encoder, one decoder per task: what every multi-task method is compared with.

    Args:
        preset: `paper` (width 512), `small` (128) or `tiny` (16, for tests).
        kwargs: See `DenseModule`.
    """

    method: ClassVar[str] = "mtl_baseline"

    def __init__(self, preset: Literal["paper", "small", "tiny"] = "paper", **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def build_network(self) -> nn.Module:
        """The network of `preset` on the chosen backbone."""
        h = self.hparams
        size = h["input_size"]
        backbone = create_backbone(
            h["backbone"], h["pretrained"], h["backbone_checkpoint"], (size[0], size[1]) if size else None
        )
        outputs = {name: task.num_outputs for name, task in self.tasks.items()}
        return SharedEncoderNetwork(backbone, outputs, PRESETS[h["preset"]])
