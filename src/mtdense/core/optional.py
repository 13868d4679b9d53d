"""Optional packages: imported where they are needed, with a clear word where they are missing."""

from __future__ import annotations

import importlib
import operator
from importlib import metadata
from pathlib import Path
from types import ModuleType

from lightning_utilities.core.imports import RequirementCache, compare_version

from mtdense.core.errors import MissingDependencyError

__all__ = ["require"]

_DISTRIBUTION = "mtdense"


def _install_command(extra: str) -> str:
    """The pip command that installs `extra` for the mtdense that is running."""
    try:
        metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        # Runs from a checkout that was never installed; a name alone would be looked up in an index.
        checkout = Path(__file__).resolve().parents[3]
        return f'python -m pip install -e "{checkout}[{extra}]"'
    return f'python -m pip install "{_DISTRIBUTION}[{extra}]"'


def require(module: str, extra: str, minimum: str | None = None) -> ModuleType:
    """Import an optional package, or say how to install it.

    Args:
        module: Name of the module, such as ``"matplotlib.pyplot"``.
        extra: Extra of mtdense (see setup.cfg) that brings it.
        minimum: Oldest version of the module's top-level package that will do; None takes any.

    Returns:
        The imported module.

    Raises:
        MissingDependencyError: The module cannot be imported or is too old; the mend is the exact pip command.
    """
    mend = f"run: {_install_command(extra)}"
    if not RequirementCache(module=module):
        raise MissingDependencyError(f"this needs the package {module!r}, which cannot be imported", mend)
    package = module.partition(".")[0]
    if minimum is not None and not compare_version(package, operator.ge, minimum):
        found = getattr(importlib.import_module(package), "__version__", "unknown")
        raise MissingDependencyError(f"this needs {package} {minimum} or newer; installed is {found}", mend)
    return importlib.import_module(module)
