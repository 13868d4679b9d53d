"""Architectures: a folder each, over one shared training and evaluation step."""

from __future__ import annotations

from mtdense.models.base import DenseModule
from mtdense.models.checkpoint import load, read_checkpoint
from mtdense.models.mtl_baseline import MTLBaseline
from mtdense.models.outputs import Outputs
from mtdense.models.single_task import SingleTask

__all__ = ["DenseModule", "MTLBaseline", "Outputs", "SingleTask", "load", "read_checkpoint"]
