"""Official files for the tests: of the true shape without content, and damage to existing ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from mtdense.data.nyud.official_file import OFFICIAL_FILE

SIZE = (48, 64)
SHAPES = {
    "images": (1449, 3, 640, 480),
    "depths": (1449, 640, 480),
    "rawDepths": (1449, 640, 480),
    "labels": (1449, 640, 480),
    "instances": (1449, 640, 480),
}
TYPES = {"images": "u1", "depths": "f4", "rawDepths": "f4", "labels": "u2", "instances": "u1"}
FRAME = 3  # the first training frame


def write_genuine(root: Path, **other: Any) -> Path:
    """A file of the true shape, with other (shape, type) for some keys; None leaves a key out."""
    root.mkdir(exist_ok=True)
    with h5py.File(root / OFFICIAL_FILE, "w", userblock_size=512) as file:
        for key in SHAPES:
            described = other.get(key, (SHAPES[key], TYPES[key]))
            if described is not None:
                shape, dtype = described
                file.create_dataset(key, shape, dtype, chunks=(1, *shape[1:]), compression="gzip")
    return root / OFFICIAL_FILE


def wreck(root: Path, key: str, frames: list[int]) -> None:
    """Overwrites the stored bytes of some frames (official numbers) of a key."""
    path = root / OFFICIAL_FILE
    content = bytearray(path.read_bytes())
    with h5py.File(path, "r") as file:
        stored = file[key]
        chunks = [stored.id.read_direct_chunk((frame - 1,) + (0,) * (stored.ndim - 1))[1] for frame in frames]
    for chunk in chunks:
        place = content.find(chunk)
        assert place > 0 and len(chunk) > 100
        content[place : place + len(chunk)] = b"\xff" * len(chunk)
    path.write_bytes(content)
