"""What the values of foreign files mean, for scoring: predictions and targets of every task to one coding.

Directions and offsets that do not change a score (the axes of normals, for one) are not asked for, unlike where files
are trained on; see `mtdense.data.label_coding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import DataError
from mtdense.tasks.base import ArrayAny
from mtdense.tasks.checks import check_class_ids
from mtdense.tasks.class_map import IGNORE

__all__ = [
    "binary_map",
    "check_size",
    "class_target",
    "one_channel",
    "predicted_classes",
    "strength",
    "values",
    "vectors",
]

Double = npt.NDArray[np.float64]

# Files whose channels have no meaning of their own; all others are pictures.
_ARRAYS = (".npy", ".mat")


def check_size(pred: ArrayAny, pred_path: Path, target: ArrayAny, target_path: Path) -> None:
    """Checks that a prediction has the height and width of its target.

    Raises:
        DataError: It has not.
    """
    if pred.shape[:2] != target.shape[:2]:
        turned = pred.shape[:2] == target.shape[1::-1]
        raise DataError(
            f"{pred_path} has {pred.shape[0]}x{pred.shape[1]} pixels, its target {target_path} "
            f"{target.shape[0]}x{target.shape[1]}",
            "Turn the prediction by 90 degrees." if turned else "Cut off the padding and resize to the original size.",
        )


def one_channel(stored: ArrayAny, path: Path) -> ArrayAny:
    """(H, W) of a map, or of a grey picture stored with equal channels or with alpha.

    Raises:
        DataError: A picture of colours, or an array of several channels.
    """
    if stored.ndim == 2:
        return stored
    if path.suffix.lower() in _ARRAYS:
        raise DataError(
            f"{path} has shape {stored.shape}: {stored.shape[-1]} channels, not one value per pixel",
            "Store an array (H, W): the one channel to score, or the class ids that `argmax` gives.",
        )
    colours = stored[..., :-1] if stored.shape[-1] in (2, 4) else stored
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
    raise DataError(
        f"{path} has shape {stored.shape}: colours, not one value per pixel",
        "Store one channel: a grey or palette picture, or an array (H, W).",
    )


def strength(stored: ArrayAny, path: Path) -> ArrayAny:
    """Probabilities, of edges or of salient pixels: uint8 in 0..255 as it is, all else as float32 in [0, 1].

    16-bit pictures span 0..65535.

    Raises:
        DataError: Other values or types.
    """
    stored = one_channel(stored, path)
    if stored.dtype == np.uint8:
        return stored
    if stored.dtype == np.bool_:
        return stored.astype(np.float32)
    # Depending on its version, Pillow reads 16-bit pictures as uint16 or as int32.
    if stored.dtype == np.uint16 or (stored.dtype == np.int32 and path.suffix.lower() == ".png"):
        return (stored / 65535).astype(np.float32)
    if stored.dtype.kind == "f":
        low, high = float(stored.min()), float(stored.max())
        if low >= 0 and high <= 1:  # NaN fails both
            return stored.astype(np.float32)
        raise DataError(
            f"{path} has values from {low:g} to {high:g}, outside [0, 1]", "Store probabilities: apply the sigmoid."
        )
    raise DataError(f"{path} has data type {stored.dtype}", "Store uint8, uint16, or floats in [0, 1].")


def binary_map(
    stored: ArrayAny, path: Path, positive_above: float | None = None, ignored: Sequence[float] = ()
) -> npt.NDArray[np.int64]:
    """0, 1 and 255 (ignored) of a target of two classes.

    Args:
        stored: The map.
        path: Its file.
        positive_above: Stored value above which a pixel is positive. None: maps of zeros and ones are taken as they
            are, others above 127 (whole numbers) or 0.5 (floating point).
        ignored: Stored values of pixels that count for nothing.

    Raises:
        DataError: Not finite, or ones and larger values in one map without `positive_above`.
    """
    stored = one_channel(stored, path)
    skip = np.isin(stored, np.asarray(list(ignored)))
    counted = stored[~skip]
    if counted.dtype.kind == "f" and not np.isfinite(counted).all():
        raise DataError(
            f"{path} has values that are not finite", "Mark them by a number and name it by --ignore-index."
        )
    if positive_above is None:
        highest = float(counted.max(initial=0))
        positive_above = 0.5 if stored.dtype.kind in "bf" or highest <= 1 else 127.0
        if positive_above > 1 and (counted == 1).any():
            raise DataError(
                f"{path} holds both 1 and {highest:g}: which of them is positive cannot be known",
                f"Give --positive-above 0, or --ignore-index {highest:g}.",
            )
    label = (stored > positive_above).astype(np.int64)
    label[skip] = IGNORE
    return label


def class_target(
    stored: ArrayAny, path: Path, task: str, num_classes: int, ignored: Sequence[float] = (IGNORE,), offset: int = 0
) -> npt.NDArray[np.int64]:
    """Class ids and 255 (ignored) of a target.

    Args:
        stored: The map.
        path: Its file.
        task: Name of the task, for errors.
        num_classes: Number of classes.
        ignored: Stored values of pixels that count for nothing.
        offset: Number subtracted from stored ids: 1 where 0 is void and 1 the first class.

    Raises:
        DataError: Ids out of range.
    """
    stored = one_channel(stored, path)
    wide = stored.astype(np.float64 if stored.dtype.kind == "f" else np.int64)
    ids = np.where(np.isin(stored, np.asarray(list(ignored))), IGNORE, wide - offset)
    source = f"{path} (stored ids less {offset})" if offset else str(path)
    mend = "Correct --num-classes or --label-offset, or name the value of ignored pixels by --ignore-index."
    return np.asarray(check_class_ids(ids, task, source, num_classes, IGNORE, mend))


def predicted_classes(
    stored: ArrayAny, path: Path, num_classes: int, valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Class ids of a prediction, checked where they count.

    Raises:
        DataError: Fractions, or ids out of range; names them.
    """
    stored = one_channel(stored, path)
    counted = stored[valid]
    wrong = ~((counted >= 0) & (counted < num_classes))
    if stored.dtype.kind == "f":
        wrong |= counted != np.floor(counted)
    if wrong.any():
        raise DataError(
            f"{path} predicts class {counted[wrong][0]!s} ({int(wrong.sum())} px), but there are {num_classes} classes "
            f"(0..{num_classes - 1})",
            "Correct --num-classes, or write the ids that the targets have, less --label-offset.",
        )
    return np.where(valid, stored, 0).astype(np.int64)


