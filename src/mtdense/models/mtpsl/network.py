"""Any network that gives its encoder's deepest map, with the mapping network beside it."""

from __future__ import annotations

from torch import Tensor, nn

from mtdense.models.layers.segnet import SegNetNetwork
from mtdense.models.mtl_baseline import SharedEncoderNetwork
from mtdense.models.mtpsl.mapper import MappingNetwork
from mtdense.models.outputs import Outputs

__all__ = ["MTPSLNetwork"]


class MTPSLNetwork(nn.Module):
    """The predicting network, and the mapping network that training compares tasks with.

    Args:
        main: What predicts.
        mapper: The mapping network; its output has the channels of the deepest map of `main`.
    """

    def __init__(self, main: SharedEncoderNetwork | SegNetNetwork, mapper: MappingNetwork) -> None:
        super().__init__()
        self.main = main
        self.mapper = mapper

    def forward(self, image: Tensor) -> Outputs:
        """Normalised images (B, 3, H, W) to the logits of `main`; `features["encoder"]` is its deepest map."""
        outputs, deepest = self.main.forward_with_deepest(image)
        outputs.features["encoder"] = deepest
        return outputs
