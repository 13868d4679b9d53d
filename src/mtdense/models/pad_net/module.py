"""PAD-Net as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models.agreement import check_choice
from mtdense.models.base import DenseModule
from mtdense.models.pad_net.network import PADNetNetwork, SharedMap

__all__ = ["PRESETS", "PADNet"]

# Channels of the task features.
PRESETS = {"paper": 256, "small": 128, "tiny": 16}


class PADNet(DenseModule):
    """PAD-Net (Xu et al., CVPR 2018): every task predicts, is refined by all others, and predicts again.

    The structure is that of V-MTL's survey (Vandenhende et al., TPAMI 2021), from which the tables of BridgeNet have
    it. All tasks of the model are predicted at both places.

    Args:
        preset: `paper` (width 256), `small` (128) or `tiny` (16, for tests).
        shared_map: Decoders read all maps of the backbone, `fused` at the finest of them (HRNet), or its `deepest` one
            (dilated ResNets, ViT).
        map_stride: Input pixels per pixel of the shared map, to which it is resized; null leaves it as it is.
        initial_weight: Weight of the losses on the first predictions.
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: An option of unknown value or out of range.
    """

    method: ClassVar[str] = "pad_net"

    def __init__(
        self,
        preset: Literal["paper", "small", "tiny"] = "paper",
        shared_map: SharedMap = "fused",
        map_stride: int | None = None,
        initial_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        check_choice("preset", preset, tuple(PRESETS))
        check_choice("shared_map", shared_map, ("fused", "deepest"))
        if map_stride is not None and map_stride < 1:
            raise ConfigError(f"map_stride is {map_stride}", "give at least 1, or null.")
        if not 0 <= initial_weight < float("inf"):
            raise ConfigError(f"initial_weight is {initial_weight}", "give a number of at least 0.")
        super().__init__(**kwargs)
        self.preliminary_weight = initial_weight

    def build_network(self) -> nn.Module:
        """The network of `preset` on the chosen backbone."""
        h = self.hparams
        outputs = {name: task.num_outputs for name, task in self.tasks.items()}
        width = PRESETS[h["preset"]]
        return PADNetNetwork(self.build_backbone(), outputs, width, h["shared_map"], h["map_stride"])
