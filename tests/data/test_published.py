"""Held-out images, marks of replicas, fingerprints, checks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.label_coding import LabelCoding
from mtdense.data.procedural import PROCEDURAL_VERSION
from mtdense.data.published import (
    REPLICA_FILE,
    PublishedData,
    check_folders,
    encode_normals,
    few,
    files_version,
    prepare_replica,
    replica_mark,
    write_replica_mark,
)
from mtdense.tasks import build_tasks

IDS = [f"train-{i}" for i in range(40)]
SCENES = {"seed": 3, "size": (16, 20), "scenes": {"train": 2, "test": 1}}


def test_mark_of_a_replica(tmp_path: Path) -> None:
    assert replica_mark(tmp_path) is None
    assert replica_mark(tmp_path / "nowhere") is None
    write_replica_mark(tmp_path / "new", **SCENES)
    expected = {"renderer": PROCEDURAL_VERSION, "seed": 3, "size": [16, 20], "scenes": {"train": 2, "test": 1}}
    assert replica_mark(tmp_path / "new") == expected


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b"[" * 70_000])
def test_a_damaged_mark_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / REPLICA_FILE).write_bytes(content)
    with pytest.raises(DataError, match=REPLICA_FILE):
        replica_mark(tmp_path)


def test_replicas_are_written_to_empty_folders_only(tmp_path: Path) -> None:
    prepare_replica(tmp_path / "new", **SCENES)
    prepare_replica(tmp_path / "new", **SCENES)  # again, as after an interruption
    assert json.loads((tmp_path / "new" / REPLICA_FILE).read_text())["seed"] == 3
    with pytest.raises(DataError, match="a replica of other scenes"):
        prepare_replica(tmp_path / "new", **{**SCENES, "seed": 4})
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").touch()
    with pytest.raises(DataError, match="is not empty and holds no replica"):
        prepare_replica(tmp_path / "photos", **SCENES)
    with pytest.raises(DataError, match="is a file"):
        prepare_replica(tmp_path / "photos" / "mine.jpg", **SCENES)
    with pytest.raises(ConfigError, match="at least one scene"):
        prepare_replica(tmp_path / "other", **{**SCENES, "scenes": {"train": 0, "test": 0}})
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["mine.jpg"]


def test_version_follows_names_sizes_and_the_mark(tmp_path: Path) -> None:
    files = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for path in files:
        path.write_bytes(b"12")
    version = files_version("set", files, tmp_path)
    assert version.startswith("set-") and version == files_version("set", files[::-1], tmp_path)
    files[1].write_bytes(b"123")
    assert files_version("set", files, tmp_path) != version
    write_replica_mark(tmp_path, **SCENES)
    assert files_version("set", files, tmp_path).startswith("replica-set-")
    with pytest.raises(DataError, match="cannot be found"):
        files_version("set", [tmp_path / "c.npy"], tmp_path)


def test_a_folder_further_down_is_pointed_at(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder: .*nowhere(.|\n)*Ask X\."):
        check_folders(tmp_path / "nowhere", ["images"], "Ask X.")
    with pytest.raises(DataError, match=r"no such folder: .*images(.|\n)*Ask X\."):
        check_folders(tmp_path, ["images"], "Ask X.")
    (tmp_path / "inner" / "images").mkdir(parents=True)
    with pytest.raises(DataError, match=r"Set `data.root` to .*inner\."):
        check_folders(tmp_path, ["images"], "Ask X.")
    check_folders(tmp_path / "inner", ["images"], "Ask X.")


@pytest.mark.parametrize("axes", ["+x+y+z", "+x+z-y", "-x-y-z", "-z+x+y"])
def test_normals_are_encoded_as_they_are_decoded(axes: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 5, 3)) - (0, 0, 2)
    normals = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    normals[0, 0] = 0
    task = build_tasks({"normals": {}})["normals"]
    stored = encode_normals(normals, axes)
    decoded = LabelCoding(normals_axes=axes).decode(task, stored, "x")
    np.testing.assert_allclose(decoded, normals, atol=1e-6)
    assert not np.signbit(stored[0, 0]).any()


def test_published_data_are_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PublishedData, "registered", dict(PublishedData.registered))  # leaves nothing for other tests
    made = PublishedData("test_of_names", {"train": 3}, {"train": {"depth": 2, "semseg": None}}, "here")
    assert PublishedData.registered["test_of_names"] is made
    PublishedData("test_of_names", {"train": 3}, {"train": {"depth": 2, "semseg": None}}, "here")
    with pytest.raises(ConfigError, match="test_of_names"):
        PublishedData("test_of_names", {"train": 4}, {}, "here")


@pytest.mark.parametrize("labels", [{"train": {"depth": 4}}, {"test": {"depth": 1}}])
def test_published_labels_need_their_images(labels: dict[str, dict[str, int]]) -> None:
    with pytest.raises(ConfigError, match="more labels than images"):
        PublishedData("test_of_counts", {"train": 3}, labels, "here")
    assert "test_of_counts" not in PublishedData.registered


def test_a_few_names() -> None:
    assert few(["a", "b"]) == "a, b"
    assert few(["a", "b", "c"], limit=2) == "a, b and 1 more"
