"""Procedural scenes in the layout of PASCAL_MT and PASCALContext; see `context`.

Chairs, tables, sofas, screens and people of the scenes are objects with classes of VOC; what lies about counts as a
potted plant, whose normals do not count. A person's limbs are cut into left and right ones at the person's middle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io
from PIL import Image

from mtdense.core.progress import track
from mtdense.data.io import write_image, write_map
from mtdense.data.label_masks import LabelMask
from mtdense.data.pascal.context import (
    CACHE_FOLDER,
    IMAGE_FOLDER,
    LABEL_FOLDERS,
    LABEL_MAP_KEY,
    LIST_FOLDER,
    PASCAL_LISTS,
    SEMSEG_FOLDERS,
    TEST_NEW_LIST,
)
from mtdense.data.pascal.facts import CONTEXT_OF_VOC, NORMALS_AXES, PASCAL_NAME, PASCAL_TASKS, PERSON, VOC_CLASSES
from mtdense.data.procedural import ProceduralScenes, Scene
from mtdense.data.procedural.classes import Part, SceneClass
from mtdense.data.published import encode_normals, prepare_replica
from mtdense.data.splits import SPLITS
from mtdense.tasks.colours import class_palette

__all__ = [
    "CONTEXT_OF_SCENE",
    "MASK_FOLDER",
    "PASCAL_SIZE",
    "VOC_OF_CONTEXT",
    "label_map",
    "write_pascal_context_replica",
]

PASCAL_SIZE = (375, 500)
"""Height and width of a replica's images; those of the published ones differ, with longer sides of 500 mostly."""

MASK_FOLDER = "pascal_settings"
"""Folder of the replica's label masks, called as in MTPSL's code."""

_MASKS = {"onelabel.npy": "one-label", "randomlabels.npy": "random-label"}
_MASK_COLUMNS = {"human_parts": 1, "edge": 4, "semseg": 0, "normals": 3, "sal": 2}  # of PASCAL_TASKS

_CONTEXT_IDS = {
    SceneClass.BED: 18,
    SceneClass.BOOKS: 33,
    SceneClass.CEILING: 68,
    SceneClass.CHAIR: 72,
    SceneClass.FLOOR: 158,
    SceneClass.FURNITURE: 46,
    SceneClass.OBJECTS: 308,
    SceneClass.PICTURE: 287,
    SceneClass.SOFA: 368,
    SceneClass.TABLE: 397,
    SceneClass.TV: 427,
    SceneClass.WALL: 440,
    SceneClass.WINDOW: 454,
}

CONTEXT_OF_SCENE: npt.NDArray[np.uint16] = np.array([_CONTEXT_IDS[kind] for kind in SceneClass], dtype=np.uint16)
"""(13,) class in the label map of each class of a scene; people are 284."""

VOC_OF_CONTEXT: npt.NDArray[np.uint8] = np.zeros(460, dtype=np.uint8)
"""(460,) class of VOC by class in the label map."""
VOC_OF_CONTEXT[list(CONTEXT_OF_VOC)] = np.arange(len(VOC_CLASSES), dtype=np.uint8)

_SIDED = {Part.UPPER_ARM: "uarm", Part.LOWER_ARM: "larm", Part.UPPER_LEG: "uleg", Part.LOWER_LEG: "lleg"}
_WHOLE = {Part.HEAD: "head", Part.TORSO: "torso"}

_OBJECT = [(name, object) for name in ("class", "class_ind", "mask", "parts")]
_PART = [(name, object) for name in ("part_name", "mask")]
_ANNO = [(name, object) for name in ("imname", "objects")]


