"""Procedural scenes as a data set with three splits that never share a scene."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from mtdense.core.errors import ConfigError
from mtdense.core.progress import track
from mtdense.core.words import counted
from mtdense.data.dataset import DenseDataset, has_content
from mtdense.data.label_masks import BoolArray
from mtdense.data.procedural import NYUD13_CLASSES, PROCEDURAL_VERSION, ProceduralScenes, Scene
from mtdense.data.sample import RawImage
from mtdense.data.splits import SPLITS
from mtdense.tasks import build_tasks
from mtdense.tasks.base import ArrayAny, Task

__all__ = ["PROCEDURAL_SPECS", "ProceduralDataset"]

PROCEDURAL_SPECS: dict[str, dict[str, Any]] = {
    "semseg": {"num_classes": len(NYUD13_CLASSES), "class_names": list(NYUD13_CLASSES)},
    "human_parts": {},
    "saliency": {},
    "normals": {},
    "edges": {},
    "depth": {"unit": "metres"},
}
"""Specifications of the tasks that a scene labels."""


@dataclass(eq=False)
class _Rendered:
    """All scenes of a split, read-only: {image, camera and tasks: one array over scenes}, and what can be seen."""

    stacks: dict[str, ArrayAny]
    content: dict[str, BoolArray]


# Data sets of equal scenes share one rendering for as long as one of them lives: the demo trains four networks on it.
_SHARED: WeakValueDictionary[tuple[object, ...], _Rendered] = WeakValueDictionary()


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
            raise ConfigError(counted(length, f"procedural {split} image"), "Ask for at least one.")
        self.split = split
        self.ids = [f"{split}-{i:06d}" for i in range(length)]
        self.version = f"procedural-{PROCEDURAL_VERSION}-{size[0]}x{size[1]}-seed{seed}"
        self._scenes = ProceduralScenes(size=(int(size[0]), int(size[1])), seed=seed, backend=backend)  # type: ignore[arg-type]
        self._tasks = build_tasks(PROCEDURAL_SPECS)
        self._cache_tasks = frozenset(self._tasks if cache_tasks is None else self._tasks.keys() & set(cache_tasks))
        self._rendered: _Rendered | None = None
        self._content: dict[str, BoolArray] | None = None
        if cache:
            key = (self.version, split, length, backend, self._cache_tasks)
            self._rendered = _SHARED[key] = _SHARED.get(key) or self._render_all()
            self._content = self._rendered.content

    def scene_index(self, index: int) -> int:
        """Index of the scene that an image shows: split k has those ≡ k (mod 3), disjoint whatever their lengths."""
        return len(SPLITS) * index + SPLITS.index(self.split)

    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Specifications of all tasks of a scene."""
        return {task: dict(spec) for task, spec in PROCEDURAL_SPECS.items()}

    def available(self, index: int) -> frozenset[str]:
        """All tasks."""
        return frozenset(self._tasks)

    def eligible(self, index: int, task: str) -> bool:
        """Human parts need a visible person; the first question about them renders the split once."""
        if task not in self._tasks or not self._tasks[task].content_dependent:
            return task in self._tasks
        if self._content is None:
            self._content = self._no_content()
            for i in track(range(len(self)), f"Looking for people ({self.split})"):
                self._note_content(i, self._render(i), self._content)
        return bool(self._content[task][index])

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        """Renders a scene, or takes it from the cache."""
        if self._rendered is not None and self._cache_tasks.issuperset(tasks):
            arrays = {key: self._rendered.stacks[key][index] for key in ("image", "camera", *tasks)}
        else:
            scene = self._render(index)
            arrays = {key: getattr(scene, key) for key in ("image", "camera", *tasks)}
        # The cache keeps small whole numbers in bytes.
        labels = {task: arrays[task].astype(self._tasks[task].label_dtype, copy=False) for task in tasks}
        return RawImage(self.ids[index], arrays["image"], labels, arrays["camera"])

    def _render(self, index: int) -> Scene:
        return self._scenes.render(self.scene_index(index))

    def _render_all(self) -> _Rendered:
        # One array per kind, not one per image: forked workers then share its pages instead of copying them.
        stacks: dict[str, ArrayAny] = {}
        content = self._no_content()
        for i in track(range(len(self)), f"Rendering procedural scenes ({self.split})"):
            scene = self._render(i)
            self._note_content(i, scene, content)
            for key in ("image", "camera", *sorted(self._cache_tasks)):
                values = np.asarray(getattr(scene, key))
                if key not in stacks:
                    compact = key in self._tasks and _fits_bytes(self._tasks[key])
                    stacks[key] = np.empty((len(self), *values.shape), np.uint8 if compact else values.dtype)
                stacks[key][i] = values
        for array in stacks.values():
            array.setflags(write=False)
        return _Rendered(stacks, content)

    def _no_content(self) -> dict[str, BoolArray]:
        names = [name for name, task in self._tasks.items() if task.content_dependent]
        return {name: np.zeros(len(self), dtype=np.bool_) for name in names}

    def _note_content(self, index: int, scene: Scene, content: dict[str, BoolArray]) -> None:
        for name, found in content.items():
            found[index] = has_content(self._tasks[name], getattr(scene, name))


def _fits_bytes(task: Task) -> bool:
    """Class ids and binary maps are whole numbers from 0 to 255."""
    return task.stored_as in ("classes", "binary")
