"""Data modules: one file per data set."""

from __future__ import annotations

import mtdense  # noqa: F401 - first: the suite makes a torchvision that does not fit the installed torch harmless

# isort: split

from data_modules.base import DenseDataModule
from data_modules.cityscapes import CityscapesDataModule
from data_modules.cityscapes_3d import Cityscapes3DDataModule
from data_modules.cityscapes_mtan import CityscapesMtanDataModule
from data_modules.folder import FolderDataModule
from data_modules.held_out import HeldOutDataModule
from data_modules.nyud_atrc import NYUDAtrcDataModule
from data_modules.nyud_mtan import NYUDMtanDataModule
from data_modules.nyud_official import NYUDOfficialDataModule
from data_modules.pascal_context import PASCALContextDataModule
from data_modules.procedural import ProceduralDataModule
from data_modules.samplers import EvalSampler, PartialLabelBatchSampler

__all__ = [
    "Cityscapes3DDataModule",
    "CityscapesDataModule",
    "CityscapesMtanDataModule",
    "DenseDataModule",
    "EvalSampler",
    "FolderDataModule",
    "HeldOutDataModule",
    "NYUDAtrcDataModule",
    "NYUDMtanDataModule",
    "NYUDOfficialDataModule",
    "PASCALContextDataModule",
    "PartialLabelBatchSampler",
    "ProceduralDataModule",
]
