"""Values of a prediction as arrays, or as 16-bit PNG files that other programs read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from mtdense.core.errors import ConfigError, DataError
from mtdense.reports.prediction_files import compact
from mtdense.tasks import Task
from mtdense.tasks.base import ArrayAny

__all__ = ["RawForm", "png_coding", "write_raw"]

RawForm = Literal["npy", "png16", "none"]

_LEVELS = 65535


def png_coding(task: Task, scale: float) -> dict[str, Any]:
    """How `write_raw` codes a task in PNG files, as plain values for a manifest.

    Raises:
        ConfigError: The task's predictions have no such form.
    """
    codings: dict[str, dict[str, Any]] = {
        "classes": {"holds": "class ids"},
        "binary": {"holds": "probability", "levels_per_one": _LEVELS},
        "vectors": {"holds": "x, y, z as red, green, blue", "zero": _LEVELS / 2, "levels_per_one": _LEVELS / 2},
        "values": {"holds": "values", "levels_per_one": scale, "invalid": 0},
    }
    if task.stored_as not in codings:
        raise ConfigError(f"{task.name} has no form as 16-bit PNG", "write arrays: `--raw npy`.")
    return codings[task.stored_as]


def write_raw(task: Task, values: ArrayAny, stem: Path, form: RawForm, scale: float) -> Path | None:
    """Writes STEM.npy or STEM_raw.png, whose folder exists.

    Args:
        task: The task.
        values: (H, W) or (H, W, 3).
        stem: Path without suffix.
        form: What to write; "none": nothing.
        scale: Of 16-bit files of measured values: levels per unit.

    Returns:
        The file.

    Raises:
        DataError: Values beyond what 16 bits hold.
    """
    if form == "none":
        return None
    if form == "npy":
        path = stem.with_name(f"{stem.name}.npy")
        np.save(path, compact(values), allow_pickle=False)
        return path
    path = stem.with_name(f"{stem.name}_raw.png")
    coding = png_coding(task, scale)
    if task.stored_as == "classes":
        coded = compact(values) if values.max(initial=0) <= 255 else values.astype(np.uint16)
    elif task.stored_as == "vectors":
        coded = np.rint((np.clip(values, -1, 1) + 1) * (_LEVELS / 2)).astype(np.uint16)[..., ::-1]
    else:
        coded = _scaled(task, values, float(coding["levels_per_one"]), path)
    whole, content = cv2.imencode(".png", np.ascontiguousarray(coded))
    if not whole:
        raise DataError(f"{path} cannot be coded as PNG", "write arrays: `--raw npy`.")
    path.write_bytes(content.tobytes())
    return path


def _scaled(task: Task, values: ArrayAny, levels: float, path: Path) -> ArrayAny:
    largest = float(values.max(initial=0)) * levels
    if largest > _LEVELS + 0.5:
        raise DataError(
            f"{path}: {task.name} reaches {largest / levels:.4g}, at {levels:g} levels per unit more than 16 bits hold",
            f"give `--png_scale {math.floor(_LEVELS / (largest / levels))}` or less, or write arrays: `--raw npy`.",
        )
    coded = np.rint(np.where(values >= 0, values, 0) * levels)
    if task.stored_as == "values":
        coded = np.where((values >= 0) & (coded < 1), 1, coded)  # 0 says that there is no value
    return coded.astype(np.uint16)
