"""Architectures: a folder each, over one shared training and evaluation step."""

from __future__ import annotations

from mtdense.models.atrc import ATRC
from mtdense.models.base import DenseModule
from mtdense.models.bridgenet import BridgeNet
from mtdense.models.checkpoint import load, read_checkpoint
from mtdense.models.cross_stitch import CrossStitch
from mtdense.models.demt import DeMT
from mtdense.models.diffusion_mtl import DiffusionMTL
from mtdense.models.invpt import InvPT
from mtdense.models.mq_transformer import MQTransformer
from mtdense.models.mti_net import MTINet
from mtdense.models.mtl_baseline import MTLBaseline
from mtdense.models.mtpsl import MTPSL
from mtdense.models.nddr_cnn import NDDRCNN
from mtdense.models.outputs import Outputs
from mtdense.models.pad_net import PADNet
from mtdense.models.prompt_fusion import PromptFusion
from mtdense.models.prompted_baseline import PromptedBaseline
from mtdense.models.prototype import Prototype
from mtdense.models.semi_supervised import SemiSupervised
from mtdense.models.single_task import SingleTask
from mtdense.models.task_prompter import TaskPrompter
from mtdense.models.tif import TIF
from mtdense.models.tsp_transformer import TSPTransformer

__all__ = [
    "ATRC",
    "MTPSL",
    "NDDRCNN",
    "TIF",
    "BridgeNet",
    "CrossStitch",
    "DeMT",
    "DenseModule",
    "DiffusionMTL",
    "InvPT",
    "MQTransformer",
    "MTINet",
    "MTLBaseline",
    "Outputs",
    "PADNet",
    "PromptFusion",
    "PromptedBaseline",
    "Prototype",
    "SemiSupervised",
    "SingleTask",
    "TSPTransformer",
    "TaskPrompter",
    "load",
    "read_checkpoint",
]
