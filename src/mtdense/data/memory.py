"""Memory of worker processes."""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_ARRAY = 32 << 20
_KEPT = 512 << 20


def keep_freed_memory() -> bool:
    """Keeps freed arrays of up to 32 MiB in this process for the next ones, up to 512 MiB in all.

    Left alone, the C library gives arrays of some megabytes back to the system and fetches them anew for every image;
    making a sample can then take half as long again. Results do not change.

    Returns:
        Whether the C library took it (glibc does); elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_ARRAY) and mallopt(_TRIM_THRESHOLD, _KEPT))
