"""Random labels, targets and logits for any task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mtdense.tasks import Depth, Edges, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals, Task

TASKS: dict[str, Task] = {
    "semseg": SemanticSegmentation(5),
    "human_parts": HumanParts(),
    "saliency": Saliency(),
    "edges": Edges(),
    "edges-hed": Edges(positive_weight=None),
    "normals": SurfaceNormals(),
    "normals-cosine": SurfaceNormals(loss="cosine"),
    "depth": Depth(),
    "disparity": Depth(unit="disparity", min_depth=0.01, max_depth=4.0),
}


def random_label(task: Task, rng: np.random.Generator, height: int = 6, width: int = 7) -> np.ndarray[Any, Any]:
    """A label in the task's coding with about a third of the pixels invalid."""
    if isinstance(task, SurfaceNormals):
        label = rng.normal(size=(height, width, 3))
        label /= np.linalg.norm(label, axis=-1, keepdims=True)
    elif isinstance(task, Depth):
        label = rng.uniform(0.05, 5.0, (height, width))
    else:
        label = rng.integers(0, max(task.num_outputs, 2), (height, width))
    label = label.astype(task.label_dtype)
    label[rng.random((height, width)) < 1 / 3] = task.invalid
    return label


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    """Each task, and each variant of its loss."""
    return TASKS[request.param]


@pytest.fixture
def label_of() -> Callable[..., np.ndarray[Any, Any]]:
    """`label_of(task, rng)` draws a label."""
    return random_label


@pytest.fixture
def batch_of() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """`batch_of(task)` draws (logits, target, valid) of three images."""

    def draw(task: Task, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng(seed)
        target = torch.stack([task.to_target(random_label(task, rng)) for _ in range(3)])
        shape = (3, task.num_outputs, *target.shape[-2:])
        logits = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
        return logits, target, task.valid(target)

    return draw