def write_pascal_context_replica(
    root: str | Path, train: int, test: int, seed: int = 0, size: Sequence[int] = PASCAL_SIZE
) -> Path:
    """Writes a replica; what is there of the same replica is written anew.

    An image's id ends with the index of its scene. Every second image has a semseg file in VOC12, all have one in
    pascal-context. Beside the archive's files there are a list `test_new.txt` of every second test image and, in
    `pascal_settings`, label masks over the training images in MTPSL's format.

    Args:
        root: Folder to write to: new, empty, or of the same replica.
        train: Number of training images; the i-th shows scene 3 i.
        test: Number of test images (list val.txt); the i-th shows scene 3 i + 2.
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
    prepare_replica(root, seed=seed, size=size, scenes=counts, layout=PASCAL_NAME)
    indices = {split: [len(SPLITS) * i + SPLITS.index(split) for i in range(n)] for split, n in counts.items()}
    ids = {split: [_image_id(index) for index in numbers] for split, numbers in indices.items()}
    lists = {name: ids[split] for split, name in PASCAL_LISTS.items()}
    for name, listed in {**lists, TEST_NEW_LIST: ids["test"][::2]}.items():
        _write_text(root / LIST_FOLDER / name, "".join(f"{image_id}\n" for image_id in listed))
    objects: dict[str, list[int]] = {}
    people: set[str] = set()
    for index in track(sorted(indices["train"] + indices["test"]), f"Writing {root.name}"):
        scene, image_id = scenes.render(index), _image_id(index)
        _write_images(root, image_id, scene, in_voc=index % 2 == 0)
        objects[image_id] = _write_objects(root, image_id, scene)
        if scene.human_parts.any():
            people.add(image_id)
    for split, name in PASCAL_LISTS.items():
        rows = (f'\t"{image_id}": {json.dumps(objects[image_id])}' for image_id in ids[split])
        _write_text(root / CACHE_FOLDER / name, "{\n" + ",\n".join(rows) + "\n}\n")
    _write_masks(root / MASK_FOLDER, ids["train"], people, seed)
    return root


def label_map(scene: Scene) -> npt.NDArray[np.uint16]:
    """(H, W) classes of the 459-class list that a replica stores for a scene."""
    classes = CONTEXT_OF_SCENE[scene.semseg]
    classes[np.isin(scene.instances, scene.people)] = CONTEXT_OF_VOC[PERSON]
    return classes


def _image_id(index: int) -> str:
    return f"2008_{index:06d}"


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _write_images(root: Path, image_id: str, scene: Scene, *, in_voc: bool) -> None:
    classes = label_map(scene)
    path = root / IMAGE_FOLDER / f"{image_id}.jpg"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(scene.image).save(path, quality=95)
    for folder in SEMSEG_FOLDERS if in_voc else SEMSEG_FOLDERS[1:]:
        palette = class_palette(len(VOC_CLASSES), True) if folder == SEMSEG_FOLDERS[0] else None
        write_map(root / LABEL_FOLDERS["semseg"] / folder / f"{image_id}.png", VOC_OF_CONTEXT[classes], palette)
    write_map(root / LABEL_FOLDERS["saliency"] / f"{image_id}.png", (scene.saliency * 255).astype(np.uint8))
    normals = np.rint((encode_normals(scene.normals, NORMALS_AXES) + 1) * 127.5).astype(np.uint8)
    write_image(root / LABEL_FOLDERS["normals"] / f"{image_id}.png", normals)
    _write_mat(root / LABEL_FOLDERS["edges"] / f"{image_id}.mat", {LABEL_MAP_KEY: classes})


def _write_objects(root: Path, image_id: str, scene: Scene) -> list[int]:
    """Writes the annotation of parts; returns the class of each object."""
    voc = VOC_OF_CONTEXT[label_map(scene)]
    rows = []
    for number in np.unique(scene.instances[voc > 0]):
        mask = scene.instances == number
        kind = int(np.bincount(voc[mask]).argmax())
        parts = np.array([list(_person_parts(scene, mask))], dtype=_PART) if kind == PERSON else np.zeros((0, 0))
        rows.append((VOC_CLASSES[kind], float(kind), mask.astype(np.uint8), parts if parts.size else np.zeros((0, 0))))
    objects = np.empty((1, len(rows)), dtype=_OBJECT)
    for i, row in enumerate(rows):
        objects[0, i] = row
    anno = np.empty((1, 1), dtype=_ANNO)
    anno[0, 0] = (image_id, objects)
    _write_mat(root / LABEL_FOLDERS["human_parts"] / f"{image_id}.mat", {"anno": anno})
    return [int(row[1]) for row in rows]


def _person_parts(scene: Scene, person: npt.NDArray[np.bool_]) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Names and masks of the visible parts of a person."""
    columns = np.arange(person.shape[1])
    left = np.broadcast_to(columns > columns[person.any(axis=0)].mean(), person.shape)
    for part, name in _WHOLE.items():
        mask = person & (scene.human_parts == part)
        if mask.any():
            yield name, mask.astype(np.uint8)
    for part, name in _SIDED.items():
        for side, half in (("l", left), ("r", ~left)):
            mask = person & (scene.human_parts == part) & half
            if mask.any():
                yield side + name, mask.astype(np.uint8)


def _write_masks(folder: Path, ids: Sequence[str], people: set[str], seed: int) -> None:
    """Label masks as MTPSL stores them: {its name of a task: image ids} in an array without axes."""
    eligible = np.ones((len(ids), len(PASCAL_TASKS)), dtype=np.bool_)
    eligible[:, PASCAL_TASKS.index("human_parts")] = [image_id in people for image_id in ids]
    folder.mkdir(exist_ok=True)
    for name, setting in _MASKS.items():
        mask = LabelMask.draw(setting, ids, PASCAL_TASKS, seed, eligible)
        lists = {
            theirs: [np.str_(image_id) for image_id, row in zip(ids, mask.labelled, strict=True) if row[column]]
            for theirs, column in _MASK_COLUMNS.items()
        }
        # The published format is a pickle; only readers must fear that.
        np.save(folder / name, np.array(lists, dtype=object), allow_pickle=True)


def _write_mat(path: Path, variables: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(str(path), dict(variables), do_compression=True)
    # SciPy writes the time into the header; a replica is to be the same whenever it is written.
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 5.0 MAT-file, Platform: procedural".ljust(116))
