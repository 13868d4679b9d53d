"""The door to numba for kernels of one file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["njit"]

F = TypeVar("F", bound=Callable[..., Any])


def njit(function: F) -> F:
    """Compiles `function` on its first call, to run without the GIL, and keeps the result on disk where it can.

    A kernel may call only kernels of its own file: numba sees an edit of that file and no other. No fastmath: the
    results must not depend on the processor.
    """
    try:
        compiled: Any = numba.njit(cache=True, error_model="numpy", nogil=True)(function)
    except RuntimeError:  # no folder to write to: compile afresh in each process
        compiled = numba.njit(error_model="numpy", nogil=True)(function)
    return cast(F, compiled)
