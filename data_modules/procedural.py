"""Procedural rooms: the data that need no files."""

from __future__ import annotations

from typing import Any, Literal

from data_modules.base import DenseDataModule
from mtdense.data.procedural_dataset import PROCEDURAL_SPECS, ProceduralDataset

__all__ = ["ProceduralDataModule"]


class ProceduralDataModule(DenseDataModule):
    """Rendered rooms with exact labels of all six tasks: 13 NYUD classes, parts, saliency, normals, edges and depth.

    Scenes are rendered at `size`. Training, validation and test never share a scene, whatever their lengths.

    Args:
        train_images: Number of training scenes.
        val_images: Number of validation scenes.
        test_images: Number of test scenes.
        scene_seed: World of the scenes; another seed has other rooms.
        cache: Render each scene once and keep it in memory (about 23 bytes a pixel with all labels).
        backend: "numba", or "numpy" (slow, its oracle).
        **kwargs: Options of all data modules.
    """

    name: str = "procedural"

    def __init__(
        self,
        train_images: int = 1000,
        val_images: int = 100,
        test_images: int = 200,
        scene_seed: int = 0,
        cache: bool = False,
        backend: Literal["numba", "numpy"] = "numba",
        **kwargs: Any,
    ) -> None:
        self.lengths = {"train": train_images, "val": val_images, "test": test_images}
        self.scene_seed = scene_seed
        self.cache = cache
        self.backend = backend
        super().__init__(**kwargs)

    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """All six tasks."""
        return {task: dict(spec) for task, spec in PROCEDURAL_SPECS.items()}

    def make_dataset(self, split: str) -> ProceduralDataset:
        """The scenes of a split."""
        return ProceduralDataset(
            self.size,
            split,
            self.lengths[split],
            seed=self.scene_seed,
            cache=self.cache,
            cache_tasks=self.mask_tasks,
            backend=self.backend,
        )
