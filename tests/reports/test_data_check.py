from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mtdense.core.errors import DataError
from mtdense.data import DenseDataset, RawImage
from mtdense.data.published import PublishedData
from mtdense.reports.data_check import check_data
from mtdense.reports.data_findings import DataCheck, Expected
from mtdense.reports.label_statistics import LabelStatistics
from mtdense.reports.manifest import compare, digest_files
from mtdense.tasks import build_tasks

SPECS = {"semseg": {"num_classes": 3}, "human_parts": {}}


class Memory(DenseDataset):
    """Ten images; every second one has a label of human parts, of no person in every fourth."""

    version = "memory"

    def __init__(self, shape=(4, 6), together=True):
        self.ids = [f"{i}" for i in range(10)]
        self.shape = shape
        self.together = together
        self.asked = []

    def task_specs(self):
        return SPECS

    def available(self, index):
        return frozenset({"semseg", "human_parts"} if index % 2 else {"semseg"})

    def load(self, index, tasks):
        self.asked.append((index, tuple(tasks)))
        if len(tasks) == 2 and not self.together:
            raise DataError("the labels do not agree", "Restore them.")
        labels = {
            "semseg": np.full(self.shape, index % 3),
            "human_parts": np.full(self.shape, 0 if index % 4 == 1 else 2),
        }
        image = np.zeros((4, 6, 3), np.uint8)
        return RawImage(self.ids[index], image, {task: labels[task] for task in tasks})


def run(dataset, expected=None, samples=None):
    check = DataCheck("memory", None, samples)
    check_data(check, ["train"], build_tasks(SPECS), lambda split, tasks: dataset, expected or Expected())
    return check, {part.task: part for part in check.parts}


def test_counts_and_statistics():
    check, parts = run(Memory())
    assert check.findings == []
    assert (parts[None].found, parts["semseg"].found, parts["human_parts"].found) == (10, 10, 5)
    statistics = parts["semseg"].statistics
    assert statistics.histogram.tolist() == [4 * 24, 3 * 24, 3 * 24]
    assert statistics.shares.tolist() == pytest.approx([0.4, 0.3, 0.3])
    # Images 1, 5 and 9 show no person: such a label has no valid pixel in training.
    assert (parts["human_parts"].statistics.empty, parts["human_parts"].statistics.labels) == (3, 5)
    assert parts["human_parts"].statistics.valid_share == pytest.approx(0.4)


def test_a_sample_reads_no_more_than_it_says():
    dataset = Memory()
    _, parts = run(dataset, samples=3)
    assert [index for index, _ in dataset.asked] == [0, 4, 9]
    assert parts[None].decoded == 3
    # Tasks that an image has no label of are not asked for.
    assert dataset.asked[0][1] == ("semseg",)


@pytest.mark.parametrize(
    ("labels", "findings"),
    [
        ({"human_parts": None}, []),
        ({"human_parts": 5}, []),
        ({"human_parts": 7}, [("missing", 2, ())]),  # those without are not the ones at fault
        ({"human_parts": 10}, [("missing", 5, ("0", "2", "4", "6", "8"))]),
        ({"human_parts": 3}, []),
    ],
)
def test_labels_that_not_every_image_has(labels, findings):
    check, _ = run(Memory(), Expected({"train": 10}, {"train": labels}))
    assert [(f.kind, f.count, f.examples) for f in check.findings] == findings


def test_labels_of_another_size_than_their_image():
    check, parts = run(Memory(shape=(6, 4)))
    assert [(f.kind, f.where, f.count) for f in check.findings] == [
        ("corrupt", "train semseg", 10),
        ("corrupt", "train human_parts", 5),
    ]
    assert "4x6 and 6x4 pixels" in check.findings[0].text
    assert "and 5 more" in check.findings[0].text
    assert parts["semseg"].statistics.labels == 0


def test_a_fault_that_no_part_has_alone_is_not_lost():
    check, parts = run(Memory(together=False))
    assert [(f.kind, f.where, f.count) for f in check.findings] == [("corrupt", "train images", 5)]
    assert "the labels do not agree" in check.findings[0].text
    assert (parts[None].decoded, parts[None].corrupt) == (5, 5)


def test_what_a_replica_should_hold(monkeypatch):
    monkeypatch.setattr(PublishedData, "registered", dict(PublishedData.registered))  # leaves nothing for other tests
    published = PublishedData("test_of_replicas", {"train": 8}, {"train": {"semseg": 8, "human_parts": 3}}, "here")
    expected = Expected.of(published, {"scenes": {"train": 4}})
    assert expected.counts == {"train": 4}
    assert expected.labels == {"train": {"semseg": 4, "human_parts": None}}
    assert Expected.of(published, None) == Expected(published.counts, published.labels, "here", True)
    assert Expected.of(None, None) == Expected()
    with pytest.raises(DataError, match="how many scenes"):
        Expected.of(published, {"scenes": "many"})


def test_statistics_of_labels_without_a_valid_pixel():
    statistics = LabelStatistics(build_tasks({"depth": {}})["depth"])
    statistics.add(np.full((2, 2), -1, np.float32))
    assert statistics.as_dict() == {"decoded": 1, "empty": 1, "valid_share": 0.0}
    statistics.add(np.array([[1, 3], [-1, -1]], np.float32))
    assert statistics.as_dict() == {
        "decoded": 2,
        "empty": 1,
        "valid_share": 0.25,
        "lowest": [1.0],
        "highest": [3.0],
        "mean": [2.0],
    }


def test_links_that_lead_in_a_circle_end(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"1")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "other").symlink_to(tmp_path / "a" / "b")
    digests, unreadable = digest_files(tmp_path)
    assert unreadable == {}
    assert list(digests) == ["a/b/file"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"22")
    (tmp_path / "a" / "c").symlink_to(tmp_path / "elsewhere")
    assert {name: size for name, (size, _) in digest_files(tmp_path / "a")[0].items()} == {"b/file": 1, "c/file": 2}


def test_differences():
    old = {"a": (1, "x"), "b": (1, "y"), "c": (1, "z")}
    new = {"a": (1, "x"), "b": (2, "y"), "d": (1, "z")}
    found = compare(old, new)
    assert (found.changed, found.missing, found.new) == (("b",), ("c",), ("d",))


def test_links_to_themselves_and_pipes_are_named_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "whole.png").write_bytes(b"1")
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    digests, unreadable = digest_files(tmp_path)
    assert set(digests) == {"whole.png"}
    assert set(unreadable) == {"loop.png", "pipe.png"}
