"""Prototype-based knowledge retrieval from partially annotated data."""

from __future__ import annotations

from mtdense.models.prototype.affinity import TaskPrototype
from mtdense.models.prototype.module import Prototype
from mtdense.models.prototype.network import PrototypeNetwork
from mtdense.models.prototype.options import PRESETS
from mtdense.models.prototype.quantizer import ReconstructionDecoder, VectorQuantizer
from mtdense.models.prototype.retrieval import KnowledgeRetrievalTransformer

__all__ = [
    "PRESETS",
    "KnowledgeRetrievalTransformer",
    "Prototype",
    "PrototypeNetwork",
    "ReconstructionDecoder",
    "TaskPrototype",
    "VectorQuantizer",
]
