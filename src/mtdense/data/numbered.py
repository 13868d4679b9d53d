"""Folders of numbered .npy files, 0.npy to n - 1, as MTAN publishes its data sets."""

from __future__ import annotations

from mtdense.core.errors import DataError
from mtdense.data.location import Location

__all__ = ["count_numbered", "numbered_files"]


def numbered_files(folder: Location) -> list[Location]:
    """The .npy files of a folder, in any order; hidden files are passed over."""
    return [path for path in folder.iterdir() if path.suffix == ".npy" and not path.name.startswith(".")]


def count_numbered(folder: Location, published: str) -> int:
    """Number of files, which must be 0.npy, 1.npy and so on.

    Args:
        folder: The folder.
        published: Where people get the data, for the error.

    Raises:
        DataError: There is none, a name is no number, or a number is missing.
    """
    numbers = set()
    for path in numbered_files(folder):
        if not (path.stem.isascii() and path.stem.isdecimal() and str(int(path.stem)) == path.stem):
            raise DataError(f"{path} has no number for a name", "Take it out; files are called 0.npy, 1.npy and so on.")
        numbers.add(int(path.stem))
    if not numbers:
        raise DataError(f"{folder} holds no .npy file", f"Unpack the whole data set there. {published}")
    gap = next((i for i in range(len(numbers)) if i not in numbers), None)
    if gap is not None:
        raise DataError(
            f"{folder} has a gap: there is no {gap}.npy but {max(numbers)}.npy",
            "Copy the missing files; label masks name images by number, so none may be left out.",
        )
    return len(numbers)
