"""Procedural scenes as a data set with three splits that never share a scene."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError
from mtdense.core.progress import track
from mtdense.data.dataset import DenseDataset
from mtdense.data.procedural import NYUD13_CLASSES, PROCEDURAL_VERSION, ProceduralScenes, Scene
from mtdense.data.sample import RawImage
from mtdense.tasks.base import ArrayAny

__all__ = ["PROCEDURAL_SPECS", "SPLITS", "ProceduralDataset"]

SPLITS = ("train", "val", "test")
"""Split k has the scenes with index ≡ k (mod 3): disjoint, whatever their lengths."""

PROCEDURAL_SPECS: dict[str, dict[str, Any]] = {
    "semseg": {"num_classes": len(NYUD13_CLASSES), "class_names": list(NYUD13_CLASSES)},
    "human_parts": {},
    "saliency": {},
    "normals": {},
    "edges": {},
    "depth": {"unit": "metres"},
}
"""Specifications of the tasks that a scene labels."""

_COMPACT = {"semseg": np.uint8, "human_parts": np.uint8, "saliency": np.uint8, "edges": np.uint8}


class ProceduralDataset(DenseDataset):
    """A split of the procedural scenes; all of its images have the labels of all tasks.

    Args:
        size: Height and width of the images.
        split: "train", "val" or "test".
        length: Number of images; a longer split starts with the images of a shorter one.
        seed: World of the scenes: another seed has other scenes.
        cache: Render each scene once and keep it in memory. Worker processes that are forked share it.
        cache_tasks: Labels that are kept then; asking for others renders anew. None: all.
        backend: "numba", or "numpy" (slow, its oracle).

    Raises:
        ConfigError: Unknown split, or a length below 1.
    """

    def __init__(
        self,
        size: Sequence[int],
        split: str,
        length: int,
        *,
        seed: int = 0,
        cache: bool = False,
        cache_tasks: Collection[str] | None = None,
        backend: str = "numba",
    ) -> None:
        if split not in SPLITS:
            raise ConfigError(f"unknown split {split!r}", f"Use one of {', '.join(SPLITS)}.")
        if length < 1:
            raise ConfigError(f"{length} procedural {split} images", "Ask for at least one.")
        self.split = split
        self.ids = [f"{split}-{i:06d}" for i in range(length)]
        self.version = f"procedural-{PROCEDURAL_VERSION}-{size[0]}x{size[1]}-seed{seed}"
        self._scenes = ProceduralScenes(size=(int(size[0]), int(size[1])), seed=seed, backend=backend)  # type: ignore[arg-type]
        self._tasks = frozenset(PROCEDURAL_SPECS)
        self._cache_tasks = self._tasks if cache_tasks is None else self._tasks & frozenset(cache_tasks)
        self._cached: dict[str, ArrayAny] | None = None
        self._people: npt.NDArray[np.bool_] | None = None
        if cache:
            self._fill_cache()

    def scene_index(self, index: int) -> int:
        """Index of the scene that an image of this split shows."""
        return 3 * index + SPLITS.index(self.split)

    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications of all tasks of a scene."""
        return {task: dict(spec) for task, spec in PROCEDURAL_SPECS.items()}

    def available(self, index: int) -> frozenset[str]:
        """All tasks."""
        return self._tasks

    def eligible(self, index: int, task: str) -> bool:
        """Human parts need a visible person; the first question about them renders the split once."""
        if task != "human_parts":
            return task in self._tasks
        if self._people is None:
            scenes = track(range(len(self)), f"Looking for people ({self.split})")
            self._people = np.array([bool(self._render(i).human_parts.any()) for i in scenes], dtype=np.bool_)
        return bool(self._people[index])

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        """Renders a scene, or takes it from the cache."""
        if self._cached is not None and self._cache_tasks.issuperset(tasks):
            arrays = {key: self._cached[key][index] for key in ("image", "camera", *tasks)}
        else:
            scene = self._render(index)
            arrays = {key: getattr(scene, key) for key in ("image", "camera", *tasks)}
        labels = {task: _as_label(task, arrays[task]) for task in tasks}
        return RawImage(self.ids[index], arrays["image"], labels, arrays["camera"])

    def _render(self, index: int) -> Scene:
        return self._scenes.render(self.scene_index(index))

    def _fill_cache(self) -> None:
        # One array per kind, not one per image: forked workers then share its pages instead of copying them.
        stacks: dict[str, ArrayAny] = {}
        people = np.zeros(len(self), dtype=np.bool_)
        for i in track(range(len(self)), f"Rendering procedural scenes ({self.split})"):
            scene = self._render(i)
            people[i] = bool(scene.human_parts.any())
            for key in ("image", "camera", *sorted(self._cache_tasks)):
                values = np.asarray(getattr(scene, key))
                if key not in stacks:
                    stacks[key] = np.empty((len(self), *values.shape), _COMPACT.get(key, values.dtype))
                stacks[key][i] = values
        self._cached, self._people = stacks, people


def _as_label(task: str, values: ArrayAny) -> ArrayAny:
    """Back to the data type of labels; the cache keeps small whole numbers in bytes."""
    if task not in _COMPACT:
        return values
    return values.astype(np.float32 if task == "edges" else np.int64, copy=False)
