"""BridgeNet: tasks exchange through features that the backbone gathers from all of them."""

from __future__ import annotations

from mtdense.models.bridgenet.bfe import BridgeFeatureExtractor
from mtdense.models.bridgenet.module import BridgeNet
from mtdense.models.bridgenet.network import BridgeNetwork, BridgeStage
from mtdense.models.bridgenet.options import BridgePlan
from mtdense.models.bridgenet.tfr import ConcatRefiner, RefineBlock, TaskFeatureRefiner
from mtdense.models.bridgenet.tpp import TaskPatternPropagation

__all__ = [
    "BridgeFeatureExtractor",
    "BridgeNet",
    "BridgeNetwork",
    "BridgePlan",
    "BridgeStage",
    "ConcatRefiner",
    "RefineBlock",
    "TaskFeatureRefiner",
    "TaskPatternPropagation",
]
