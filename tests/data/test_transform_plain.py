"""The joint transform beside the same in plain steps: index, mirror, zoom, pad, finish."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mtdense.core.seeds import derive_rng
from mtdense.data.sample import RawImage
from mtdense.data.transform import Geometry, JointTransform
from mtdense.tasks import build_tasks

TASKS = build_tasks(
    {"semseg": {"num_classes": 13}, "human_parts": {}, "saliency": {}, "edges": {}, "depth": {}, "normals": {}}
)


def raw_image() -> RawImage:
    rng = np.random.default_rng(0)
    height, width = 37, 51
    normals = rng.normal(size=(height, width, 3))
    normals[:9, :20] = 0
    labels = {
        "semseg": rng.integers(0, 13, (height, width)),
        "human_parts": rng.integers(0, 3, (height, width)),
        "saliency": rng.integers(0, 2, (height, width)),
        "edges": rng.integers(0, 2, (height, width)).astype(np.float32),
        "depth": np.where(rng.random((height, width)) < 0.2, -1, rng.uniform(1, 9, (height, width))).astype(np.float32),
        "normals": TASKS["normals"].check_label(normals / np.linalg.norm(normals + 1e-9, axis=-1, keepdims=True), "x"),
    }
    return RawImage("a", rng.integers(0, 256, (height, width, 3), dtype=np.uint8), labels)


def plain_target(name: str, label: np.ndarray, geometry: Geometry, zoom: float) -> torch.Tensor:
    task = TASKS[name]
    rows, cols = geometry.indices()
    content = label[rows][:, cols]
    if geometry.flip:
        content = content[:, ::-1].copy()
        if name == "normals":
            content[..., 0] = 0 - content[..., 0]
    content = task.zoom_label(content, zoom)
    canvas = task.invalid_label(*geometry.canvas)
    top, left = geometry.padding
    canvas[top : top + len(content), left : left + content.shape[1]] = content
    if name == "normals":
        length = np.linalg.norm(canvas, axis=-1, keepdims=True)
        canvas = np.where(length > 0.5, canvas / np.where(length > 0.5, length, 1), 0).astype(np.float32)
        return torch.from_numpy(canvas.transpose(2, 0, 1).copy())
    return torch.from_numpy(task.finish_label(canvas))


@pytest.mark.parametrize("size", [(24, 32), (60, 80), (24, 120)])
def test_same_bits_as_plain_steps(size):
    options = {"scale_range": (0.5, 2.0), "flip_probability": 0.5, "crop_max_share": 0.2, "resize": None}
    transform = JointTransform(TASKS, size, train=True, **options)
    raw, seen = raw_image(), set()
    for epoch in range(8):
        geometry, zoom, _ = transform._draw((37, 51), (37, 51), raw.labels, derive_rng(0, epoch))
        sample = transform(raw, derive_rng(0, epoch))
        for name, label in raw.labels.items():
            expected = plain_target(name, label, geometry, zoom)
            assert sample["targets"][name].dtype == expected.dtype
            assert sample["targets"][name].is_contiguous()
            assert torch.equal(sample["targets"][name], expected), name
            np.testing.assert_array_equal(raw.labels[name], raw_image().labels[name], "the label itself was changed")
        top, left, height, width = geometry.crop
        zooms = [new / old for new, old in zip(geometry.scaled, geometry.source, strict=True)]
        box = (left / zooms[1], top / zooms[0], min((left + width) / zooms[1], 51), min((top + height) / zooms[0], 37))
        picture = np.asarray(Image.fromarray(raw.image).resize((width, height), Image.Resampling.BILINEAR, box=box))
        canvas = np.zeros((*size, 3), np.uint8)
        top, left = geometry.padding
        canvas[top : top + height, left : left + width] = picture[:, ::-1] if geometry.flip else picture
        assert torch.equal(sample["image"], torch.from_numpy(canvas).permute(2, 0, 1).float() / 255)
        seen.add((geometry.flip, geometry.padding == (0, 0)))
    assert {flip for flip, _ in seen} == {False, True}


def test_only_tasks_with_a_say_are_asked(monkeypatch):
    taken = []
    original = Geometry.resample_label
    monkeypatch.setattr(
        Geometry,
        "resample_label",
        lambda self, label, **more: taken.append(label.dtype) or original(self, label, **more),
    )
    transform = JointTransform(TASKS, (16, 16), train=True, crop_max_share=0.99, resize=None)
    transform._draw((37, 51), (37, 51), raw_image().labels, derive_rng(0))
    assert taken == [np.int64], "semseg alone, once"
