"""Typed doors to numba."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.extending import overload, register_jitable

__all__ = ["jitable", "njit", "where"]

F = TypeVar("F", bound=Callable[..., Any])


def jitable(function: F) -> F:
    """Lets compiled code call `function`, which stays an ordinary function for everybody else."""
    return register_jitable(error_model="numpy")(function)


@cache
def _fingerprint() -> str:
    """Checksum of all source that is compiled here."""
    folder = Path(__file__).parent
    files = sorted(folder.glob("*_numba.py")) + [folder / name for name in ("jit.py", "pictures.py", "textures.py")]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def njit(function: F) -> F:
    """Compiles `function` on its first call and keeps the result on disk where that is possible and safe.

    No fastmath: the compiled renderer must agree with the NumPy one.
    """
    try:
        compiled: Any = numba.njit(cache=True, error_model="numpy", nogil=True)(function)
        # numba compares only the file that a function stands in; an edit of what it calls must count, too.
        store = compiled._cache._cache_file
        store._source_stamp = (store._source_stamp, _fingerprint())
    except (AttributeError, RuntimeError):  # another numba, or no folder to write to: compile afresh each time
        compiled = numba.njit(error_model="numpy", nogil=True)(function)
    return cast(F, compiled)


def where(condition: Any, yes: Any, no: Any) -> Any:
    """`np.where`; in compiled code, where all three are single values, a plain choice between floats."""
    return np.where(condition, yes, no)


@overload(where, strict=False)
def _where_compiled(condition: Any, yes: Any, no: Any) -> Callable[..., float]:
    # numba's own np.where makes an array of a single value
    return lambda condition, yes, no: float(yes) if condition else float(no)
