"""Lists of images, one id a line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from mtdense.core.errors import DataError
from mtdense.data.io import read_bytes
from mtdense.data.location import Location
from mtdense.data.pascal.facts import PUBLISHED, TEST_NEW_IMAGES, TEST_NEW_SHA256, TEST_NEW_WHERE

__all__ = ["ids_checksum", "read_list", "read_test_new"]


def read_list(path: Location, where: str = PUBLISHED.where) -> dict[str, int]:
    """Reads a list: {id: number of its line}, in order.

    Args:
        path: The list.
        where: Where people get it, for the error.

    Raises:
        DataError: Missing, unreadable, empty, or an image is named twice.
    """
    try:
        lines = read_bytes(path).decode("utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"the list {path} is missing", f"Copy it from the archive. {where}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"the list {path} cannot be read ({error})", f"Copy it again. {where}") from error
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        image_id = line.strip()
        if image_id in found:
            raise DataError(f"{path} names {image_id!r} twice, in lines {found[image_id]} and {number}", "Keep one.")
        if image_id:
            found[image_id] = number
    if not found:
        raise DataError(f"the list {path} is empty", f"Copy it again. {where}")
    return found


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
            f"{path} names {len(ids)} images and is not the published list of {TEST_NEW_IMAGES}",
            f"Copy it again, or set `edge_images: all`. {TEST_NEW_WHERE}",
        )
    return frozenset(ids)
