"""Procedural scenes in the layout of `nyu_depth_v2_labeled.mat`: a replica of the official NYUD-v2.

Every key of the official file is there, in its shape and data type, but for two: a renderer has no accelerometer, so
`accelData` is zero, and `namesToIds` is a group of keys and values where the original has an object that MATLAB alone
can read. Beside the file lies `splits.mat`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy.io

from mtdense.core.errors import ConfigError, DataError
from mtdense.core.progress import track
from mtdense.core.seeds import derive_rng
from mtdense.data.nyud import facts
from mtdense.data.nyud.official_file import OFFICIAL_FILE, REPLICA_ATTRIBUTE, REPLICA_CAMERAS
from mtdense.data.procedural import ProceduralScenes, Scene
from mtdense.data.published import prepare_replica, replica_facts
from mtdense.data.splits import SPLITS
from mtdense.tasks.base import ArrayAny

__all__ = ["REPRESENTATIVES", "SPLIT_FILE", "write_official_replica"]

SPLIT_FILE = "splits.mat"
"""Name of the published split: `trainNdxs` and `testNdxs`, (n, 1) uint16, from 1."""

_LARGEST_NUMBER = 63
"""Largest number of an instance that fits the literature's unique id, (label << 6) + instance."""

_MOST_FRAMES = 9999

_CLASS_40_OF = {
    "bed": "bed",
    "books": "books",
    "ceiling": "ceiling",
    "chair": "chair",
    "floor": "floor",
    "furniture": "cabinet",
    "objects": "otherprop",
    "picture": "picture",
    "sofa": "sofa",
    "table": "table",
    "tv": "television",
    "wall": "wall",
    "window": "window",
}


def _representatives() -> npt.NDArray[np.uint16]:
    class_40 = facts.class_of_label(40)
    found = [
        int(np.flatnonzero(class_40 == facts.CLASSES_40.index(_CLASS_40_OF[name]))[0]) for name in facts.CLASSES_13
    ]
    return np.array(found, dtype=np.uint16)


REPRESENTATIVES = _representatives()
"""(13,) label, 1 to 894, that stands for each of the 13 classes in a replica."""


def write_official_replica(
    root: str | Path, train: int, test: int, seed: int = 0, size: Sequence[int] = facts.SIZE
) -> Path:
    """Writes a replica; what is there of the same replica is written anew.

    Frames of the two splits alternate. With 795 and 654 frames the split is the official one.

    Args:
        root: Folder to write to: new, empty, or of the same replica.
        train: Number of training frames; frame k of them shows scene 3 k.
        test: Number of test frames; frame k of them shows scene 3 k + 2.
        seed: World of the scenes.
        size: Height and width of the frames.

    Returns:
        Path of the file.

    Raises:
        ConfigError: Too few or too many frames, or a size that cannot be rendered.
        DataError: The folder holds something else.
    """
    root = Path(root).expanduser()
    if train + test > _MOST_FRAMES:
        raise ConfigError(f"a replica of {train} and {test} frames", f"Ask for {_MOST_FRAMES} at most.")
    scenes = ProceduralScenes(size=(size[0], size[1]), seed=seed)
    counts = {"train": train, "test": test}
    prepare_replica(root, seed=seed, size=size, scenes=counts)
    split = _split(train, test)
    target = root / OFFICIAL_FILE
    unfinished = target.with_suffix(".part")
    # MATLAB puts a header of 512 bytes in front of its HDF5.
    with h5py.File(unfinished, "w", userblock_size=512) as file:
        mark = replica_facts(seed=seed, size=size, scenes=counts, split=split)
        file.attrs[REPLICA_ATTRIBUTE] = json.dumps(mark, separators=(",", ":"))
        _make_arrays(file, train + test, scenes.size)
        scene_of = {
            frame: len(SPLITS) * k + SPLITS.index(name) for name in counts for k, frame in enumerate(split[name])
        }
        places = []
        for frame in track(sorted(scene_of), f"Writing {target.name}"):
            scene = scenes.render(scene_of[frame])
            _write_frame(file, frame, scene, seed)
            places.append(_place(scene))
        _write_texts(file, [scene_of[frame] for frame in sorted(scene_of)], places)
    _write_header(
        unfinished, b"MATLAB 7.3 MAT-file, Platform: procedural, HDF5 schema 1.00 .", bytes(8) + b"\x00\x02IM"
    )
    _write_split(root / SPLIT_FILE, split)
    unfinished.replace(target)
    return target


