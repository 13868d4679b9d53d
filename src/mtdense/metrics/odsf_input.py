"""From what `OdsF.update` is given to one prediction and its targets per image."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtdense.core.errors import DataError

__all__ = ["EdgeMaps", "Maps", "read_images"]

Array = npt.NDArray[Any]
Maps = Tensor | Sequence[Tensor | Array]


@dataclass(frozen=True)
class EdgeMaps:
    """One image, cut to the rectangle of pixels that count.

    Args:
        pred: (H, W) strength of edges, uint8 or floating point; 0 where pixels do not count.
        targets: (H, W) of each annotator, 0 where pixels do not count.
        valid: (H, W) bool, pixels that count; None for all.
    """

    pred: Array
    targets: list[Array]
    valid: npt.NDArray[np.bool_] | None


def read_images(
    preds: Any, target: Any, valid: Any, ignored: int | None, binary: bool, first: int, copy: bool
) -> Iterator[tuple[int, EdgeMaps | None]]:
    """The images of a batch; see `OdsF.update`.

    Args:
        preds: Predictions of the batch.
        target: Targets of the batch.
        valid: Masks of the batch, or None.
        ignored: Value of a target where a pixel does not count; None for none.
        binary: Whether targets are edge maps.
        first: Number of the first image, for messages.
        copy: Give arrays that share no memory with the batch.

    Yields:
        Number of the image, and its maps; None where no pixel counts, or only pixels of one row or column.

    Raises:
        DataError: Shapes do not fit, or values of targets are out of range; the message names the image.
    """
    batch = {"predictions": preds, "targets": target} | ({} if valid is None else {"masks": valid})
    sizes = {name: len(values) for name, values in batch.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(
            f"a batch has {', '.join(f'{size} {name}' for name, size in sizes.items())}", "Give one of each per image."
        )
    # Whole batches leave the accelerator at once.
    preds, target, valid = (
        _to_numpy(values) if isinstance(values, Tensor) else values for values in (preds, target, valid)
    )
    for i, pred in enumerate(preds):
        try:
            image = _read_image(pred, target[i], None if valid is None else valid[i], ignored, binary)
        except DataError as error:
            raise DataError(f"image {first + i}: {error.problem}", error.mend) from error
        if image is not None and copy:
            image = EdgeMaps(image.pred.copy(), [part.copy() for part in image.targets], image.valid)
        yield first + i, image


def _read_image(pred: Any, target: Any, valid: Any, ignored: int | None, binary: bool) -> EdgeMaps | None:
    strength = _to_numpy(pred)
    if strength.ndim != 2:
        raise DataError(
            f"an edge prediction has shape {strength.shape}", "Give (B, H, W) predictions, or a list of (H, W)."
        )
    if strength.dtype == np.bool_:
        strength = strength.astype(np.float32)
    annotators = list(target) if isinstance(target, list | tuple) or target.ndim == 3 else [target]
    maps, masks = [], []
    for annotator in annotators:
        values = _to_numpy(annotator)
        if values.shape != strength.shape:
            raise DataError(
                f"a prediction of shape {strength.shape} cannot be scored against a target of shape {values.shape}",
                "Resize the prediction to the original image; odsF is measured there.",
            )
        values, mask = _checked(values, ignored, binary)
        if mask is None or mask.any():
            maps.append(values)
            masks.append(mask)
    counts = _all_of(strength.shape, valid, masks)
    return _cut(strength, maps, counts) if maps else None


def _checked(values: Array, ignored: int | None, binary: bool) -> tuple[Array, npt.NDArray[np.bool_] | None]:
    """A target as bool or integers, and which pixels count; None for all."""
    if values.dtype == np.bool_:
        return values, None
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # NaN equals nothing
            whole = values.astype(np.int64)
        if not (whole == values).all():
            raise DataError(
                "a target holds values that are no whole numbers", "Give an edge map or a map of class ids."
            )
        values = whole
    mask = None if ignored is None else values != ignored
    if mask is not None and mask.all():
        mask = None
    kept = values if mask is None else values[mask]
    if binary and kept.size and not (kept.min() >= 0 and kept.max() <= 1):
        wrong = kept[(kept < 0) | (kept > 1)][0]
        raise DataError(
            f"an edge map holds {wrong}",
            "Code edges as 1 and other pixels as 0; for the boundaries of a label map, set `target_kind` to 'labels'.",
        )
    if mask is not None and mask.any() and not kept.any() and not mask[_box(mask)].all():
        # Padding lies around the other pixels; these lie among them, as edges do in a PNG of 0 and 255.
        # No more than a warning: a photograph of a plain wall has no edge either. Without the number of the image, so
        # that it is given once.
        warnings.warn(
            f"a target holds 0 and {ignored} only, and {ignored} stands for pixels that do not count; give "
            f"`target > 0` if {ignored} means edge",
            UserWarning,
            stacklevel=2,
        )
    return values, mask


def _all_of(
    shape: tuple[int, ...], valid: Any, masks: Sequence[npt.NDArray[np.bool_] | None]
) -> npt.NDArray[np.bool_] | None:
    """Pixels that count by the caller's mask and every annotator; None for all."""
    if valid is not None:
        given = _to_numpy(valid)
        if given.dtype != np.bool_ or given.shape != shape:
            raise DataError(
                f"a validity mask holds {given.dtype} values in shape {given.shape}, the image has shape {shape}",
                "Give one bool per pixel.",
            )
        masks = [*masks, given]
    known = [mask for mask in masks if mask is not None]
    return np.logical_and.reduce(known) if known else None


def _cut(strength: Array, maps: list[Array], counts: npt.NDArray[np.bool_] | None) -> EdgeMaps | None:
    if counts is None:
        return EdgeMaps(strength, maps, None)
    if not counts.any():
        return None
    box = _box(counts)
    strength, maps, counts = strength[box], [values[box] for values in maps], counts[box]
    if min(counts.shape) < 2:
        return None  # neither boundaries nor a direction across them
    if counts.all():
        return EdgeMaps(strength, maps, None)
    return EdgeMaps(np.where(counts, strength, 0), [np.where(counts, values, 0) for values in maps], counts.copy())


def _box(counts: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest rectangle that holds all pixels that count."""
    rows, columns = np.flatnonzero(counts.any(axis=1)), np.flatnonzero(counts.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _to_numpy(values: Any) -> Array:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        if values.dtype in (torch.float16, torch.bfloat16):
            values = values.float()
        values = values.numpy()
    array: Array = np.asarray(values)
    return array
