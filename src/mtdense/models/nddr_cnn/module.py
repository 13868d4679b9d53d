"""NDDR-CNN as a LightningModule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from mtdense.models.cross_stitch import CrossStitch
from mtdense.models.nddr_cnn.network import NDDRLayer

__all__ = ["NDDRCNN"]


class NDDRCNN(CrossStitch):
    """NDDR-CNN (Gao et al., CVPR 2019): tasks mix their features by 1x1 convolutions.

    Options are those of `CrossStitch`; with `separate_encoders` there is a layer behind the stem, too.
    """

    method: ClassVar[str] = "nddr_cnn"
    unit_behind_stem: ClassVar[bool] = True

    def unit(self, tasks: Sequence[str], channels: int) -> nn.Module:
        """What mixes features of this many channels."""
        return NDDRLayer(tasks, channels, *self.initial_weights())
