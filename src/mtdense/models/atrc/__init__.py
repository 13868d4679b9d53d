"""ATRC: for each pair of tasks the context that one takes from the other."""

from __future__ import annotations

from mtdense.models.atrc.auxiliary import AuxiliaryForm, auxiliary_form
from mtdense.models.atrc.contexts import GlobalContext, LabelContext, LocalContext
from mtdense.models.atrc.genotype import CONTEXTS, PUBLISHED, Context, Genotype, read_genotype
from mtdense.models.atrc.module import ATRC, PRESETS
from mtdense.models.atrc.network import ATRCNetwork

__all__ = [
    "ATRC",
    "CONTEXTS",
    "PRESETS",
    "PUBLISHED",
    "ATRCNetwork",
    "AuxiliaryForm",
    "Context",
    "Genotype",
    "GlobalContext",
    "LabelContext",
    "LocalContext",
    "auxiliary_form",
    "read_genotype",
]