def values(stored: ArrayAny, path: Path, unit_scale: float | None = None) -> Double:
    """Depth in its unit; NaN stays.

    Args:
        stored: The map.
        path: Its file.
        unit_scale: Stored units per metre of files of whole numbers; floating point is in metres already.

    Raises:
        DataError: Whole numbers without a scale.
    """
    stored = one_channel(stored, path)
    if stored.dtype.kind == "f":
        return stored.astype(np.float64)
    if unit_scale is None:
        raise DataError(
            f"{path} holds whole numbers ({stored.dtype}), whose unit is not known",
            "Give --unit-scale, the stored units per metre: 1000 for millimetres.",
        )
    return stored.astype(np.float64) / unit_scale


def vectors(stored: ArrayAny, path: Path) -> npt.NDArray[np.float32]:
    """Normals (H, W, 3); (0, 0, 0) where there is none.

    Pictures hold 255 * (component + 1) / 2 (16 bits: 65535), arrays components. Mid-grey, zeros and NaN mean "none".

    Raises:
        DataError: Not three channels, or lengths that are no unit vectors'.
    """
    # A picture may have alpha.
    if stored.ndim != 3 or stored.shape[-1] not in ((3,) if path.suffix.lower() in _ARRAYS else (3, 4)):
        raise DataError(f"{path} has shape {stored.shape}, not (H, W, 3)", "Store three channels per pixel.")
    stored = stored[..., :3]
    there = stored.any(axis=-1) & np.isfinite(stored).all(axis=-1)
    decoded = stored.astype(np.float64)
    if stored.dtype.kind in "iu":
        decoded = 2 * decoded / (65535 if stored.dtype.itemsize > 1 else 255) - 1
    decoded[~there] = 0
    length = np.linalg.norm(decoded, axis=-1)
    there &= length > 0.5
    if there.any() and not 0.8 < float(np.median(length[there])) < 1.2:
        raise DataError(
            f"{path}: normals must be unit vectors, but have a length of {float(np.median(length[there])):.3g} in the "
            "median",
            "Store components in [-1, 1], or pictures with value = (component + 1) / 2 * 255.",
        )
    decoded[~there] = 0
    return decoded.astype(np.float32)
