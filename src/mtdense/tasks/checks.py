"""Checks of specifications and labels that several tasks share."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from mtdense.core.errors import ConfigError, DataError
from mtdense.tasks.base import ArrayAny

__all__ = ["check_class_ids", "check_number", "check_palette", "check_shape", "check_strings", "check_whole_number"]


def check_whole_number(value: Any, option: str, low: int, high: int) -> int:
    """A whole number in low..high.

    Raises:
        ConfigError: It is anything else (bool included).
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ConfigError(f"{option} is {value!r}", f"Give a whole number in {low}..{high}.")
    return int(value)


def check_number(value: Any, option: str, low: float, high: float, mend: str) -> float:
    """A finite number in low..high.

    Raises:
        ConfigError: It is anything else (bool included).
    """
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or not low <= value <= high:
        raise ConfigError(f"{option} is {value!r}", mend)
    return float(value)


def check_strings(value: Any, option: str, length: int) -> list[str]:
    """A list of `length` strings.

    Raises:
        ConfigError: It is anything else.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{option} is {value!r}", "Give a list of strings.")
    if len(value) != length:
        raise ConfigError(
            f"{option} has {len(value)} names for {length} classes", "Give one name per class, or mend `num_classes`."
        )
    return list(value)


def check_palette(value: Any, option: str, length: int) -> list[list[int]]:
    """A list of `length` colours, each three whole numbers in 0..255.

    Raises:
        ConfigError: It is anything else.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != length:
        raise ConfigError(
            f"{option} does not hold {length} colours: {value!r}", "Give one [red, green, blue] per class."
        )
    for colour in value:
        if isinstance(colour, str) or not isinstance(colour, Sequence) or len(colour) != 3:
            raise ConfigError(f"{option} holds {colour!r}", "Give each colour as [red, green, blue].")
    return [[check_whole_number(part, option, 0, 255) for part in colour] for colour in value]


def check_shape(label: ArrayAny, task: str, source: str, channels: int = 1) -> None:
    """Raises unless the label is a numeric (H, W) map, or (H, W, channels) for vector maps.

    Raises:
        DataError: Wrong shape or not numbers; names `source`.
    """
    fits = label.ndim == 2 if channels == 1 else label.ndim == 3 and label.shape[2] == channels
    if not fits or 0 in label.shape:
        wanted = "(H, W)" if channels == 1 else f"(H, W, {channels})"
        raise DataError(
            f"{source}: a {task} label must have shape {wanted}, not {label.shape}",
            "Store one value per pixel." if channels == 1 else "Store one vector per pixel, components last.",
        )
    if label.dtype.kind not in "buif":
        raise DataError(f"{source}: a {task} label must hold numbers, not {label.dtype}", "Store plain numbers.")


def check_class_ids(label: ArrayAny, task: str, source: str, num_classes: int, ignore: int, mend: str) -> ArrayAny:
    """Casts a map of class ids to int64.

    Args:
        label: (H, W) numbers.
        task: Name of the task, for the error.
        source: File or other origin, for the error.
        num_classes: Allowed are 0..num_classes - 1.
        ignore: Allowed besides.
        mend: What the user can do about other values.

    Raises:
        DataError: Wrong shape, fractions, or ids out of range; names `source`, the ids found and those allowed.
    """
    check_shape(label, task, source)
    ids = label
    if label.dtype.kind == "f":
        if not np.isfinite(label).all() or (label != np.round(label)).any():
            odd = label[~np.isfinite(label) | (label != np.round(label))]
            raise DataError(f"{source}: a {task} label must hold whole numbers, not {odd[0]!s}", mend)
        ids = label.astype(np.int64)
    # Compared before the cast, so that huge unsigned values cannot wrap around into the allowed range.
    wrong = (ids != ignore) & ((ids < 0) | (ids >= num_classes))
    if wrong.any():
        found, pixels = np.unique(ids[wrong], return_counts=True)
        raise DataError(
            f"{source}: {_list_values(found, pixels)} in a {num_classes}-class {task} map "
            f"(allowed: 0..{num_classes - 1}, and {ignore} for pixels to ignore)",
            mend,
        )
    return ids.astype(np.int64)


def _list_values(found: ArrayAny, pixels: Collection[int], most: int = 5) -> str:
    listed = [f"{value} ({count} px)" for value, count in zip(found[:most], list(pixels)[:most], strict=True)]
    more = f" and {len(found) - most} more values" if len(found) > most else ""
    return f"label {', '.join(listed)}{more}"
