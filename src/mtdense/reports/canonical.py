"""Plain values, one canonical JSON text for them, checksums, and files that are written whole or not at all."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import os
import uuid
from collections.abc import Mapping
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from mtdense.core.errors import ConfigError

__all__ = ["canonical_json", "checksum", "decode_float", "file_checksum", "plain", "write_atomic"]

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def plain(value: Any, where: str = "value") -> Any:
    """Turns configuration and results into what JSON can hold, the same way every time.

    Tuples become lists, sets sorted lists, paths text, NumPy and one-element torch values Python numbers, non-finite
    floats the texts "NaN", "Infinity" and "-Infinity" (JSON has no others; see `decode_float`).

    Args:
        value: Nested mappings, sequences and scalars.
        where: Name of the value, for the error.

    Raises:
        ConfigError: A part has no plain form.
    """
    if value is None or (isinstance(value, bool | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, np.generic) or (isinstance(value, torch.Tensor) and value.numel() == 1):
        return plain(value.item(), where)
    if isinstance(value, Enum):
        return plain(value.value, where)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _name_non_finite(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    return _plain_container(value, where)


def _plain_container(value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return sorted((plain(item, where) for item in value), key=canonical_json)
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), where)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    raise ConfigError(
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which a run record cannot hold",
        "give the configuration as text, numbers, lists and mappings.",
    )


def _name_non_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def decode_float(value: float | str) -> float:
    """Undoes what `plain` does to a float.

    Raises:
        ValueError: A text other than "NaN", "Infinity" or "-Infinity".
    """
    if isinstance(value, str):
        if value not in _NON_FINITE:
            raise ValueError(f"{value!r} is not a number")
        return _NON_FINITE[value]
    return float(value)


def canonical_json(value: Any) -> str:
    """JSON text that depends on the values alone: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def checksum(value: Any) -> str:
    """Sha256 (hexadecimal) of the canonical JSON of a plain value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_checksum(path: Path) -> str:
    """Sha256 (hexadecimal) of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes a file under a temporary name in the same folder and renames it, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
