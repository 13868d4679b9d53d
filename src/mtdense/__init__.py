"""Multi-task dense prediction from partial labels: architectures, data, metrics and reproduction in one suite."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# albumentations asks a server for newer releases at import unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from mtdense.core import torchvision_guard as torchvision_guard  # before anything that imports torchvision
from mtdense.core.errors import MTDenseError

if TYPE_CHECKING:
    from mtdense.models.checkpoint import load

__all__ = ["MTDenseError", "__version__", "load"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # `load` pulls in Lightning, which a user of the metrics alone need not wait for.
    if name == "load":
        from mtdense.models.checkpoint import load

        return load
    raise AttributeError(f"module 'mtdense' has no attribute '{name}'")
