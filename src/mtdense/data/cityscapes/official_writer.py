"""Procedural scenes in the official layout of Cityscapes; see `official_files`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mtdense.core.progress import track
from mtdense.data.cityscapes.facts import LABELS, SIZE
from mtdense.data.cityscapes.official import CITYSCAPES_NAME
from mtdense.data.cityscapes.official_files import CAMERA, DISPARITY, IMAGE, LABEL_MAP, FileKind
from mtdense.data.cityscapes.outlines import outlines
from mtdense.data.cityscapes.protocols import encode_disparity
from mtdense.data.cityscapes.street import BASELINE, Street, as_street
from mtdense.data.io import write_image, write_map
from mtdense.data.procedural import ProceduralScenes, Scene
from mtdense.data.published import prepare_replica
from mtdense.data.splits import SPLITS

__all__ = ["CITIES", "FRAME", "write_cityscapes_replica", "write_street"]

CITIES = {"train": ("aachen", "bochum"), "test": ("frankfurt", "lindau")}
"""{split: cities among which its images take turns}."""

FRAME = "000019"
"""Last number of every image."""

_PALETTE = np.array([(*label.colour, 255) for label in LABELS], dtype=np.uint8)


def write_cityscapes_replica(
    root: str | Path, train: int, test: int, seed: int = 0, size: Sequence[int] = SIZE
) -> Path:
    """Writes a replica; what is there of the same replica is written anew.

    The number of an image's sequence is the index of its scene. What rooms show is renamed, see `street`; their windows
    are the sky. Besides what `CityscapesDataset` reads there are the instance ids, colours and polygons of gtFine.

    Args:
        root: Folder to write to: new, empty, or of the same replica.
        train: Number of training images; the i-th shows scene 3 i.
        test: Number of test images (folder `val`); the i-th shows scene 3 i + 2.
        seed: World of the scenes.
        size: Height and width of the images; a scene of the full size takes some seconds.

    Returns:
        The folder.

    Raises:
        ConfigError: No scene at all, or a size that cannot be rendered.
        DataError: The folder holds something else.
    """
    root = Path(root).expanduser()
    scenes = ProceduralScenes(size=(size[0], size[1]), seed=seed)
    counts = {"train": train, "test": test}
    prepare_replica(root, seed=seed, size=size, scenes=counts, layout=CITYSCAPES_NAME)
    order = [(split, i) for split, number in counts.items() for i in range(number)]
    for split, i in track(order, f"Writing {root.name}"):
        index = len(SPLITS) * i + SPLITS.index(split)
        image_id = f"{CITIES[split][i % len(CITIES[split])]}_{index:06d}_{FRAME}"
        _write(root, split, image_id, scenes.render(index))
    return root


def _write(root: Path, split: str, image_id: str, scene: Scene) -> None:
    # Where the camera sits in the vehicle is of no room's concern: it sits in the origin and looks ahead.
    place = {"pitch": 0.0, "roll": 0.0, "x": 0.0, "y": 0.0, "yaw": 0.0, "z": 0.0}
    write_street(root, split, image_id, scene.image, as_street(scene), scene.instances, scene.camera, place)


def write_street(
    root: Path,
    split: str,
    image_id: str,
    image: npt.NDArray[np.uint8],
    street: Street,
    instances: npt.NDArray[np.int32],
    matrix: npt.NDArray[np.float64],
    place: dict[str, float],
) -> None:
    """Writes the files of one image.

    Args:
        root: Folder of the replica.
        split: "train" or "test".
        image_id: Its id.
        image: (H, W, 3) the picture.
        street: Its labels and disparity.
        instances: (H, W) instances of one label each, for the polygons.
        matrix: (3, 3) intrinsics.
        place: Where the camera sits in the vehicle: yaw, pitch, roll, x, y, z.
    """

    def path_of(kind: FileKind) -> Path:
        path = root / kind.place(split, image_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def fine(suffix: str) -> Path:
        return path_of(FileKind(LABEL_MAP.folder, suffix))

    height, width = street.label_ids.shape
    objects = outlines(instances, street.label_ids)
    intrinsic = {"fx": matrix[0, 0], "fy": matrix[1, 1], "u0": matrix[0, 2], "v0": matrix[1, 2]}
    write_image(path_of(IMAGE), image)
    write_map(path_of(LABEL_MAP), street.label_ids)
    write_map(fine("_gtFine_instanceIds.png"), street.instance_ids)
    write_map(fine("_gtFine_color.png"), _PALETTE[street.label_ids])
    write_map(path_of(DISPARITY), encode_disparity(street.disparity))
    _write_json(fine("_gtFine_polygons.json"), {"imgHeight": height, "imgWidth": width, "objects": objects})
    _write_json(path_of(CAMERA), {"extrinsic": {"baseline": BASELINE, **place}, "intrinsic": intrinsic})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
