"""The MTL baseline as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models.base import DenseModule
from mtdense.models.layers.segnet import SegNetNetwork, segnet_filters
from mtdense.models.mtl_baseline.network import SharedEncoderNetwork

__all__ = ["PRESETS", "MTLBaseline"]

# Width of neck and decoders. `paper` gives the published parameter counts, `small` is for CPUs and demonstrations.
PRESETS = {"paper": 512, "small": 128, "tiny": 16}


class MTLBaseline(DenseModule):
    """One shared encoder, one decoder per task: what every multi-task method is compared with.

    `backbone: segnet` builds the network of MTAN and MTPSL instead: SegNet from scratch, encoder and decoder shared,
    a head per task. Their images are not normalised: `normalization: weights` says so.

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
        outputs = {name: task.num_outputs for name, task in self.tasks.items()}
        if h["backbone"] == "segnet":
            if h["pretrained"] or h["backbone_checkpoint"] is not None:
                raise ConfigError(
                    "weights for 'segnet', which is trained from scratch",
                    "set `pretrained: false` and leave out `backbone_checkpoint`.",
                )
            return SegNetNetwork(outputs, segnet_filters(PRESETS[h["preset"]]))
        backbone = self.build_backbone()
        return SharedEncoderNetwork(backbone, outputs, PRESETS[h["preset"]])
