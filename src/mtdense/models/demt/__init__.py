"""DeMT, the deformable mixer transformer (AAAI 2023)."""

from __future__ import annotations

from mtdense.models.demt.attention import PlaceAttention
from mtdense.models.demt.mixer import ChannelOffsets, DeformableMixer
from mtdense.models.demt.module import DeMT
from mtdense.models.demt.network import DeMTNetwork, Interaction

__all__ = ["ChannelOffsets", "DeMT", "DeMTNetwork", "DeformableMixer", "Interaction", "PlaceAttention"]
