"""Pictures without labels, to predict on."""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from data_modules.base import DenseDataModule
from mtdense.core.errors import ConfigError, DataError
from mtdense.data import DenseDataset, RawImage
from mtdense.data.given_camera import GivenCamera, given_camera
from mtdense.data.io import EXTENSIONS, read_image
from mtdense.tasks.label_kind import LabelKind

__all__ = ["ImageListDataset", "ImagesDataModule", "find_images"]

_PICTURES = tuple(extension for extension in EXTENSIONS if extension != ".npy")


class ImageListDataset(DenseDataset):
    """Image files, none of them labelled.

    Args:
        paths: The files; ids are their stems, made unique by their folders where stems repeat.
        specs: Specifications of the tasks to be predicted.
        camera: What all of them were taken with; None: unknown.
    """

    version = "images"

    def __init__(
        self, paths: Sequence[Path], specs: dict[str, dict[str, Any]], camera: GivenCamera | None = None
    ) -> None:
        self.paths = list(paths)
        self.camera = camera
        self.ids = _unique_stems(self.paths)
        self._specs = specs

    def task_specs(self) -> dict[str, dict[str, Any]]:
        """Those of the model."""
        return self._specs

    def available(self, index: int) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        """Reads the image.

        Raises:
            DataError: It cannot be read, or is not of the camera's images.
        """
        path = self.paths[index]
        image = read_image(path)
        if self.camera is None:
            return RawImage(self.ids[index], image)
        matrix = self.camera.matrix_of((image.shape[0], image.shape[1]), str(path))
        return RawImage(self.ids[index], image, camera=matrix, mount=self.camera.mount)


class ImagesDataModule(DenseDataModule):
    """Pictures of any size, for `mtdense predict --images`; predictions come back at each picture's own size.

    Args:
        images: Image files, folders (all pictures directly in them) or globs.
        specs: Specifications of the tasks to be predicted; the program takes them from the checkpoint.
        camera: What the pictures were taken with, needed by 3-D detection: fx, fy, cx, cy in their pixels, or a file of
            Cityscapes, see `given_camera`. Boxes are told in the vehicle's frame of a file, or in the camera's (x
            ahead, y left, z up) where there are numbers only.
        **kwargs: Options of all data modules.

    Raises:
        ConfigError: A task needs a camera, and there is none.
    """

    name: str = "images"

    def __init__(
        self,
        images: list[str],
        specs: dict[str, dict[str, Any]],
        camera: str | tuple[float, float, float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        self.images = list(images)
        self._given = {task: dict(spec or {}) for task, spec in specs.items()}
        self._camera = None if camera is None else given_camera(camera)
        super().__init__(**kwargs)
        needing = [task for task in self.tasks if LabelKind.registered[task].needs_camera]
        if needing and self._camera is None:
            names = ", ".join(needing)
            raise ConfigError(
                f"{names} of pictures whose camera nobody told: there are no boxes in space without it",
                "give it (`--data.camera fx,fy,cx,cy`, or a camera.json or gtBbox3d.json of Cityscapes), or leave "
                f"{names} out of `data.tasks`.",
            )

    def dataset_specs(self) -> dict[str, dict[str, Any]]:
        """Those of the model."""
        return self._given

    def make_dataset(self, split: str) -> ImageListDataset:
        """All pictures, whatever the split.

        Raises:
            ConfigError: Asked for training images.
        """
        if split == "train":
            raise ConfigError("pictures without labels cannot be trained on", "use FolderDataModule.")
        return ImageListDataset(find_images(self.images), self._given, self._camera)


def find_images(patterns: Sequence[str]) -> list[Path]:
    """Files named by paths, folders and globs, each once, in the order named.

    Raises:
        DataError: A pattern that finds no picture.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        # Path.glob takes no absolute patterns.
        named = glob.glob(str(path))  # noqa: PTH207
        matches = sorted(path.iterdir()) if path.is_dir() else sorted(map(Path, named))
        pictures = [p for p in matches if p.suffix.lower() in _PICTURES and p.is_file()]
        if not pictures:
            raise DataError(f"no picture at {pattern}", f"name files of the kinds {', '.join(_PICTURES)}, or folders.")
        found.update(dict.fromkeys(pictures))
    return list(found)


def _unique_stems(paths: Sequence[Path]) -> list[str]:
    """Stems, with as many parent folders as it takes to tell files apart; the suffix where only that differs."""
    resolved = [path.resolve() for path in paths]
    for depth in range(1, 6):
        names = ["/".join((*path.parts[-depth:-1], path.stem)) for path in resolved]
        if len(set(names)) == len(names):
            return names
    return [f"{i:05d}-{path.stem}" for i, path in enumerate(paths)]
