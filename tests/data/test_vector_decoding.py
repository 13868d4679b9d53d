"""The compiled decoder of normals beside the same in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from mtdense.data.vector_decoding import decode_vectors


def plain(stored, ignored, axes):
    vectors = stored.astype(np.float64)
    if stored.dtype.kind in "iu":
        vectors = 2 * vectors / (65535 if stored.dtype.itemsize > 1 else 255) - 1
    vectors[ignored | ~stored.any(axis=-1) | ~np.isfinite(vectors).all(axis=-1)] = 0
    x, y, z = np.moveaxis(vectors * vectors, -1, 0)
    length = np.sqrt((x + y) + z)[..., None]
    there = length > 0.5
    off = there & (np.abs(length - 1) > 0.2)
    camera = np.zeros_like(vectors)
    for channel, (axis, sign) in enumerate(axes):
        camera[..., axis] = sign * vectors[..., channel]
    label = np.where(there & ~off, camera / np.where(there, length, 1), 0)
    return label.astype(np.float32), there.sum(), off.sum(), (label[..., 2] > 0).sum()


def stored_as(kind: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(20, 30, 3))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors *= 1 + 0.15 * rng.normal(size=(20, 30, 1))
    vectors[:3] = 0
    if kind == "uint8":
        return np.clip(np.rint((vectors + 1) * 127.5), 0, 255).astype(np.uint8) * (vectors != 0)
    if kind == "uint16":
        return np.clip(np.rint((vectors + 1) * 32767.5), 0, 65535).astype(np.uint16)
    found = vectors.astype(kind)
    found[5, 6, 1], found[7, 8, 0] = np.nan, np.inf
    return found


@pytest.mark.parametrize(
    "axes", [[(0, 1.0), (1, 1.0), (2, 1.0)], [(0, -1.0), (2, 1.0), (1, -1.0)], [(2, -1.0), (0, 1.0), (1, 1.0)]]
)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("some_ignored", [False, True])
def test_same_bits_as_numpy(kind, axes, some_ignored):
    stored = stored_as(kind)
    ignored = np.zeros(stored.shape[:2], dtype=np.bool_)
    ignored[:, 4:7] = some_ignored
    found = decode_vectors(stored, ignored if some_ignored else None, axes)
    label, there, off, away = plain(stored, ignored, axes)
    assert found.vectors.dtype == np.float32
    assert found.vectors.tobytes() == label.tobytes()
    assert (found.there, found.off, found.away) == (there, off, away)
    assert found.off > 0 and 0 < found.away < there - off, "the example has all kinds of vectors"


def test_any_layout_in_memory():
    stored = stored_as("uint8")
    axes = [(0, 1.0), (1, 1.0), (2, 1.0)]
    for other in (np.asfortranarray(stored), np.concatenate([stored, stored], axis=-1)[..., :3]):
        assert (
            decode_vectors(other, None, axes).vectors.tobytes() == decode_vectors(stored, None, axes).vectors.tobytes()
        )
