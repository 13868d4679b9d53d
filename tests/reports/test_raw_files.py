"""Values that survive a 16-bit file, read back by the suite's own folder reader."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.io import read_map
from mtdense.data.label_coding import LabelCoding
from mtdense.reports.raw_files import png_coding, write_raw
from mtdense.tasks import Task, build_tasks

TASKS = build_tasks({"semseg": {"num_classes": 5}, "depth": {}, "normals": {}, "saliency": {}})


def test_16_bit_files_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coding = LabelCoding(depth_scale=1000, depth_invalid_values=(0,), positive_above={"saliency": 0.5 * 65535})
    vectors = rng.normal(size=(6, 7, 3)).astype(np.float32)
    vectors[..., 2] = -abs(vectors[..., 2]) - 1
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    values = {
        "semseg": rng.integers(0, 5, (6, 7)),
        "depth": np.where(rng.random((6, 7)) < 0.2, -1, rng.random((6, 7)) * 60).astype(np.float32),
        "saliency": rng.random((6, 7)).astype(np.float32),
    }
    for name, array in values.items():
        path = write_raw(TASKS[name], array, tmp_path / name, "png16", 1000)
        assert path == tmp_path / f"{name}_raw.png"
        back = coding.decode(TASKS[name], read_map(path), str(path))
        wanted = array > 0.5 if name == "saliency" else array
        np.testing.assert_allclose(back, wanted, atol=5.1e-4 if name == "depth" else 0)
    path = write_raw(TASKS["normals"], vectors, tmp_path / "normals", "png16", 1000)
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    np.testing.assert_allclose(stored[..., ::-1] / 32767.5 - 1, vectors, atol=2e-5)


def test_what_16_bits_do_not_hold(tmp_path: Path) -> None:
    far = np.full((2, 2), 80, np.float32)
    with pytest.raises(DataError, match=r"(?s)reaches 80.*--png_scale 819"):
        write_raw(TASKS["depth"], far, tmp_path / "far", "png16", 1000)
    assert write_raw(TASKS["depth"], far, tmp_path / "far", "png16", 256) is not None
    assert write_raw(TASKS["depth"], far, tmp_path / "far", "none", 256) is None

    class Odd:
        name, stored_as = "odd", "as_is"

    odd: Task = Odd()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="odd has no form"):
        png_coding(odd, 1000)
