"""NYUDAtrcDataModule end to end, on replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_modules.nyud_atrc import NYUDAtrcDataModule
from mtdense.core.errors import ConfigError, DataError
from mtdense.data.nyud.atrc_writer import write_atrc_replica

TASKS = ["semseg", "depth", "normals", "edges"]
IDS = [f"{3 * i:06d}" for i in range(8)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_atrc_replica(tmp_path_factory.mktemp("atrc"), train=8, test=3, size=(24, 32))


def make(root: Path, **options: Any) -> NYUDAtrcDataModule:
    defaults: dict[str, Any] = {
        "root": str(root),
        "tasks": TASKS,
        "size": (24, 32),
        "batch_size": 4,
        "val_fraction": 0.25,
    }
    return NYUDAtrcDataModule(**{**defaults, **options})


@pytest.mark.parametrize("num_workers", [0, 2])
def test_end_to_end(root: Path, num_workers: int) -> None:
    data = make(root, num_workers=num_workers, label_setting="one-label", scale_range=(0.8, 1.5), crop_max_share=0.75)
    data.setup("fit")
    seen = set()
    for batch in data.train_dataloader():
        seen.update(batch["id"])
        assert batch["image"].shape[1:] == (3, 24, 32)
        labelled = torch.stack([batch["labelled"][task] for task in TASKS])
        assert (labelled.sum(dim=0) == 1).all()
    val = [image_id for batch in data.val_dataloader() for image_id in batch["id"]]
    assert len(seen) == 6 and len(val) == 2 and seen | set(val) == set(IDS)
    data.setup("test")
    tested = {}
    for batch in data.test_dataloader():
        tested.update(zip(batch["id"], batch["targets"]["edges"], strict=True))
        assert all(batch["labelled"][task].all() for task in TASKS)
        assert batch["targets"]["semseg"].max() < 40
    assert sorted(tested) == ["000002", "000005", "000008"]
    stored = data.dataset("test").load(1, ["edges"]).labels["edges"]
    assert torch.equal(tested["000005"], torch.from_numpy(stored))
    facts = data.description
    assert facts["name"] == "nyud_atrc" and facts["version"].startswith("replica-nyud_atrc-")
    assert [facts[f"{split}_size"] for split in ("train", "val", "test")] == [6, 2, 3]
    assert facts["derived"] == []


@pytest.mark.parametrize("variant", ["atrc", "astmt"])
def test_other_archives(tmp_path: Path, variant: Any) -> None:
    root = write_atrc_replica(tmp_path / "other", train=2, test=1, size=(24, 32), variant=variant)
    data = make(root, val_fraction=0.0)
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert all(batch["labelled"][task].all() for task in TASKS)


def test_masks_are_of_all_published_images(root: Path) -> None:
    data = make(root)
    assert data.published_train().ids == IDS == make(root, val_fraction=0.0).published_train().ids
    assert data.mask_columns == (), "rows of published tables are files of nyud_mtan"
    assert list(data.dataset("train").ids) == [i for i in IDS if i not in data.dataset("val").ids]


def test_validation_by_lot(root: Path) -> None:
    everything = make(root, val_fraction=0.0)
    assert not everything.has_validation and make(root).has_validation
    assert list(everything.make_dataset("train").ids) == IDS
    with pytest.raises(ConfigError, match="no validation images"):
        everything.make_dataset("val")


def test_options_reach_the_files(root: Path) -> None:
    data = make(root, void_zero=False, crop_size=(20, 30), normals_axes="-x-y-z")
    assert data.task_specs["semseg"]["num_classes"] == 41
    raw, usual = data.dataset("test").load(0, TASKS), make(root).dataset("test").load(0, TASKS)
    assert raw.image.shape == (20, 30, 3) and usual.image.shape == (24, 32, 3)
    np.testing.assert_array_equal(raw.labels["semseg"], usual.labels["semseg"][2:22, 1:31] + 1)
    assert make(root, crop_size=None).dataset("test").load(0, []).image.shape == (24, 32, 3)
    other = make(root, normals_axes="+x-y-z").dataset("test").load(0, ["normals"]).labels["normals"]
    np.testing.assert_array_equal(other, usual.labels["normals"] * (-1, 1, 1))


def test_overfitting_on_purpose(tmp_path: Path) -> None:
    root = write_atrc_replica(tmp_path / "mini", train=2, test=1, size=(24, 32))
    (root / "gt_sets" / "val.txt").write_text((root / "gt_sets" / "train.txt").read_text())
    with pytest.raises(DataError, match="allow_overlap: true"):
        make(root, val_fraction=0.0).dataset("train")
    data = make(root, val_fraction=0.0, allow_overlap=True)
    assert data.dataset("train").ids == data.dataset("test").ids == ["000000", "000003"]


def test_options_are_checked(root: Path) -> None:
    with pytest.raises(ConfigError, match="val_fraction is -0"):
        make(root, val_fraction=-0.1)
    with pytest.raises(ConfigError, match="no choice of axes"):
        make(root, normals_axes="+x+x+y")
    with pytest.raises(ConfigError, match="crop_size is"):
        make(root, crop_size=(0, 5))
    with pytest.raises(ConfigError, match="unknown task 'saliency'"):
        make(root, tasks=["saliency"])
