"""Ways to damage what is kept in one file: the official file of NYUD-v2, packs, and label masks."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mtdense.data.nyud.official_file import REPLICA_ATTRIBUTE, REPLICA_CAMERAS
from mtdense.data.pack import HEADER, digest_index
from tests.data.corruption_forms import MASK_IDS, MASK_TASKS

__all__ = ["CONTAINER_EDITS", "Edit", "Rng", "pick"]

Rng = np.random.Generator
Edit = Callable[[Path, Rng], str]


def pick(rng: Rng, *choices: Callable[[], Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]()


# ---- official file ---------------------------------------------------------------------------------------------------
_KEYS = ("images", "labels", "instances", "depths", REPLICA_CAMERAS)


def _official(make: Callable[[Any, str, Rng], str]) -> Callable[[Path, Rng], str]:
    def edit(path: Path, rng: Rng) -> str:
        with h5py.File(path, "a") as file:
            return make(file, _KEYS[int(rng.integers(len(_KEYS)))], rng)

    return edit


def _replace(file: Any, key: str, value: Any) -> str:
    del file[key]
    if value is not None:
        file[key] = value
    return f"{key}: {getattr(value, 'shape', value)}"


def _official_count(file: Any, key: str, rng: Rng) -> str:
    if rng.integers(2):
        return _replace(file, key, np.concatenate([file[key][...], file[key][:1]]))
    mark = json.loads(file.attrs[REPLICA_ATTRIBUTE])
    mark["split"]["train"] = [mark["split"]["train"][:-1], [1, 1, 2], [0], [10**9], "x"][int(rng.integers(5))]
    file.attrs[REPLICA_ATTRIBUTE] = json.dumps(mark)
    return f"split {mark['split']}"


def _official_shape(file: Any, key: str, rng: Rng) -> str:
    a = file[key][...]
    return _replace(file, key, pick(rng, lambda: a[..., :-1], lambda: a.ravel(), lambda: a[None], lambda: a[:0]))


def _official_dtype(file: Any, key: str, rng: Rng) -> str:
    a = file[key][...]
    other = np.float64 if a.dtype.kind in "iu" else np.int32
    return _replace(file, key, pick(rng, lambda: a.astype(other), lambda: a.astype("S4"), lambda: a.astype("c8")))


def _official_link(file: Any, key: str, rng: Rng) -> str:
    link = pick(rng, lambda: h5py.SoftLink("/none"), lambda: h5py.ExternalLink("../../other.h5", "/x"))
    return _replace(file, key, link)


# ---- packs -----------------------------------------------------------------------------------------------------------
def _pack(make: Callable[[Any, Rng], str]) -> Callable[[Path, Rng], str]:
    def edit(path: Path, rng: Rng) -> str:
        with h5py.File(path, "a") as file:
            return make(file, rng)

    return edit


def _sign(file: Any, names: list[str], sizes: Any, **header: Any) -> None:
    """Puts another index into a pack, with the checksums that belong to it."""
    facts = {**json.loads(file.attrs[HEADER]), "entries": len(names), **header}
    sizes, digests = np.asarray(sizes, dtype="<i8"), file["sha256"][: len(names)]
    joined = "\n".join(names).encode()
    for key, value in (("names", np.frombuffer(joined, np.uint8)), ("sizes", sizes), ("sha256", digests)):
        _replace(file, key, value)
    if "catalogue" in file:
        facts["catalogue_sha256"] = hashlib.sha256(file["catalogue"][...].tobytes()).hexdigest()
    facts["index_sha256"] = digest_index(joined, sizes, digests)
    file.attrs[HEADER] = json.dumps(facts)


def _index(file: Any) -> tuple[list[str], list[int]]:
    return file["names"][...].tobytes().decode().split("\n"), file["sizes"][...].tolist()


def _pack_names(file: Any, rng: Rng) -> str:
    names, sizes = _index(file)
    bad = ["../evil.png", "/etc/passwd", "a/../../b", names[1], f"{names[1]}/inner", "a//b", "."][int(rng.integers(7))]
    names[0] = bad
    _sign(file, names, sizes)
    return f"{bad}, signed"


def _pack_count(file: Any, rng: Rng) -> str:
    names, sizes = _index(file)
    choice = int(rng.integers(4))
    if choice == 0:  # the last entry is not named any more
        _sign(file, names[:-1], sizes[:-1])
    elif choice == 1:
        _sign(file, names, [*sizes[:-2], sizes[-2] + 1, sizes[-1] - 1])
    elif choice == 2:
        _sign(file, names, [*sizes[:-1], -1])
    else:
        _sign(file, names, sizes, entries=len(names) + 1)
    return f"choice {choice}, signed"


def _pack_shape(file: Any, rng: Rng) -> str:
    if "catalogue" in file:
        catalogue = json.loads(file["catalogue"][...].tobytes())
        shape = catalogue["forms"][0]["arrays"]["image"][2]
        shape[int(rng.integers(3))] = [0, -1, 7, 10**9, "x"][int(rng.integers(5))]
        _replace(file, "catalogue", np.frombuffer(json.dumps(catalogue).encode(), np.uint8))
        _sign(file, *_index(file))
        return f"image {shape}, signed"
    key = ("content", "names", "sizes", "sha256")[int(rng.integers(4))]
    return _replace(file, key, file[key][...][:-1] if rng.integers(2) else file[key][...][None])


def _pack_dtype(file: Any, rng: Rng) -> str:
    if "catalogue" in file:
        catalogue = json.loads(file["catalogue"][...].tobytes())
        kinds = catalogue["forms"][0]["arrays"]["depth"]
        kinds[int(rng.integers(2))] = ["object", "complex64", "U4", None, "V8"][int(rng.integers(5))]
        _replace(file, "catalogue", np.frombuffer(json.dumps(catalogue).encode(), np.uint8))
        _sign(file, *_index(file))
        return f"depth {kinds}, signed"
    key = ("content", "names", "sizes", "sha256")[int(rng.integers(4))]
    return _replace(file, key, file[key][...].astype(("f4", "i2", "S3")[int(rng.integers(3))]))


def _pack_missing(file: Any, rng: Rng) -> str:
    key = ("content", "names", "sizes", "sha256", HEADER)[int(rng.integers(5))]
    if key == HEADER:
        del file.attrs[key]
        return key
    return _replace(file, key, pick(rng, lambda: None, lambda: h5py.ExternalLink("../../other.h5", "/x")))


def _pack_swapped(file: Any, rng: Rng) -> str:
    names, sizes = _index(file)
    ends = np.cumsum(sizes)
    i, j = rng.choice([k for k, size in enumerate(sizes) if size > 8], 2, replace=False)
    content, length = file["content"], int(min(sizes[i], sizes[j]))
    starts = [int(ends[k]) - sizes[k] for k in (i, j)]
    first, second = (content[start : start + length] for start in starts)
    content[starts[0] : starts[0] + length], content[starts[1] : starts[1] + length] = second, first
    return f"{names[i]} and {names[j]}"


# ---- label masks -----------------------------------------------------------------------------------------------------
def _mask_table(change: Callable[[list[list[str]], Rng], list[list[str]]]) -> Callable[[Path, Rng], str]:
    def edit(path: Path, rng: Rng) -> str:
        rows = [line.split(",") for line in path.read_text().split()]
        rows = change(rows, rng)
        path.write_text("\n".join(",".join(row) for row in rows))
        return f"{len(rows)} lines"

    return edit


def _mask_npy(*contents: Any) -> Callable[[Path, Rng], str]:
    def edit(path: Path, rng: Rng) -> str:
        content = contents[int(rng.integers(len(contents)))]
        if not isinstance(content, np.ndarray):
            holder = np.empty((), dtype=object)
            holder[()] = content
            content = holder
        np.save(path, content, allow_pickle=True)
        return str(content.dtype)

    return edit


def _mask_names(path: Path, rng: Rng) -> str:
    source = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        rename = bool(rng.integers(2))
        for entry in old.infolist():
            new.writestr(f"../../{entry.filename}" if rename else entry.filename, old.read(entry))
        if not rename:
            new.writestr("../../evil.txt", b"evil")
    return "renamed" if rename else "added"


def _mask_json(key: str, *values: Any) -> Callable[[Path, Rng], str]:
    def edit(path: Path, rng: Rng) -> str:
        content = json.loads(path.read_text())
        value = values[int(rng.integers(len(values)))] if values else None
        content.update({key: value}) if values else content.pop(key)
        path.write_text(json.dumps(content))
        return f"{key}: {value!r}"[:80]

    return edit


_ONES = np.ones((len(MASK_IDS), len(MASK_TASKS)), np.float32)
_LISTS: dict[str, Any] = {task: list(MASK_IDS) for task in MASK_TASKS}


def _delete(path: Path, _: Rng) -> str:
    path.unlink()
    return "deleted"


CONTAINER_EDITS: Mapping[str, Mapping[str, Edit]] = {
    "official": {
        "shape": _official(_official_shape),
        "dtype": _official(_official_dtype),
        "missing": _official(lambda file, key, rng: _replace(file, key, None)),
        "count": _official(_official_count),
        "names": _official(_official_link),
        "swapped": _official(lambda file, key, rng: _replace(file, key, file["rawDepths"][...])),
    },
    "pack": {
        "shape": _pack(_pack_shape),
        "dtype": _pack(_pack_dtype),
        "missing": _pack(_pack_missing),
        "count": _pack(_pack_count),
        "swapped": _pack(_pack_swapped),
        "names": _pack(_pack_names),
    },
    "mask.csv": {
        "shape": _mask_table(lambda rows, rng: [row[:-1] if i % 3 else row for i, row in enumerate(rows)]),
        "dtype": _mask_table(lambda rows, rng: [[*row[:-1], "yes"] if i else row for i, row in enumerate(rows)]),
        "missing": _mask_table(lambda rows, rng: [row[:-1] for row in rows]),
        "count": _mask_table(lambda rows, rng: rows[:-1] if rng.integers(2) else [*rows, rows[-1]]),
        "names": _mask_table(lambda rows, rng: [*rows, ["../../evil", "1", "0", "0"]]),
    },
    "mask.json": {
        "shape": _mask_json("labels", [], 7, {MASK_IDS[0]: 1}),
        "dtype": _mask_json("tasks", "semseg", [1, 2, 3], None),
        "missing": _mask_json("checksum"),
        "count": _mask_json("labels", {name: ["depth"] for name in MASK_IDS[1:]}),
        "names": _mask_json("labels", {f"../{name}": ["depth"] for name in MASK_IDS}),
    },
    "mask.npy": {
        "shape": _mask_npy(_ONES[:, :2], _ONES[None], _ONES.ravel(), _ONES[:0]),
        "dtype": _mask_npy(_ONES.astype("M8[s]"), _ONES * 0.5, _ONES * 1j, dict.fromkeys(MASK_TASKS, 7), len),
        "missing": _mask_npy({"semseg": list(MASK_IDS)}),
        "count": _mask_npy(_ONES[:-1], {**_LISTS, "depth": [*MASK_IDS, MASK_IDS[0]]}),
        "names": _mask_npy({**_LISTS, "depth": ["../../evil"]}),
    },
    "mask.pth": {"missing": _delete, "names": _mask_names},
}
