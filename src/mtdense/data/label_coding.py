"""From label files as people store them to the suite's coding."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.vector_decoding import decode_vectors
from mtdense.tasks.base import ArrayAny, Task
from mtdense.tasks.class_map import IGNORE

__all__ = ["LabelCoding", "edges_from_semseg", "parse_axes"]


@dataclass(frozen=True)
class LabelCoding:
    """How the label files of a folder are coded. A task says by `Task.stored_as` which kind its files are of.

    Args:
        ignore_values: {task: stored values of pixels that count for nothing}. Class maps ignore 255 in any case; of
            vector maps a pixel is ignored where all channels have the value.
        label_offset: {task: number subtracted from stored class ids}, after ignored values were found. NYUD's "0 is
            void, 1 to 40 are classes" is an offset of 1 with 0 ignored.
        positive_above: {task: stored value above which a pixel of a binary map (saliency, edges) is positive}. Without
            an entry: 127 for pictures and whole numbers, 0.5 for floating point.
        depth_scale: Of tasks stored as values: stored units per metre (millimetres: 1000), or per unit of disparity.
            None: files are floating point and in that unit.
        depth_invalid_values: Of these: stored values without depth. Values that are not finite have none in any case.
        normals_axes: Which camera axis (x right, y down, z forward) each stored channel holds, with its sign: "+x+z-y"
            says that the second channel is +z and the third -y.

    Raises:
        ConfigError: An option makes no sense.
    """

    ignore_values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    label_offset: Mapping[str, int] = field(default_factory=dict)
    positive_above: Mapping[str, float] = field(default_factory=dict)
    depth_scale: float | None = None
    depth_invalid_values: Sequence[float] = (0.0,)
    normals_axes: str = "+x+y+z"

    def __post_init__(self) -> None:
        parse_axes(self.normals_axes)
        if self.depth_scale is not None and not self.depth_scale > 0:
            raise ConfigError(f"depth_scale is {self.depth_scale}", "Give stored units per metre, for example 1000.")

    def decode(self, task: Task, stored: ArrayAny, source: str) -> ArrayAny:
        """Stored values to a checked label.

        Args:
            task: The label's task.
            stored: As read by `read_map`.
            source: File, for errors.

        Raises:
            DataError: Wrong shape or values; names the file.
        """
        label = _DECODERS[task.stored_as](self, task, stored, source)
        offset = self.label_offset.get(task.name, 0)
        return task.check_label(label, f"{source} (stored ids less {offset})" if offset else source)

    def _ignored(self, task: Task, stored: ArrayAny) -> npt.NDArray[np.bool_]:
        values = self.ignore_values.get(task.name, ())
        if not values:
            return np.zeros(stored.shape[:2], dtype=np.bool_)
        ignored = np.isin(stored, np.asarray(list(values)))
        return np.asarray(ignored.all(axis=-1)) if stored.ndim == 3 else ignored

    def _decode_as_is(self, task: Task, stored: ArrayAny, source: str) -> ArrayAny:
        label = stored.astype(task.label_dtype)
        label[self._ignored(task, stored)] = task.invalid
        return label

    def _decode_classes(self, task: Task, stored: ArrayAny, source: str) -> ArrayAny:
        stored = _one_channel(stored, source)
        ignored = self._ignored(task, stored) | (stored == IGNORE)
        offset, invalid = self.label_offset.get(task.name, 0), int(task.invalid)
        if stored.dtype == np.uint8 and isinstance(offset, int) and abs(offset) < 30_000:  # no need of 64 bits
            return np.where(ignored, np.int16(invalid), stored.astype(np.int16) - np.int16(offset))
        wide = stored.astype(np.float64) if stored.dtype.kind == "f" else stored.astype(np.int64)
        return np.where(ignored, invalid, wide - offset)

    def _decode_binary(self, task: Task, stored: ArrayAny, source: str) -> ArrayAny:
        stored = _one_channel(stored, source)
        whole = stored.dtype.kind in "iu"
        threshold = self.positive_above.get(task.name)
        if threshold is None:
            threshold = 127.0 if whole else 0.5
            if whole and stored.max(initial=0) == 1:
                raise DataError(
                    f"{source}: a {task.name} map of zeros and ones, where values above 127 would be positive",
                    f"Set `positive_above: {{{task.name}: 0}}`, or store 0 and 255.",
                )
        if whole and math.isfinite(threshold):  # whole numbers above it are above its whole part; no floats are made
            threshold = math.floor(threshold)
        label = (stored > threshold).astype(task.label_dtype)
        if self.ignore_values.get(task.name):
            label[self._ignored(task, stored)] = task.invalid
        return label

    def _decode_values(self, task: Task, stored: ArrayAny, source: str) -> ArrayAny:
        stored = _one_channel(stored, source)
        if self.depth_scale is None and stored.dtype.kind != "f":
            raise DataError(
                f"{source} holds whole numbers ({stored.dtype}), whose unit is not known",
                "Set `depth_scale` to the stored units per metre: 1000 for millimetres.",
            )
        invalid = self._ignored(task, stored) | np.isin(stored, np.asarray(list(self.depth_invalid_values)))
        values = stored.astype(np.float64)
        invalid |= ~np.isfinite(values)
        return np.where(invalid, task.invalid, np.where(invalid, 0.0, values) / (self.depth_scale or 1.0))

    def _decode_vectors(self, task: Task, stored: ArrayAny, source: str) -> ArrayAny:
        if stored.ndim != 3 or stored.shape[-1] not in (3, 4):
            raise DataError(f"{source}: {task.name} have shape {stored.shape}", "Store three channels per pixel.")
        stored = stored[..., :3]
        ignored = self._ignored(task, stored) if self.ignore_values.get(task.name) else None
        found = decode_vectors(stored, ignored, parse_axes(self.normals_axes))
        if found.off > 0.1 * max(found.there, 1):
            raise DataError(
                f"{source}: {found.off / found.there:.0%} of the {task.name} are no unit vectors",
                "Store components in [-1, 1], or pictures with value = (component + 1) / 2 * 255.",
            )
        # The strays that remain are compression artefacts at the border of regions without normals.
        valid = found.there - found.off
        if valid and found.away / valid > 0.9:
            raise DataError(
                f"{source}: nearly all {task.name} point away from the camera (read as {self.normals_axes!r})",
                "Set `normals_axes` to the camera axis of each channel; z points forward, so visible surfaces have -z.",
            )
        return found.vectors


_DECODERS: dict[str, Callable[[LabelCoding, Task, ArrayAny, str], ArrayAny]] = {
    "classes": LabelCoding._decode_classes,
    "binary": LabelCoding._decode_binary,
    "vectors": LabelCoding._decode_vectors,
    "values": LabelCoding._decode_values,
    "as_is": LabelCoding._decode_as_is,
}


def parse_axes(text: str) -> list[tuple[int, float]]:
    """Reads a `normals_axes` text: [(camera axis, sign)] by stored channel.

    Raises:
        ConfigError: Not three signed axes, each axis once.
    """
    match = re.fullmatch(r"([+-][xyz])([+-][xyz])([+-][xyz])", text)
    axes = [] if match is None else [("xyz".index(part[1]), 1.0 if part[0] == "+" else -1.0) for part in match.groups()]
    if len({axis for axis, _ in axes}) != 3:
        raise ConfigError(f"normals_axes {text!r} is no choice of axes", 'Give a sign and an axis each, like "+x+z-y".')
    return axes


def _one_channel(stored: ArrayAny, source: str) -> ArrayAny:
    """A map (H, W); grey pictures stored with several equal channels, or with alpha, count as such."""
    if stored.ndim == 2:
        return stored
    if stored.shape[-1] == 2:
        return stored[..., 0]
    if stored.shape[-1] in (3, 4):
        first = stored[..., 0]
        if (stored[..., 1] == first).all() and (stored[..., 2] == first).all():
            return first
    raise DataError(
        f"{source} has shape {stored.shape}: colours, not one value per pixel",
        "Store class ids or values in one channel (grey or palette picture, or .npy).",
    )


def edges_from_semseg(label: npt.NDArray[np.int64], ignore: int = IGNORE) -> npt.NDArray[np.float32]:
    """Class borders: 1 where the class differs from the right or the lower neighbour's.

    Pixels that are ignored themselves, or whose right or lower neighbour is, become 255: no border is known there.

    Args:
        label: (H, W) class ids.
        ignore: Id of ignored pixels.

    Returns:
        (H, W) float32 of 0, 1 and 255.
    """
    padded = np.pad(label, ((0, 1), (0, 1)), mode="edge")
    right, lower = padded[:-1, 1:], padded[1:, :-1]
    edges = np.asarray((label != right) | (label != lower), dtype=np.float32)
    edges[(label == ignore) | (right == ignore) | (lower == ignore)] = IGNORE
    return edges