def _split(train: int, test: int) -> dict[str, list[int]]:
    if (train, test) == (len(facts.TRAIN_FRAMES), len(facts.TEST_FRAMES)):
        return {"train": list(facts.TRAIN_FRAMES), "test": list(facts.TEST_FRAMES)}
    frames = train + test
    # Of the first n frames n * test / frames, rounded down, are for the test.
    quota = [n * test // frames for n in range(frames + 1)]
    is_test = [quota[n] > quota[n - 1] for n in range(1, frames + 1)]
    return {
        "train": [n for n, chosen in enumerate(is_test, start=1) if not chosen],
        "test": [n for n, chosen in enumerate(is_test, start=1) if chosen],
    }


def _make_arrays(file: Any, frames: int, size: tuple[int, int]) -> None:
    height, width = size
    for key, middle, dtype, matlab in (
        ("images", (3,), np.uint8, "uint8"),
        ("depths", (), np.float32, "single"),
        ("rawDepths", (), np.float32, "single"),
        ("labels", (), np.uint16, "uint16"),
        ("instances", (), np.uint8, "uint8"),
    ):
        shape = (frames, *middle, width, height)
        options = {"chunks": (1, *shape[1:]), "compression": "gzip", "compression_opts": 1, "shuffle": True}
        _matlab(file.create_dataset(key, shape, dtype, **options), matlab)
    _matlab(file.create_dataset("accelData", (4, frames), np.float32), "single")
    _matlab(file.create_dataset(REPLICA_CAMERAS, (frames, 3, 3), np.float64), "double")


def _write_frame(file: Any, frame: int, scene: Scene, seed: int) -> None:
    arrays: dict[str, ArrayAny] = {
        "images": scene.image,
        "depths": scene.depth,
        "rawDepths": np.where(_holes(scene.depth.shape, frame, seed), np.float32(0), scene.depth),
        "labels": REPRESENTATIVES[scene.semseg],
        "instances": _numbers(scene, frame),
    }
    for key, array in arrays.items():
        file[key][frame - 1] = array.T
    file[REPLICA_CAMERAS][frame - 1] = scene.camera


def _numbers(scene: Scene, frame: int) -> npt.NDArray[np.uint8]:
    """Number of each pixel's instance within its class, from 1."""
    ids, first, inverse = np.unique(scene.instances, return_index=True, return_inverse=True)
    class_of = scene.semseg.ravel()[first]
    same_before = np.array([(class_of[: i + 1] == class_of[i]).sum() for i in range(len(ids))])
    if same_before.max() > _LARGEST_NUMBER:
        raise DataError(f"frame {frame} shows {same_before.max()} instances of one class", "Choose another seed.")
    return np.asarray(same_before[inverse].reshape(scene.instances.shape), dtype=np.uint8)


def _holes(shape: tuple[int, ...], frame: int, seed: int) -> npt.NDArray[np.bool_]:
    """Where the sensor sees no depth: a border as in the real frames, and some ellipses."""
    height, width = shape
    rng = derive_rng(seed, "nyud_official-holes", frame)
    v, u = np.mgrid[0:height, 0:width]
    holes = (np.minimum(v, height - 1 - v) < height // 50) | (np.minimum(u, width - 1 - u) < width // 60)
    for y, x, radius_y, radius_x in rng.uniform((0, 0, 0.02, 0.02), (1, 1, 0.08, 0.08), (6, 4)):
        holes |= ((v / height - y) / radius_y) ** 2 + ((u / width - x) / radius_x) ** 2 < 1
    return np.asarray(holes)


def _place(scene: Scene) -> str:
    seen = {facts.CLASSES_13[i] for i in np.unique(scene.semseg)}
    return next((place for thing, place in (("bed", "bedroom"), ("sofa", "living_room")) if thing in seen), "study")


def _write_texts(file: Any, scenes: Sequence[int], places: Sequence[str]) -> None:
    class_40 = facts.class_of_label(40)
    official = {int(label): name for label, name in zip(REPRESENTATIVES, facts.CLASSES_13, strict=True)}
    names = [
        official.get(label, f"{facts.CLASSES_40[class_40[label]]} {label}") for label in range(1, facts.LABELS + 1)
    ]
    folders = [f"{place}_{scene:06d}" for place, scene in zip(places, scenes, strict=True)]
    _cell(file, file, "names", names)
    _cell(file, file, "scenes", folders)
    _cell(file, file, "sceneTypes", places)
    for key, pattern in (("rawRgbFilenames", "{}/r-{}.ppm"), ("rawDepthFilenames", "{}/d-{}.pgm")):
        _cell(file, file, key, [pattern.format(*pair) for pair in zip(folders, scenes, strict=True)])
    ids = _matlab(file.create_group("namesToIds"), "struct")
    order = sorted(range(len(names)), key=names.__getitem__)
    _cell(file, ids, "keys", [names[i] for i in order])
    _matlab(ids.create_dataset("values", data=np.array([[i + 1] for i in order], dtype=np.float64)), "double")


def _cell(file: Any, place: Any, key: str, texts: Sequence[str]) -> None:
    """A MATLAB cell of texts: references to arrays (length, 1) of characters."""
    pool = file.require_group("#refs#")
    cell = _matlab(place.create_dataset(key, (1, len(texts)), h5py.ref_dtype), "cell")
    references = []
    for text in texts:
        characters = np.frombuffer(text.encode("utf-16-le"), dtype="<u2")[:, None]
        stored = _matlab(pool.create_dataset(f"{len(pool):06d}", data=characters), "char")
        stored.attrs["MATLAB_int_decode"] = np.int32(2)
        references.append(stored.ref)
    cell[0] = references


def _matlab(stored: Any, name: str) -> Any:
    stored.attrs["MATLAB_class"] = np.bytes_(name)
    return stored


def _write_header(path: Path, text: bytes, rest: bytes = b"") -> None:
    """Overwrites the 116 bytes of text that a MATLAB file begins with."""
    with path.open("r+b") as stream:
        stream.write(text.ljust(116) + rest)


def _write_split(path: Path, split: dict[str, list[int]]) -> None:
    columns = {f"{name}Ndxs": np.array(frames, dtype=np.uint16)[:, None] for name, frames in split.items()}
    scipy.io.savemat(str(path), columns)
    # SciPy notes the time; a replica is to be the same whenever it is written.
    _write_header(path, b"MATLAB 5.0 MAT-file, Platform: procedural")
