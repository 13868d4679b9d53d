"""Label mask files: every published format, statistics, and what is wrong with a file."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtdense.core.errors import DataError
from mtdense.data.label_masks import BoolArray, LabelMask
from mtdense.data.mask_files import TASK_ALIASES, describe_label_mask, read_label_mask, write_label_mask
from mtdense.data.mask_pickle import MAX_BYTES
from mtdense.tasks import task_names

NYUD = ("semseg", "depth", "normals")
CITYSCAPES = ("semseg", "depth")
PASCAL = ("semseg", "human_parts", "saliency", "normals", "edges")
FOREIGN = {"human_parts": "human_parts", "edges": "edge", "semseg": "semseg", "normals": "normals", "saliency": "sal"}
"""Keys of the published PASCAL-Context files, in their order."""

# As published: labelled images per task, and images per number of labels (from 0).
PASCAL_RANDOM_COUNTS = (2450, 847, 2445, 2480, 2557)
PASCAL_RANDOM_PER_IMAGE = (0, 1538, 1529, 1541, 390, 0)
NYUD_RANDOM_PATTERNS = {"001": 143, "010": 133, "011": 127, "100": 129, "101": 115, "110": 148}


# ---- tables with the published statistics, and writers of the published formats --------------------------------------
def from_patterns(patterns: dict[str, int]) -> BoolArray:
    rows = [[digit == "1" for digit in pattern] for pattern, n in patterns.items() for _ in range(n)]
    return np.random.default_rng(0).permutation(np.array(rows, dtype=bool))


def one_label(counts: Sequence[int]) -> BoolArray:
    return from_patterns({"".join("01"[t == u] for u in range(len(counts))): n for t, n in enumerate(counts)})


def from_degrees(per_task: Sequence[int], per_image: Sequence[int]) -> BoolArray:
    """A table with these sums of columns and this histogram of sums of rows."""
    left = np.array(per_task)
    rows = []
    for k in reversed(range(len(per_image))):
        for _ in range(per_image[k]):
            row = np.zeros(len(left), dtype=bool)
            row[np.argsort(-left, kind="stable")[:k]] = True
            left = left - row
            rows.append(row)
    assert not left.any()
    return np.random.default_rng(1).permutation(np.array(rows))


def pascal_ids(n: int = 4998) -> list[str]:
    names = [f"{2008 + i % 3}_{i:06d}" for i in range(n)]
    return [names[i] for i in np.random.default_rng(2).permutation(n)]  # published order need not be sorted


def as_numpy_1(pickled: bytes) -> bytes:
    assert b"numpy._core.multiarray" in pickled
    return pickled.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def save_npy(path: Path, content: object, numpy: int = 2) -> Path:
    array = np.empty((), dtype=object)
    array[()] = content
    if numpy == 2:
        np.save(path, array, allow_pickle=True)
        return path
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    path.write_bytes(stream.getvalue() + as_numpy_1(pickle.dumps(array, protocol=3)))
    return path


def save_torch(path: Path, content: object, *, numpy: int = 2, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    if numpy == 1:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, data in parts.items():
                archive.writestr(name, as_numpy_1(data) if name.endswith("data.pkl") else data)
    return path


def id_rows(ids: Sequence[str], table: BoolArray) -> dict[Any, list[int]]:
    rows = {np.str_(name): [int(v) for v in row] for name, row in zip(ids, table, strict=True)}
    return dict(sorted(rows.items()))  # another order than the data set's


def id_lists(ids: Sequence[str], table: BoolArray, shuffled: bool) -> dict[str, list[Any]]:
    rng = np.random.default_rng(3)
    lists = {}
    for task, foreign in FOREIGN.items():
        names = sorted(np.str_(ids[i]) for i in np.flatnonzero(table[:, PASCAL.index(task)]))
        lists[foreign] = [names[i] for i in rng.permutation(len(names))] if shuffled else names
    return lists


def same(mask: LabelMask, ids: Sequence[str], tasks: Sequence[str], table: BoolArray) -> bool:
    return mask.ids == tuple(ids) and mask.tasks == tuple(tasks) and bool((mask.labelled == table).all())


# ---- published formats -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("columns", "table"),
    [
        (NYUD, one_label((265, 265, 265))),
        (NYUD, from_patterns(NYUD_RANDOM_PATTERNS)),
        (CITYSCAPES, one_label((1487, 1488))),
    ],
    ids=["nyud one-label", "nyud random-label", "cityscapes one-label"],
)
def test_tables_of_nyud_and_cityscapes(tmp_path: Path, columns: tuple[str, ...], table: BoolArray) -> None:
    ids = [f"{i}" for i in range(len(table))]
    weights = torch.from_numpy(table.astype(np.float32))
    fortran = np.asfortranarray(table.astype(np.uint8))
    np.save(tmp_path / "numbers.npy", fortran)
    files = [
        save_torch(tmp_path / "published.pth", {"labels_weights": weights}, legacy=True),
        save_torch(tmp_path / "zip.pt", {"labels_weights": weights}),
        save_torch(tmp_path / "bare.pth", weights),
        save_torch(tmp_path / "numpy.pth", {"labels_weights": weights.numpy()}),
        save_torch(tmp_path / "numpy_1.pth", {"labels_weights": fortran}, numpy=1),
        save_npy(tmp_path / "object.npy", {"labels_weights": weights.numpy()}),
        tmp_path / "numbers.npy",
    ]
    for file in files:
        assert same(read_label_mask(file, ids, columns, columns=columns), ids, columns, table), file.name
    fewer = ("depth", "semseg")
    assert same(read_label_mask(files[0], ids, fewer, columns=columns), ids, fewer, table[:, [1, 0]])


@pytest.mark.parametrize("numpy", [1, 2])
def test_pascal_one_label(tmp_path: Path, numpy: int) -> None:
    ids, table = pascal_ids(), one_label((1000, 999, 1000, 1000, 999))
    lists = save_npy(tmp_path / "onelabel.npy", id_lists(ids, table, shuffled=True), numpy)
    rows = save_torch(tmp_path / "new_onelabel.pth", id_rows(ids, table), numpy=numpy)
    assert same(read_label_mask(lists, ids, PASCAL), ids, PASCAL, table)
    assert same(read_label_mask(rows, ids, PASCAL, columns=PASCAL), ids, PASCAL, table)


def test_pascal_random_label(tmp_path: Path) -> None:
    ids, table = pascal_ids(), from_degrees(PASCAL_RANDOM_COUNTS, PASCAL_RANDOM_PER_IMAGE)
    lists = save_npy(tmp_path / "randomlabels.npy", id_lists(ids, table, shuffled=False), numpy=1)
    rows = save_torch(tmp_path / "new_randomlabels.pth", id_rows(ids, table), numpy=1)
    mask = read_label_mask(lists, ids, PASCAL)
    assert same(mask, ids, PASCAL, table)
    assert read_label_mask(rows, ids, PASCAL, columns=PASCAL).checksum() == mask.checksum()
    statistics = describe_label_mask(mask)
    assert statistics["counts"] == dict(zip(PASCAL, PASCAL_RANDOM_COUNTS, strict=True))
    assert statistics["labels_per_image"] == {str(k): n for k, n in enumerate(PASCAL_RANDOM_PER_IMAGE)}
    assert statistics["labels"] == 10779


def test_lists_in_other_clothes(tmp_path: Path) -> None:
    ids = ["a", "b", "ü", "dd"]
    content = {"semantic": ["a", "dd"], "Surface Normals": ("ü",), "edge": np.array(["dd", "ü"])}
    tasks = ("normals", "semseg", "edges")
    table = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]], dtype=bool)  # "b" is in no list: no labels
    files = [
        save_torch(tmp_path / "lists.pth", content),
        save_torch(tmp_path / "lists_1.pth", content, numpy=1),
        save_npy(tmp_path / "lists.npy", content),
        save_npy(tmp_path / "big_endian.npy", {**content, "edge": np.array(["dd", "ü"], dtype=">U5")}),
    ]
    for file in files:
        assert same(read_label_mask(file, ids, tasks), ids, tasks, table), file.name


def test_csv(tmp_path: Path) -> None:
    file = tmp_path / "mask.csv"
    file.write_text("\ufeffid,seg,depth\nb, 1,0\na,0,1\n\n", encoding="utf-8")
    mask = read_label_mask(file, ["a", "b"], ["depth", "semseg"])
    assert same(mask, ["a", "b"], ["depth", "semseg"], np.array([[True, False], [False, True]]))


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    lists = {"semseg": ["a"], "depth": ["b"]}
    renamed = save_npy(tmp_path / "x.npy", lists).rename(tmp_path / "x.csv")
    assert read_label_mask(renamed, ["a", "b"], ["depth"]).counts() == {"depth": 1}
    (tmp_path / "y.txt").write_text("id,semseg\na,1\nb,0\n")
    assert read_label_mask(tmp_path / "y.txt", ["a", "b"], ["semseg"]).counts() == {"semseg": 1}


def test_aliases_name_our_tasks() -> None:
    assert set(TASK_ALIASES.values()) <= set(task_names())
    assert not set(TASK_ALIASES) & set(task_names())


# ---- drawn masks, through our own file -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("n", "tasks", "counts"),
    [(795, NYUD, [265, 265, 265]), (2975, CITYSCAPES, [1487, 1488]), (4998, PASCAL, [999, 999, 1000, 1000, 1000])],
)
def test_drawn_one_label_masks_have_the_published_counts(
    tmp_path: Path, n: int, tasks: tuple[str, ...], counts: list[int]
) -> None:
    ids = pascal_ids(n)
    write_label_mask(tmp_path / "m.json", LabelMask.one_label(ids, tasks, 4), dataset="d", setting="one-label", seed=4)
    statistics = describe_label_mask(read_label_mask(tmp_path / "m.json", ids, tasks, dataset="d"))
    assert sorted(statistics["counts"].values()) == counts
    assert statistics["labels_per_image"] == {str(k): n if k == 1 else 0 for k in range(len(tasks) + 1)}
    assert len(statistics["patterns"]) == len(tasks)


def test_drawn_random_label_masks_are_like_the_published_ones() -> None:
    nyud = describe_label_mask(LabelMask.random_label(pascal_ids(795), NYUD, 5))
    # Binomial around 397.5 with sigma 14, and around 132.5 with 10.5; four sigma.
    assert all(abs(count - 397.5) < 57 for count in nyud["counts"].values())
    assert nyud["labels_per_image"]["0"] == nyud["labels_per_image"]["3"] == 0
    assert set(nyud["patterns"]) == set(NYUD_RANDOM_PATTERNS)
    assert all(abs(count - 132.5) < 42 for count in nyud["patterns"].values())
    assert set(describe_label_mask(LabelMask.random_label(pascal_ids(2975), CITYSCAPES, 5))["patterns"]) == {"01", "10"}
    people = np.ones((4998, 5), dtype=bool)
    people[1700:, 1] = False
    pascal = describe_label_mask(LabelMask.random_label(pascal_ids(), PASCAL, 5, people))
    # The published numbers themselves lie in the range of what is drawn: four sigma of a binomial.
    for key, published in enumerate(PASCAL_RANDOM_PER_IMAGE):
        assert abs(pascal["labels_per_image"][str(key)] - published) <= 4 * np.sqrt(published)
    for task, published in zip(PASCAL, PASCAL_RANDOM_COUNTS, strict=True):
        assert abs(pascal["counts"][task] - published) <= 4 * np.sqrt(published)


def test_statistics_are_plain_values() -> None:
    mask = LabelMask(("a", "b", "c"), ("s", "d"), np.array([[1, 0], [1, 1], [1, 0]], dtype=bool))
    assert describe_label_mask(mask) == {
        "images": 3,
        "labels": 4,
        "tasks": ["s", "d"],
        "counts": {"s": 3, "d": 1},
        "labels_per_image": {"0": 0, "1": 2, "2": 1},
        "patterns": {"10": 2, "11": 1},
    }


# ---- what is wrong with a file ---------------------------------------------------------------------------------------
IDS = ("a", "b", "c")
GOOD = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)


def refuse(
    path: Path, *parts: str, tasks: Sequence[str] = CITYSCAPES, columns: Sequence[str] | None = CITYSCAPES
) -> None:
    with pytest.raises(DataError) as caught:
        read_label_mask(path, IDS, tasks, columns=columns)
    assert str(path) in caught.value.problem
    assert caught.value.mend
    for part in parts:
        assert part in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("array", "parts"),
    [
        (GOOD[:2], ["2 rows", "3 training images", "Use the mask of this data set"]),
        (GOOD.T, ["2 rows"]),
        (np.ones((3, 3)), ["3 columns", "2 (semseg, depth)"]),
        (np.ones(3), ["shape (3,)"]),
        (GOOD * 0.5, ["0.5 for semseg in row 0"]),
        (np.array([[1, 1], [1, np.nan], [1, 1]]), ["nan for depth in row 1"]),
        (GOOD - 1, ["-1.0 for depth in row 0"]),
        (GOOD * [1, 0], ["no image a label of depth"]),
        (GOOD.astype(complex), ["damaged or no label mask"]),
    ],
)
def test_faulty_tables(tmp_path: Path, array: np.ndarray[Any, Any], parts: list[str]) -> None:
    np.save(tmp_path / "t.npy", array)
    refuse(tmp_path / "t.npy", *parts)
    refuse(save_torch(tmp_path / "t.pth", {"labels_weights": torch.from_numpy(np.ascontiguousarray(array))}), *parts)


def test_a_table_needs_to_know_its_columns(tmp_path: Path) -> None:
    file = save_torch(tmp_path / "t.pth", torch.from_numpy(GOOD))
    refuse(file, "order of its columns is not known", "CSV", columns=None)
    refuse(file, "no labels of edges; it has semseg, depth", tasks=("edges", "depth"))
    refuse(save_npy(tmp_path / "r.npy", {"a": [1, 0]}), "order of its columns is not known", columns=None)


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ({"a": [1, 0], "b": [0, 1]}, ["2 images, the data set has 3", "1 missing from the file ('c')"]),
        ({"a": [1, 0], "b": [0, 1], "c": [1, 0], "x": [0, 0]}, ["1 unknown to the data set ('x')"]),
        ({n: [1, 0] for n in "uvwxy"}, ["5 unknown", "'u', 'v', 'w', …", "3 missing", "'a', 'b', 'c')"]),
        ({n: [1, 0, 1] for n in "abc"}, ["3 values for image 'a', not 2 (semseg, depth)"]),
        ({"a": [1, 0], "b": [0, 1], "c": 1}, ["no row for image 'c'"]),
        ({"a": [1, 0], "b": [0, 2], "c": [1, 1]}, ["2 for depth of image 'b'"]),
        ({"a": [1, 0], "b": [0, None], "c": [1, 1]}, ["NoneType for depth of image 'b'"]),
        ({"a": [1, 0], "b": [0, 10**400], "c": [1, 1]}, ["int for depth of image 'b'"]),
        ({n: [0, 1] for n in "abc"}, ["no image a label of semseg"]),
        ({0: [1, 0], 1: [0, 1], 2: [1, 1]}, ["no image ids"]),
        ({}, ["holds a dict and no mask"]),
        ([[1, 0]], ["holds a list and no mask"]),
        (7, ["holds a int and no mask"]),
    ],
)
def test_faulty_rows(tmp_path: Path, rows: object, parts: list[str]) -> None:
    refuse(save_npy(tmp_path / "r.npy", rows), *parts)
    refuse(save_torch(tmp_path / "r.pth", rows), *parts)


@pytest.mark.parametrize(
    ("lists", "parts"),
    [
        (
            {"semseg": ["a"], "depth": ["x", "b"]},
            ["lists 3 images, the data set has 3: 1 unknown to the data set ('x')"],
        ),
        ({"semseg": ["a"], "depths": ["b"]}, ["unknown task 'depths'", "Did you mean 'depth'?"]),
        ({"semseg": ["a"], "seg": ["b"], "depth": ["c"]}, ["'semseg' 2 times"]),
        ({"semseg": ["a", "b", "a"], "depth": ["c"]}, ["twice for semseg: 'a'"]),
        ({"semseg": ["a", 1], "depth": ["c"]}, ["something else than a list of image ids for semseg"]),
        ({"semseg": ["a"], "depth": []}, ["no image a label of depth"]),
        ({"semseg": ["a"]}, ["no labels of depth; it has semseg"]),
        ({3: ["a"]}, ["a task name that is a int"]),
    ],
)
def test_faulty_lists(tmp_path: Path, lists: object, parts: list[str]) -> None:
    refuse(save_npy(tmp_path / "l.npy", lists), *parts)
    refuse(save_torch(tmp_path / "l.pth", lists), *parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("id,semseg,depth\na,1,0\nb,0,2\nc,0,0\n", ["'2' for depth in line 3"]),
        ("id,semseg,depth\na,1,0\nb,0,1\n", ["1 missing from the file ('c')"]),
        ("id,semseg,depth\na,1\n", ["2 cells in line 2, not 3"]),
        ("id,semseg,depth\na,1,0\na,1,0\n", ["'a' again in line 3"]),
        ("id,semseg,dpeth\na,1,0\n", ["'dpeth'", "Did you mean 'depth'?"]),
        ("id,semseg\na,1\nb,1\nc,1\n", ["no labels of depth"]),
        ("image,semseg\n", ["header 'image,semseg'", "id,task"]),
        ('id,semseg,depth\na,"1,0\n', ["damaged in line"]),
        ("id\n", ["begins with the header 'id'"]),
    ],
)
def test_faulty_csv(tmp_path: Path, text: str, parts: list[str]) -> None:
    (tmp_path / "m.csv").write_text(text)
    refuse(tmp_path / "m.csv", *parts)


def test_faulty_files(tmp_path: Path) -> None:
    refuse(tmp_path / "none.pth", "does not exist", "--data.label_file")
    refuse(tmp_path, "is no file")
    for name, content, part in (
        ("empty.json", b"", "is empty"),
        ("picture.png", b"\x89PNG\r\n", "no known format"),
        ("prose.txt", b"hello", "no known format"),
        ("broken.json", b'{"format": ', "is damaged"),
        ("list.json", b"[1]", "not of the format"),
    ):
        (tmp_path / name).write_bytes(content)
        refuse(tmp_path / name, part)
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    refuse(tmp_path / "large.csv", "the limit")


@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_files_cut_short(tmp_path: Path, share: float) -> None:
    files = [
        save_npy(tmp_path / "a.npy", {"semseg": list("ab"), "depth": ["c"]}),
        save_torch(tmp_path / "b.pth", id_rows(IDS, GOOD > 0)),
        save_torch(tmp_path / "c.pth", {"labels_weights": torch.from_numpy(GOOD)}, legacy=True),
    ]
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])
        refuse(file, "damaged")
