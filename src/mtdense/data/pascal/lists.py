"""The list `test_new` of SEISM, and checksums of lists."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from mtdense.core.errors import DataError
from mtdense.core.words import counted
from mtdense.data.location import Location
from mtdense.data.pascal.facts import TEST_NEW_IMAGES, TEST_NEW_SHA256, TEST_NEW_WHERE
from mtdense.data.published import read_list

__all__ = ["ids_checksum", "read_test_new"]


def ids_checksum(ids: Iterable[str]) -> str:
    """SHA-256 of the sorted ids, joined by line feeds."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def read_test_new(path: Location, *, replica: bool) -> frozenset[str]:
    """Reads the list `test_new` of SEISM: the test images on which most papers score edges.

    Args:
        path: The list; it is no part of the archives.
        replica: Whether the data are a replica, whose list is its own; that of genuine data must be the published one.

    Raises:
        DataError: Missing, unreadable, or another list.
    """
    if not path.is_file():
        raise DataError(
            f"`edge_images: test_new` needs the list {path}, which is not there",
            f"Copy it there, name it in `edge_list`, or set `edge_images: all`. {TEST_NEW_WHERE}",
        )
    ids = read_list(path, TEST_NEW_WHERE)
    if not replica and ids_checksum(ids) != TEST_NEW_SHA256:
        raise DataError(
            f"{path} names {counted(len(ids), 'image')} and is not the published list of {TEST_NEW_IMAGES}",
            f"Copy it again, or set `edge_images: all`. {TEST_NEW_WHERE}",
        )
    return frozenset(ids)
