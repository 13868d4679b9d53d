from __future__ import annotations

import platform

import numpy as np

from mtdense.data.memory import keep_freed_memory


def test_takes_hold_with_glibc():
    assert keep_freed_memory() is (platform.libc_ver()[0] == "glibc")
    assert np.zeros(10_000_000).sum() == 0, "memory is still to be had"
