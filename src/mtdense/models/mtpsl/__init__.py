"""MTPSL: partial labels, cross-task consistency in spaces of pairs of tasks."""

from __future__ import annotations

from mtdense.models.mtpsl.mapper import MappingNetwork, pair_index
from mtdense.models.mtpsl.module import MTPSL
from mtdense.models.mtpsl.network import MTPSLNetwork

__all__ = ["MTPSL", "MTPSLNetwork", "MappingNetwork", "pair_index"]
