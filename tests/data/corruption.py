"""Ways to damage a data set: each is a function of the form, the kind of damage and a random generator."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from mtdense.data.cityscapes.boxes3d import BOXES
from mtdense.data.nyud.official_file import OFFICIAL_FILE
from tests.data.corruption_containers import CONTAINER_EDITS, Edit, Rng, pick
from tests.data.corruption_forms import PACK

__all__ = ["KINDS", "Damage", "damage"]

KINDS = (
    "truncated",
    "shape",
    "dtype",
    "missing",
    "count",
    "flips",
    "zeroed",
    "swapped",
    "link",
    "folder",
    "names",
)
"""Kinds of damage; "names" are entries of archives, or lines of lists, that lead out of the root by "../"."""

_HDF5 = (OFFICIAL_FILE, PACK)


@dataclass(frozen=True)
class Damage:
    """What was done.

    Args:
        kind: One of `KINDS`.
        files: Files that were damaged, relative to the root.
        note: What was done, for people.
        left_out: A link leads out of the root, to something whole.
    """

    kind: str
    files: tuple[str, ...]
    note: str
    left_out: bool = False


def damage(root: Path, files: Sequence[str], kind: str, rng: Rng) -> Damage:
    """Damages one file of a data set, or two.

    Args:
        root: The data set.
        files: Files that are read of it.
        kind: One of `KINDS`.
        rng: Chooses.
    """
    able = [name for name in files if _can(kind, root / name)]
    name = able[int(rng.integers(len(able)))]
    path = root / name
    if kind == "swapped" and path.name not in _HDF5:
        near = [other for other in able if other != name and Path(other).suffix == path.suffix]
        second = near[int(rng.integers(len(near)))] if near else next(other for other in files if other != name)
        content = path.read_bytes()
        path.write_bytes((root / second).read_bytes())
        (root / second).write_bytes(content)
        return Damage(kind, (name, second), f"with {second}")
    if kind == "link":
        return _link(root, name, rng)
    if kind == "folder":
        path.unlink()
        path.mkdir()
        if rng.integers(2):
            (path / "inner").write_bytes(b"1")
        return Damage(kind, (name,), "")
    maker = {"truncated": _truncate, "flips": _flip, "zeroed": _zero}.get(kind) or _EDITS[_sort(path)][kind]
    before = set(path.parent.iterdir())
    note = maker(path, rng)
    added = [new.relative_to(root).as_posix() for new in set(path.parent.iterdir()) - before]
    return Damage(kind, (name, *added), note)


def _can(kind: str, path: Path) -> bool:
    edits = _EDITS[_sort(path)]
    if kind == "count" and edits.get(kind) is _double:
        return _second_name(path) is not None
    return kind in ("truncated", "flips", "zeroed", "swapped", "link", "folder") or kind in edits


def _sort(path: Path) -> str:
    if path.name in _HDF5:
        return "official" if path.name == OFFICIAL_FILE else "pack"
    if path.stem == "mask":
        return f"mask{path.suffix}"
    if path.parent.name == "Parts":
        return ".cache"
    if path.suffix == ".npy" and path.parent.parent.name not in ("train", "val"):
        return ".array"
    if path.name.endswith(BOXES.suffix):
        return ".boxes"
    if path.suffix == ".mat" and path.parent.name == "human_parts":
        return ".parts"
    return ".picture" if path.suffix in (".png", ".jpg") else path.suffix


# ---- bytes -----------------------------------------------------------------------------------------------------------
def _truncate(path: Path, rng: Rng) -> str:
    content = path.read_bytes()
    keep = int(rng.integers(len(content)))
    path.write_bytes(content[:keep])
    return f"{keep} of {len(content)} bytes"


def _place(path: Path, length: int, rng: Rng) -> int:
    # Half of the time near the beginning or the end, where formats keep their structure.
    where = int(rng.integers(4))
    near = min(length, 2048 if path.name in _HDF5 else 96)
    if where == 0:
        return int(rng.integers(near))
    return length - 1 - int(rng.integers(near)) if where == 1 else int(rng.integers(length))


def _flip(path: Path, rng: Rng) -> str:
    content = bytearray(path.read_bytes())
    places = [_place(path, len(content), rng) for _ in range(int(2 ** rng.integers(6)))]
    for place in places:
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    return f"{len(places)} bits, the first in byte {places[0]} of {len(content)}"


def _zero(path: Path, rng: Rng) -> str:
    content = bytearray(path.read_bytes())
    start = _place(path, len(content), rng)
    length = min(1 + int(rng.integers(max(len(content) // 4, 1))), len(content) - start)
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    return f"{length} bytes from {start} of {len(content)}"


def _link(root: Path, name: str, rng: Rng) -> Damage:
    path, outside = root / name, root.with_name(f"{root.name}-outside")
    outside.mkdir()
    copy = outside / path.name
    shutil.copy(path, copy)
    (outside / "secret").write_text("root:x:0:0:root:/root:/bin/sh\n" * 9)
    path.unlink()
    choices: list[tuple[str, Callable[[], object]]] = [
        ("to another text", lambda: path.symlink_to(outside / "secret")),
        ("to nothing", lambda: path.symlink_to(outside / "none")),
        ("to itself", lambda: path.symlink_to(path)),
        ("to an endless device", lambda: path.symlink_to("/dev/zero")),
        ("to an empty device", lambda: path.symlink_to("/dev/null")),
        ("to a folder", lambda: path.symlink_to(outside)),
        ("to the same content", lambda: path.symlink_to(copy)),
        ("none, but a pipe", lambda: os.mkfifo(path)),
    ]
    note, make = choices[int(rng.integers(len(choices)))]
    make()
    return Damage("link", (name,), note, left_out=note == "to the same content")


# ---- arrays and pictures ---------------------------------------------------------------------------------------------
def _array_shape(path: Path, rng: Rng) -> str:
    a = np.load(path)
    b = pick(
        rng, lambda: a[:-1], lambda: a[:, 1:], lambda: a.ravel(), lambda: a[None, None], lambda: a[:0],
        lambda: np.stack([a] * 5, axis=-1), lambda: np.swapaxes(a, 0, 1), lambda: a.ravel()[0],
    )  # fmt: skip
    np.save(path, b)
    return f"{a.shape} to {np.shape(b)}"


def _array_dtype(path: Path, rng: Rng) -> str:
    a = np.load(path)
    b = pick(
        rng, lambda: a.astype(object), lambda: a.astype(np.complex64), lambda: a.astype("U9"),
        lambda: np.zeros(a.shape, "M8[s]"), lambda: np.zeros(a.shape, [("a", "f4"), ("b", "O")]),
        lambda: np.zeros(a.shape, "V7"), lambda: np.full(a.shape, 2**63, np.uint64),
    )  # fmt: skip
    np.save(path, b, allow_pickle=True)
    return str(b.dtype)


def _picture_shape(path: Path, rng: Rng) -> str:
    with Image.open(path) as picture:
        picture.load()
        w, h = picture.size
        size = [(w - 1, h), (w, h + 1), (1, 1), (h, w), (2 * w, 2 * h)][int(rng.integers(5))]
        picture.resize(size, Image.Resampling.NEAREST).save(path)
    return f"{w}x{h} to {size[0]}x{size[1]}"


def _picture_dtype(path: Path, rng: Rng) -> str:
    with Image.open(path) as picture:
        w, h = picture.size
    colours = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
    floats = (rng.random((h, w)) * 1000).astype(np.float32)
    made = [
        ("floats", "TIFF", Image.fromarray(floats)),
        ("colours", "PNG", Image.fromarray(colours)),
        ("16 bits", "PNG", Image.fromarray(rng.integers(0, 65536, (h, w), dtype=np.uint16))),
        ("grey and alpha", "PNG", Image.fromarray(colours[..., :2], "LA")),
        ("one bit", "PNG", Image.fromarray(colours[..., 0]).convert("1")),
    ]
    note, kind, new = made[int(rng.integers(len(made)))]
    new.save(path, format=kind)
    return note


def _mat(path: Path) -> tuple[str, Any]:
    return next((key, value) for key, value in scipy.io.loadmat(path).items() if not key.startswith("__"))


def _mat_shape(path: Path, rng: Rng) -> str:
    key, a = _mat(path)
    b = pick(rng, lambda: a[:-1], lambda: a.T, lambda: a[:0], lambda: np.stack([a] * 3, -1), lambda: a[:1, :1])
    scipy.io.savemat(path, {key: b}, do_compression=bool(rng.integers(2)))
    return f"{a.shape} to {b.shape}"


def _mat_dtype(path: Path, rng: Rng) -> str:
    key, a = _mat(path)
    cells = np.empty(a.shape[:1], dtype=object)
    cells[:] = [1.0] * len(cells)
    b = pick(
        rng, lambda: a + 1j, lambda: "text", lambda: cells, lambda: {"a": a}, lambda: scipy.sparse.csc_array(a * 1.0),
        lambda: a + 0.25, lambda: np.full(a.shape, np.nan),
    )  # fmt: skip
    scipy.io.savemat(path, {key: b})
    return type(b).__name__


def _mat_missing(path: Path, rng: Rng) -> str:
    if rng.integers(2):
        path.unlink()
        return "deleted"
    key, a = _mat(path)
    scipy.io.savemat(path, {} if rng.integers(2) else {f"{key}_": a})
    return f"no {key}"


def _parts_shape(path: Path, rng: Rng) -> str:
    a = scipy.io.loadmat(path)["anno"]
    empty = np.zeros((3, 0))
    b = pick(rng, lambda: np.vstack([a, a]), lambda: np.zeros((4, 4)), lambda: a[:0], lambda: empty)
    scipy.io.savemat(path, {"anno": b})
    return f"{a.shape} to {b.shape}"


def _parts_dtype(path: Path, rng: Rng) -> str:
    objects = np.zeros((1, 1), [(name, object) for name in ("class", "class_ind", "mask", "parts")])
    objects[0, 0] = ("person", "15", np.ones((4, 4)), np.zeros((0, 0)))
    scipy.io.savemat(path, {"anno": {"objects": objects if rng.integers(2) else "none"}})
    return "text for numbers"


def _delete(path: Path, _: Rng) -> str:
    path.unlink()
    return "deleted"


# ---- lists and JSON --------------------------------------------------------------------------------------------------
def _list_count(path: Path, rng: Rng) -> str:
    lines = path.read_text().splitlines()
    lines += [lines[0]] if rng.integers(2) else ["unknown_000000"]
    path.write_text("\n".join(lines))
    return f"one more: {lines[-1]}"


def _list_names(path: Path, rng: Rng) -> str:
    line = ["../../../../etc/passwd", "/etc/passwd", "..\\..\\secret", "a/../../b"][int(rng.integers(4))]
    path.write_text(path.read_text() + line + "\n")
    return line


def _json_edit(*values: Any) -> Callable[[Path, Rng], str]:
    def edit(path: Path, rng: Rng) -> str:
        content = json.loads(path.read_text())
        group, key = [("intrinsic", "fx"), ("intrinsic", "v0"), ("extrinsic", "baseline")][int(rng.integers(3))]
        value = values[int(rng.integers(len(values)))] if values else None
        if values:
            content[group][key] = value
        else:
            del content[group][key]
        path.write_text(json.dumps(content))
        return f"{group}.{key}: {value!r}"

    return edit


def _json_shape(path: Path, rng: Rng) -> str:
    content = json.loads(path.read_text())
    path.write_text(json.dumps([[content], "text", {"intrinsic": []}, 7][int(rng.integers(4))]))
    return "another structure"


def _box_places(content: Any) -> list[tuple[Any, str]]:
    """Objects of a file of boxes, each with the key of something that must be there."""
    found = [(content, key) for key in ("imgWidth", "sensor", "objects", "ignore")]
    found += [(content["sensor"], key) for key in ("fx", "v0", "sensor_T_ISO_8855", "baseline")]
    for item in content["objects"][:2]:
        found += [(item, key) for key in ("label", "score", "instanceId", "2d", "3d")]
        found += [(item["3d"], key) for key in ("center", "dimensions", "rotation")]
        found += [(item["2d"], key) for key in ("modal", "amodal")]
    return found + [(item, "2d") for item in content["ignore"][:1]]


def _boxes_edit(*values: Any) -> Callable[[Path, Rng], str]:
    def edit(path: Path, rng: Rng) -> str:
        content = json.loads(path.read_text())
        places = _box_places(content)
        owner, key = places[int(rng.integers(len(places)))]
        value = values[int(rng.integers(len(values)))] if values else None
        if values:
            owner[key] = value
        else:
            del owner[key]
        path.write_text(json.dumps(content))
        return f"{key}: {value!r}"

    return edit


def _boxes_count(path: Path, rng: Rng) -> str:
    content = json.loads(path.read_text())
    lists = [(owner, key) for owner, key in _box_places(content) if isinstance(owner[key], list)]
    lists = [(owner, key) for owner, key in lists if key not in ("objects", "ignore")]
    owner, key = lists[int(rng.integers(len(lists)))]
    owner[key] = owner[key][:-1] if rng.integers(2) else [*owner[key], 1.0]
    path.write_text(json.dumps(content))
    return f"{len(owner[key])} numbers in {key}"


def _cache_shape(path: Path, rng: Rng) -> str:
    path.write_text(["[[15]]", '{"a": 15}', '{"a": ["15"]}', "7", "[" * 5000][int(rng.integers(5))])
    return "another structure"


# ---- numbered and misnamed files -------------------------------------------------------------------------------------
def _numbered_count(path: Path, rng: Rng) -> str:
    new = path.with_name(["17.npy", "x.npy", "007.npy", "-1.npy", "\uff19.npy"][int(rng.integers(5))])
    if rng.integers(2):
        path.rename(new)
        return f"renamed to {new.name}"
    shutil.copy(path, new)
    return f"{new.name} beside it"


_OTHER_SUFFIX = {"segmentation": ".png .mat", "depth": ".npy .mat", "images": ".png .jpg", "room": ".npy .png .jpg"}


def _second_name(path: Path) -> Path | None:
    """A name that a second file of an image could have; None where nothing looks at such a file."""
    if path.stem.count("_") >= 3:  # Cityscapes: of no image of its city
        return path.with_name(f"zurich_1_{path.name.split('_', 3)[3]}")
    others = [suffix for suffix in _OTHER_SUFFIX.get(path.parent.name, "").split() if suffix != path.suffix]
    return path.with_suffix(others[0]) if others else None


def _double(path: Path, _: Rng) -> str:
    other = _second_name(path)
    assert other is not None
    shutil.copy(path, other)
    return f"{other.name} beside it"


_PICTURE = {"shape": _picture_shape, "dtype": _picture_dtype, "missing": _delete, "count": _double}

_EDITS: Mapping[str, Mapping[str, Edit]] = {
    ".npy": {"shape": _array_shape, "dtype": _array_dtype, "missing": _delete, "count": _numbered_count},
    ".array": {"shape": _array_shape, "dtype": _array_dtype, "missing": _delete, "count": _double},
    ".picture": _PICTURE,
    ".mat": {"shape": _mat_shape, "dtype": _mat_dtype, "missing": _mat_missing},
    ".parts": {"shape": _parts_shape, "dtype": _parts_dtype, "missing": _mat_missing},
    ".txt": {"missing": _delete, "count": _list_count, "names": _list_names},
    ".json": {"missing": _json_edit(), "dtype": _json_edit("1.0", None, True, [1], -1.0, 0), "shape": _json_shape},
    ".boxes": {
        "missing": _boxes_edit(),
        "dtype": _boxes_edit("1.0", None, True, [1], -1.0, [[1]], {}),
        "shape": _json_shape,
        "count": _boxes_count,
    },
    ".cache": {"shape": _cache_shape},
    **CONTAINER_EDITS,
}
