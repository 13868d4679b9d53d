"""Masks from files, the balanced sampler and held-out images, in the base of all data modules."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules import ProceduralDataModule
from mtdense.core.errors import ConfigError, DataError
from mtdense.data import DenseDataset, write_label_mask
from mtdense.data.procedural_dataset import ProceduralDataset

TASKS = ["semseg", "depth", "normals"]


class HeldOut(ProceduralDataModule):
    """Twelve published training images, of which the last three are held out; columns in another order."""

    name = "held_out"
    mask_columns = ("normals", "semseg", "depth")

    def published_train(self) -> DenseDataset:
        return ProceduralDataset(self.size, "train", 12)


def make(kind: type[ProceduralDataModule] = ProceduralDataModule, **options: Any) -> ProceduralDataModule:
    given = {"tasks": TASKS, "train_images": 9, "val_images": 2, "test_images": 2, "size": (16, 24), "batch_size": 4}
    data = kind(**{**given, **options})
    data.setup("fit")
    return data


def test_a_written_mask_comes_back(tmp_path: Path) -> None:
    drawn = make(label_setting="one-label", label_seed=3)
    path = tmp_path / "mask.json"
    write_label_mask(path, drawn.published_mask(), dataset="procedural", setting="one-label", seed=3)
    read = make(label_setting="file", label_file=str(path))
    assert read.label_mask.checksum() == drawn.label_mask.checksum()
    assert read.description["label_setting"] == "file"
    assert read.description["label_seed"] is None
    fewer = make(label_setting="file", label_file=str(path), tasks=["depth"])
    assert fewer.label_mask.counts() == {"depth": 3}


def test_rows_mean_the_published_images_and_columns_the_published_tasks(tmp_path: Path) -> None:
    table = torch.zeros(12, 3)
    table[torch.arange(12), torch.arange(12) % 3] = 1
    torch.save({"labels_weights": table}, tmp_path / "onelabel.pth")
    data = make(HeldOut, label_setting="file", label_file=str(tmp_path / "onelabel.pth"))
    assert len(data.dataset("train")) == 9
    columns = ["normals", "semseg", "depth"]
    assert [set(data.label_mask.tasks_of(i)) for i in range(9)] == [{columns[i % 3]} for i in range(9)]
    with pytest.raises(DataError, match=r"onelabel\.pth"):
        make(label_setting="file", label_file=str(tmp_path / "onelabel.pth"))


def test_holding_out_changes_no_label() -> None:
    whole, part = make(train_images=12, label_setting="one-label"), make(HeldOut, label_setting="one-label")
    assert part.label_mask.checksum() == whole.label_mask.select(part.dataset("train").ids).checksum()


def test_labels_that_do_not_exist_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mask.csv"
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", *TASKS])
        rows.writerows([f"train-{i:06d}", 1, 1, 0 if i else 1] for i in range(9))
    monkeypatch.setattr(
        ProceduralDataset, "available", lambda self, i: frozenset(TASKS) - ({"depth"} if i == 4 else set())
    )
    with pytest.raises(DataError, match=r"mask\.csv admits 1 labels .* depth of image 'train-000004'"):
        make(label_setting="file", label_file=str(path))


def test_held_out_labels_may_be_the_only_ones(tmp_path: Path) -> None:
    table = torch.zeros(12, 3)
    table[:9, :2], table[9:, 2] = 1, 1
    torch.save(table, tmp_path / "mask.pth")
    with pytest.raises(DataError, match=r"no training image carries a label of depth .*without the images held out"):
        make(HeldOut, label_setting="file", label_file=str(tmp_path / "mask.pth"))


@pytest.mark.parametrize("options", [{"label_setting": "file"}, {"label_file": "mask.json"}])
def test_setting_and_file_go_together(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="together"):
        make(**options)


def test_every_batch_has_labels_of_every_task() -> None:
    data = make(label_setting="one-label", min_labelled=2, batch_size=8, train_images=30)
    shown: Counter[str] = Counter()
    for batch in data.train_dataloader():
        assert all(batch["labelled"][task].sum() >= 2 for task in TASKS)
        shown.update(batch["id"])
    top_ups = data.description["top_ups"]
    assert len(shown) == 30
    assert sum(shown.values()) == 30 + top_ups["images"]
    assert data.state_dict()["top_ups"] == top_ups
    assert make().description["top_ups"] is None
    plain = make(label_setting="one-label")
    plain.train_dataloader()
    assert plain.description["top_ups"] == {"images": 0, "semseg": 0, "depth": 0, "normals": 0}


def test_a_scarce_task_is_topped_up(tmp_path: Path) -> None:
    table = torch.ones(9, 3)
    table[1:, 2] = 0
    torch.save(table, tmp_path / "mask.pth")
    options = {"label_setting": "file", "label_file": str(tmp_path / "mask.pth"), "batch_size": 3}
    with pytest.raises(DataError, match="columns"):
        make(**options)

    class Named(ProceduralDataModule):
        mask_columns = tuple(TASKS)

    data = make(Named, **options, min_labelled=1)
    assert all(batch["labelled"]["normals"].any() for batch in data.train_dataloader())
    assert data.description["top_ups"]["normals"] == data.description["top_ups"]["images"] > 0
    with pytest.raises(ConfigError, match="normals"):
        make(Named, **options, min_labelled=2).train_dataloader()
