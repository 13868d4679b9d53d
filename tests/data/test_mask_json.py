"""Our own label mask files: what is written is what is read, and a changed file is found out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdense.core.errors import DataError
from mtdense.data.label_masks import LabelMask
from mtdense.data.mask_files import read_label_mask
from mtdense.data.mask_json import MASK_FORMAT, parse_mask_json, write_label_mask

IDS = ("b", "a", "ü/c")
TASKS = ("semseg", "depth")


def mask() -> LabelMask:
    return LabelMask(IDS, TASKS, np.array([[1, 0], [1, 1], [0, 0]], dtype=bool))


def write(folder: Path) -> Path:
    write_label_mask(folder / "new" / "m.json", mask(), dataset="nyud", setting="one-label", seed=3)
    return folder / "new" / "m.json"


def test_the_file_is_readable_by_people(tmp_path: Path) -> None:
    file = write(tmp_path)
    text = file.read_text(encoding="ascii")
    content = json.loads(text)
    assert list(content)[-1] == "labels"
    assert content == {
        "format": MASK_FORMAT,
        "version": 1,
        "dataset": "nyud",
        "tasks": ["semseg", "depth"],
        "setting": "one-label",
        "seed": 3,
        "counts": {"semseg": 2, "depth": 1},
        "images": 3,
        "ids_sha256": hashlib.sha256("b\na\nü/c".encode()).hexdigest(),
        "checksum": mask().checksum(),
        "labels": {"b": ["semseg"], "a": ["semseg", "depth"], "ü/c": []},
    }
    assert '    "a": ["semseg", "depth"],\n' in text
    assert [p.name for p in file.parent.iterdir()] == ["m.json"]  # no temporary file is left


def test_reading_orders_rows_and_columns_as_asked(tmp_path: Path) -> None:
    found = read_label_mask(write(tmp_path), ("a", "b", "ü/c"), ("depth", "semseg"), dataset="nyud")
    assert found.labelled.tolist() == [[True, True], [False, True], [False, False]]
    assert read_label_mask(tmp_path / "new" / "m.json", IDS, TASKS).checksum() == mask().checksum()


def test_files_are_not_overwritten_by_accident(tmp_path: Path) -> None:
    file = write(tmp_path)
    with pytest.raises(DataError, match="exists") as caught:
        write(tmp_path)
    assert "`--overwrite` (from Python: `overwrite=True`)" in caught.value.mend
    write_label_mask(file, mask(), dataset="other", setting="full", seed=None, overwrite=True)
    content = json.loads(file.read_text())
    assert (content["dataset"], content["seed"]) == ("other", None)
    with pytest.raises(DataError, match=r"end in \.json"):
        write_label_mask(tmp_path / "m.pth", mask(), dataset="d", setting="full", seed=None)
    with pytest.raises(DataError, match="cannot be written"):
        write_label_mask(file / "below.json", mask(), dataset="d", setting="full", seed=None)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path)
    before = file.read_bytes()

    def full_disk(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(DataError, match="No space left"):
        write_label_mask(file, mask(), dataset="other", setting="full", seed=None, overwrite=True)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ["m.json"]


def drop(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.pop(key)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda c: c["labels"].update(b=["depth"]), 'counts ({"semseg": 2, "depth": 1} in the header'),
        (lambda c: c["labels"].update(b=["depth"], a=["semseg"]), "checksum ("),
        (lambda c: c["labels"].pop("b"), "images (3 in the header, 2 by the labels), ids_sha256"),
        (lambda c: c.update(labels=dict(sorted(c["labels"].items()))), "differ in ids_sha256"),
        (lambda c: c["counts"].update(depth=7), "differ in counts"),
        (lambda c: c.update(checksum=[[1]]), "checksum (a list in the header"),
        (lambda c: c["tasks"].reverse(), "differ in checksum"),
        (drop("images"), "differ in images (null in the header"),
        (lambda c: c.update(version=2), "has version 2, this mtdense reads version 1\n  Mend: Update mtdense."),
        (lambda c: c.update(format="coco"), "not of the format"),
        (lambda c: c.update(dataset="pascal"), 'made for the data set "pascal", not for "nyud"'),
        (drop("dataset"), 'made for the data set null, not for "nyud"'),
        (drop("labels"), "lacks its list of tasks or its labels"),
        (lambda c: c.update(tasks=["semseg", "semseg"]), "lacks its list of tasks"),
        (lambda c: c["labels"].update(b=["normals"]), "[\"normals\"] for image 'b', which is no list of its tasks"),
        (lambda c: c["labels"].update(b={"semseg": [1]}), "a dict for image 'b'"),
        (lambda c: c["labels"].update(b=["semseg", "semseg"]), "for image 'b'"),
    ],
)
def test_changed_files_are_found_out(tmp_path: Path, change: Callable[[dict[str, Any]], object], part: str) -> None:
    file = write(tmp_path)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        read_label_mask(file, IDS, TASKS, dataset="nyud")
    assert str(file) in caught.value.problem
    assert part in str(caught.value)


def test_other_images_and_tasks(tmp_path: Path) -> None:
    file = write(tmp_path)
    with pytest.raises(DataError, match=r"1 unknown to the data set \('ü/c'\), 1 missing from the file \('d'\)"):
        read_label_mask(file, ("a", "b", "d"), TASKS)
    with pytest.raises(DataError, match="no labels of normals; it has semseg, depth"):
        read_label_mask(file, IDS, ("normals",))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"labels": {"a": [], "a": []}}', "'a' occurs 2 times"),
        ("[" * 100_000, "is damaged"),
        ('{"version": ' + "9" * 5000 + "}", "is damaged"),
        ("{} {}", "is damaged"),
    ],
)
def test_hostile_json(text: str, part: str) -> None:
    with pytest.raises(DataError, match=part):
        parse_mask_json(Path("m.json"), text, None)


@settings(max_examples=12, deadline=None)
@given(
    rows=st.dictionaries(st.text(max_size=8), st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=9),
)
def test_any_mask_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, tuple[bool, bool]]) -> None:
    written = LabelMask(tuple(rows), TASKS, np.array(list(rows.values()), dtype=bool))
    file = tmp_path_factory.mktemp("any") / "m.json"
    write_label_mask(file, written, dataset="d", setting="random-label", seed=0)
    found = parse_mask_json(file, file.read_text(), "d")
    assert found.ids == written.ids
    assert (found.labelled == written.labelled).all()
