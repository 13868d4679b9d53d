"""Lets torchvision be imported where its compiled extension does not fit the installed PyTorch.

mtdense needs torchvision only because timm imports it; no operator of it is ever called here. The wheel of torchvision
on the public index is built against a CUDA PyTorch. Beside a CPU-only PyTorch its extension ``_C`` cannot be loaded;
torchvision tolerates that, but then registers shape functions for operators that nothing has declared, and
``import torchvision`` ends in "operator torchvision::nms does not exist".

So, before anyone imports torchvision, this module tries the extension itself. Where it loads, nothing else happens.
Where it does not, the two operators that torchvision expects (``nms`` and ``qnms``) are declared without an
implementation: the import succeeds, and calling one of them raises an error that says so.

``import mtdense`` imports this module before everything else.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder

import torch

__all__ = ["GUARD_ACTIVE", "guard_torchvision"]

_NAMESPACE = "torchvision"
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# PyTorch withdraws a declaration when its Library object is collected: keep them for the life of the process.
_kept_alive: list[torch.library.Library] = []


def _missing_operators() -> list[str]:
    """Names of the operators in `_SCHEMAS` that nobody has declared yet."""
    namespace = getattr(torch.ops, _NAMESPACE)
    return [name for name in _SCHEMAS if not hasattr(namespace, name)]


def _extension_loads() -> bool:
    """Load torchvision's compiled extension without importing torchvision; say whether that worked."""
    package = importlib.util.find_spec(_NAMESPACE)
    folders = None if package is None else package.submodule_search_locations
    extension = None if folders is None else PathFinder.find_spec("_C", list(folders))
    if extension is None or extension.origin is None:
        return False
    try:
        torch.ops.load_library(extension.origin)
    except (ImportError, OSError):
        return False
    return True


def guard_torchvision() -> bool:
    """Declare ``torchvision::nms`` and ``torchvision::qnms`` where the compiled extension cannot.

    Does nothing when torchvision is absent, has been imported already, brings a working extension, or when somebody
    else has declared the operators. Calling it again is harmless.

    Returns:
        True where this call declared an operator.
    """
    if _NAMESPACE in sys.modules or importlib.util.find_spec(_NAMESPACE) is None:
        return False
    if not _missing_operators() or _extension_loads():
        return False
    # A fragment, as in torchvision itself: another package's guard may own the namespace.
    library = torch.library.Library(_NAMESPACE, "FRAGMENT")
    missing = _missing_operators()
    for name in missing:
        library.define(_SCHEMAS[name])
    _kept_alive.append(library)
    return bool(missing)


GUARD_ACTIVE: bool = guard_torchvision()
"""Whether torchvision runs without its compiled operators in this process (shown by ``mtdense doctor``)."""
