"""Procedural scenes in the layout of NYUD_MT and NYUDv2, in the file types of each archive; see `atrc`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import scipy.io
from PIL import Image

from mtdense.core.errors import ConfigError
from mtdense.core.progress import track
from mtdense.data.io import write_array, write_image, write_map
from mtdense.data.nyud import facts
from mtdense.data.nyud.atrc import (
    ATRC_LISTS,
    ATRC_NAME,
    ATRC_NORMALS_AXES,
    ATRC_SIZE,
    IMAGE_FOLDER,
    LABEL_FOLDERS,
    LIST_FOLDER,
    MAT_KEYS,
)
from mtdense.data.nyud.official_writer import REPRESENTATIVES
from mtdense.data.procedural import ProceduralScenes, Scene
from mtdense.data.published import encode_normals, prepare_replica
from mtdense.data.splits import SPLITS
from mtdense.tasks.base import ArrayAny

__all__ = ["CLASS_40_OF_13", "AtrcVariant", "write_atrc_replica"]

AtrcVariant = Literal["invpt", "atrc", "mti_net", "astmt"]
"""Whose archive a replica has the file types of; those of ATRC and MTI-Net are the same."""

CLASS_40_OF_13: npt.NDArray[np.int64] = facts.class_of_label(40)[REPRESENTATIVES]
"""(13,) class among 40 that stands for each of the 13; `facts.to_13_classes` gives the 13 back."""

_JPEG_QUALITY = 95


def write_atrc_replica(
    root: str | Path,
    train: int,
    test: int,
    seed: int = 0,
    size: Sequence[int] = ATRC_SIZE,
    variant: AtrcVariant = "invpt",
) -> Path:
    """Writes a replica; what is there of the same replica is written anew.

    An image's id is the index of its scene.

    Args:
        root: Folder to write to: new, empty, or of the same replica.
        train: Number of training images; the i-th shows scene 3 i.
        test: Number of test images (list val.txt); the i-th shows scene 3 i + 2.
        seed: World of the scenes.
        size: Height and width of the images.
        variant: Whose archive to take the file types from.

    Returns:
        The folder.

    Raises:
        ConfigError: No scene at all, an unknown variant, or a size that cannot be rendered.
        DataError: The folder holds something else.
    """
    if variant not in get_args(AtrcVariant):
        raise ConfigError(f"unknown variant {variant!r}", f"Use one of {', '.join(get_args(AtrcVariant))}.")
    root = Path(root).expanduser()
    scenes = ProceduralScenes(size=(size[0], size[1]), seed=seed)
    counts = {"train": train, "test": test}
    prepare_replica(root, seed=seed, size=size, scenes=counts, layout=ATRC_NAME, variant=variant)
    indices = {split: [len(SPLITS) * i + SPLITS.index(split) for i in range(n)] for split, n in counts.items()}
    (root / LIST_FOLDER).mkdir(exist_ok=True)
    for split, name in ATRC_LISTS.items():
        lines = "".join(f"{index:06d}\n" for index in indices[split])
        (root / LIST_FOLDER / name).write_text(lines, encoding="utf-8")
    for index in track(sorted(indices["train"] + indices["test"]), f"Writing {root.name}"):
        arrays = _stored(scenes.render(index))
        for folder, (suffix, write) in _FILES[variant].items():
            path = root / folder / f"{index:06d}{suffix}"
            path.parent.mkdir(exist_ok=True)
            write(path, arrays[folder])
    return root


def _stored(scene: Scene) -> dict[str, ArrayAny]:
    """{folder: array}; normals as components, edges as 0 and 1."""
    return {
        IMAGE_FOLDER: scene.image,
        LABEL_FOLDERS["semseg"]: (CLASS_40_OF_13[scene.semseg] + 1).astype(np.uint8),
        LABEL_FOLDERS["depth"]: scene.depth,
        LABEL_FOLDERS["normals"]: encode_normals(scene.normals, ATRC_NORMALS_AXES),
        LABEL_FOLDERS["edges"]: scene.edges,
    }


def _write_jpeg(path: Path, image: ArrayAny) -> None:
    # Without subsampling: it would blur normals more than the compression itself.
    Image.fromarray(image).save(path, quality=_JPEG_QUALITY, subsampling=0)


def _as_picture(normals: ArrayAny) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint((normals + 1) * 127.5), dtype=np.uint8)


def _write_mat(key: str) -> Callable[[Path, ArrayAny], None]:
    def write(path: Path, array: ArrayAny) -> None:
        scipy.io.savemat(str(path), {key: array}, do_compression=True)
        # SciPy writes the time into the header; a replica is to be the same whenever it is written.
        with path.open("r+b") as stream:
            stream.write(b"MATLAB 5.0 MAT-file, Platform: procedural".ljust(116))

    return write


_Write = tuple[str, Callable[[Path, ArrayAny], None]]

_EDGE_PNG: _Write = (".png", lambda path, edges: write_map(path, (edges * 255).astype(np.uint8)))
_NORMALS_PNG: _Write = (".png", lambda path, normals: write_image(path, _as_picture(normals)))
_NORMALS_JPG: _Write = (".jpg", lambda path, normals: _write_jpeg(path, _as_picture(normals)))

_MTI_NET: Mapping[str, _Write] = {
    IMAGE_FOLDER: (".jpg", _write_jpeg),
    "segmentation": (".png", write_map),
    "depth": (".npy", write_array),
    "normals": (".npy", write_array),
    "edge": (".npy", write_array),
}

_FILES: Mapping[str, Mapping[str, _Write]] = {
    "invpt": {**_MTI_NET, IMAGE_FOLDER: (".png", write_image), "normals": _NORMALS_PNG, "edge": _EDGE_PNG},
    "atrc": _MTI_NET,
    "mti_net": _MTI_NET,
    "astmt": {
        **_MTI_NET,
        "segmentation": (".mat", _write_mat(MAT_KEYS["semseg"])),
        "depth": (".mat", _write_mat(MAT_KEYS["depth"])),
        "normals": _NORMALS_JPG,
        "edge": _EDGE_PNG,
    },
}
