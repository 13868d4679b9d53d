"""Procedural scenes in the layout of NYUD-v2 as MTAN pre-processed it; see `mtan`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtdense.core.progress import track
from mtdense.data.io import write_array
from mtdense.data.nyud.mtan import IMAGE_FOLDER, LABEL_FOLDERS, MTAN_NAME, MTAN_NORMALS_AXES, MTAN_SPLITS
from mtdense.data.procedural import ProceduralScenes
from mtdense.data.published import encode_normals, prepare_replica
from mtdense.data.splits import SPLITS
from mtdense.tasks.base import ArrayAny

__all__ = ["write_mtan_replica"]


def write_mtan_replica(
    root: str | Path, train: int, test: int, seed: int = 0, size: Sequence[int] = (288, 384)
) -> Path:
    """Writes a replica; what is there of the same replica is written anew.

    Arrays have the data types of the genuine files: images and normals float64, labels and depth float32.

    Args:
        root: Folder to write to: new, empty, or of the same replica.
        train: Number of training images; image i shows scene 3 i.
        test: Number of test images (folder `val`); image i shows scene 3 i + 2.
        seed: World of the scenes.
        size: Height and width of the images.

    Returns:
        The folder.

    Raises:
        ConfigError: No scene at all, or a size that cannot be rendered.
        DataError: The folder holds something else.
    """
    root = Path(root).expanduser()
    scenes = ProceduralScenes(size=(size[0], size[1]), seed=seed)
    counts = {"train": train, "test": test}
    prepare_replica(root, seed=seed, size=size, scenes=counts, layout=MTAN_NAME)
    order = [(split, i) for split, number in counts.items() for i in range(number)]
    for split, i in track(order, f"Writing {root.name}"):
        scene = scenes.render(len(SPLITS) * i + SPLITS.index(split))
        folder = root / MTAN_SPLITS[split]
        arrays: dict[str, ArrayAny] = {
            IMAGE_FOLDER: scene.image / 255.0,
            LABEL_FOLDERS["semseg"]: scene.semseg.astype(np.float32),
            LABEL_FOLDERS["depth"]: scene.depth[..., None],
            LABEL_FOLDERS["normals"]: encode_normals(scene.normals, MTAN_NORMALS_AXES).astype(np.float64),
        }
        for kind, array in arrays.items():
            write_array(folder / kind / f"{i}.npy", array)
    return root
