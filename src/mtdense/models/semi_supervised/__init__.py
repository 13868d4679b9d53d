"""Semi-supervised baseline: pseudo-labels from one view of an image for another."""

from __future__ import annotations

from mtdense.models.semi_supervised.module import SemiSupervised
from mtdense.models.semi_supervised.pseudo_labels import Thresholds, pseudo_labels, pseudo_losses

__all__ = ["SemiSupervised", "Thresholds", "pseudo_labels", "pseudo_losses"]
