"""DiffusionMTL: denoising features or predictions of tasks under all tasks' predictions."""

from __future__ import annotations

from mtdense.models.diffusion_mtl.denoiser import Denoiser
from mtdense.models.diffusion_mtl.module import DiffusionMTL
from mtdense.models.diffusion_mtl.network import DiffusionNetwork, NoiseSource
from mtdense.models.diffusion_mtl.schedule import DiffusionSchedule

__all__ = ["Denoiser", "DiffusionMTL", "DiffusionNetwork", "DiffusionSchedule", "NoiseSource"]
