"""What Lightning says that a user can do nothing about."""

from __future__ import annotations

import logging
import warnings

__all__ = ["quiet"]


def quiet() -> None:
    """Silences what a user can do nothing about: advertisements, and deprecations inside Lightning."""
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    # Ours render, decode and augment little per image, and the demo has two cores.
    warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=r".*smaller than the logging interval.*")
    # Said of data without validation images, whose configuration said so.
    warnings.filterwarnings("ignore", message=r".*Total length of `list` across ranks is zero.*")
    tips = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    if not any(isinstance(f, _NoTips) for f in tips.filters):
        tips.addFilter(_NoTips())


class _NoTips(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "litlogger" not in record.getMessage() and "litmodels" not in record.getMessage()
