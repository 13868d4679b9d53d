"""Procedural scenes in the layout of Cityscapes as MTAN pre-processed it; see `mtan`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mtdense.core.progress import track
from mtdense.data.cityscapes.facts import category_of_class, class_of_label
from mtdense.data.cityscapes.mtan import (
    CITYSCAPES_MTAN_NAME,
    CLASS_FOLDERS,
    DEPTH_FOLDER,
    IMAGE_FOLDER,
    MTAN_TASKS,
    SPLIT_FOLDERS,
)
from mtdense.data.cityscapes.protocols import encode_disparity
from mtdense.data.cityscapes.street import as_street
from mtdense.data.io import write_array
from mtdense.data.label_masks import LabelMask
from mtdense.data.procedural import ProceduralScenes, Scene
from mtdense.data.published import prepare_replica
from mtdense.data.splits import SPLITS
from mtdense.tasks.base import ArrayAny

__all__ = ["LARGEST", "MASK_FILE", "write_cityscapes_mtan_replica"]

LARGEST = 65535
"""What stored 16-bit disparity is divided by."""

MASK_FILE = "onelabel.pth"
"""Label mask with one label per training image, in the form of MTPSL's file of that name; in the root."""


def write_cityscapes_mtan_replica(
    root: str | Path, train: int, test: int, seed: int = 0, size: Sequence[int] = (128, 256)
) -> Path:
    """Writes a replica; what is there of the same replica is written anew.

    There are both label folders, and the label mask `MASK_FILE` where there are images enough for each task. Stored
    disparity is that of the images' own width.

    Args:
        root: Folder to write to: new, empty, or of the same replica.
        train: Number of training images; image i shows scene 3 i.
        test: Number of test images (folder `val`); image i shows scene 3 i + 2.
        seed: World of the scenes, and of the mask.
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
    prepare_replica(root, seed=seed, size=size, scenes=counts, layout=CITYSCAPES_MTAN_NAME)
    if train >= len(MTAN_TASKS):
        mask = LabelMask.draw("one-label", [f"train-{i}" for i in range(train)], MTAN_TASKS, seed)
        torch.save({"labels_weights": torch.from_numpy(mask.labelled.astype(np.float32))}, root / MASK_FILE)
    order = [(split, i) for split, number in counts.items() for i in range(number)]
    for split, i in track(order, f"Writing {root.name}"):
        scene = scenes.render(len(SPLITS) * i + SPLITS.index(split))
        for kind, array in _arrays(scene).items():
            write_array(root / SPLIT_FOLDERS[split] / kind / f"{i}.npy", array)
    return root


def _arrays(scene: Scene) -> dict[str, ArrayAny]:
    """{folder: array}."""
    street = as_street(scene)
    classes = class_of_label()[street.label_ids]
    return {
        IMAGE_FOLDER: scene.image / 255.0,
        CLASS_FOLDERS[19][0]: classes.astype(np.float32),
        CLASS_FOLDERS[7][0]: category_of_class()[classes].astype(np.float32),
        DEPTH_FOLDER: (encode_disparity(street.disparity) / LARGEST)[..., None].astype(np.float32),
    }
