"""Architectures: a folder each, over one shared training and evaluation step."""

from __future__ import annotations

from mtdense.models.base import DenseModule
from mtdense.models.checkpoint import load, read_checkpoint
from mtdense.models.diffusion_mtl import DiffusionMTL
from mtdense.models.mtl_baseline import MTLBaseline
from mtdense.models.mtpsl import MTPSL
from mtdense.models.outputs import Outputs
from mtdense.models.prompted_baseline import PromptedBaseline
from mtdense.models.prototype import Prototype
from mtdense.models.semi_supervised import SemiSupervised
from mtdense.models.single_task import SingleTask
from mtdense.models.tif import TIF

__all__ = [
    "MTPSL",
    "TIF",
    "DenseModule",
    "DiffusionMTL",
    "MTLBaseline",
    "Outputs",
    "PromptedBaseline",
    "Prototype",
    "SemiSupervised",
    "SingleTask",
    "load",
    "read_checkpoint",
]
