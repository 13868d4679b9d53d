"""NYUDMtanDataModule end to end, on a replica."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules.nyud_mtan import NYUDMtanDataModule
from mtdense.core.errors import ConfigError, DataError
from mtdense.data.nyud.mtan_writer import write_mtan_replica

TASKS = ["semseg", "depth", "normals"]
IDS = [f"train-{i}" for i in range(8)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mtan_replica(tmp_path_factory.mktemp("mtan"), train=8, test=3, size=(24, 32))


def make(root: Path, **options: Any) -> NYUDMtanDataModule:
    defaults: dict[str, Any] = {
        "root": str(root),
        "tasks": TASKS,
        "size": (24, 32),
        "batch_size": 4,
        "val_fraction": 0.25,
    }
    return NYUDMtanDataModule(**{**defaults, **options})


@pytest.mark.parametrize("num_workers", [0, 2])
def test_end_to_end(root: Path, num_workers: int) -> None:
    data = make(root, num_workers=num_workers, label_setting="one-label", scale_choices=[1.0, 1.2, 1.5])
    data.setup("fit")
    seen = set()
    for batch in data.train_dataloader():
        seen.update(batch["id"])
        assert batch["image"].shape[1:] == (3, 24, 32)
        labelled = torch.stack([batch["labelled"][task] for task in TASKS])
        assert (labelled.sum(dim=0) == 1).all()
    val = [image_id for batch in data.val_dataloader() for image_id in batch["id"]]
    assert len(seen) == 6 and len(val) == 2 and seen.isdisjoint(val)
    assert seen | set(val) == set(IDS)
    data.setup("test")
    tested = {}
    for batch in data.test_dataloader():
        tested.update(zip(batch["id"], batch["targets"]["depth"], strict=True))
        assert all(batch["labelled"][task].all() for task in TASKS)
        assert batch["targets"]["semseg"].max() < 13
    assert sorted(tested) == ["val-0", "val-1", "val-2"]
    stored = data.dataset("test").load(1, ["depth"]).labels["depth"]
    assert torch.equal(tested["val-1"], torch.from_numpy(stored))
    facts = data.description
    assert facts["name"] == "nyud_mtan" and facts["version"].startswith("replica-nyud_mtan-")
    assert [facts[f"{split}_size"] for split in ("train", "val", "test")] == [6, 2, 3]
    assert facts["derived"] == []


def test_masks_are_of_all_published_images(root: Path) -> None:
    data = make(root)
    assert data.published_train().ids == IDS == make(root, val_fraction=0.0).published_train().ids
    assert data.mask_columns == ("semseg", "depth", "normals")
    assert list(data.dataset("train").ids) == [i for i in IDS if i not in data.dataset("val").ids]


def test_validation_by_lot(root: Path) -> None:
    held = [make(root, split_seed=seed).make_dataset("val").ids for seed in (0, 0, 1, 2)]
    assert held[0] == held[1] and len({tuple(ids) for ids in held}) > 1
    everything = make(root, val_fraction=0.0)
    assert not everything.has_validation and make(root).has_validation
    assert list(everything.make_dataset("train").ids) == IDS
    with pytest.raises(ConfigError, match="no validation images"):
        everything.make_dataset("val")


def test_labels_of_another_task_are_not_needed(root: Path, tmp_path: Path) -> None:
    small = write_mtan_replica(tmp_path / "small", train=2, test=1, size=(24, 32))
    for path in small.glob("*/normal/*"):
        path.unlink()
    for path in small.glob("*/normal"):
        path.rmdir()
    data = make(small, tasks=["depth"])
    assert data.dataset("train").available(0) == {"semseg", "depth"}
    assert len(make(small, tasks=["depth"]).dataset("test")) == 1
    with pytest.raises(DataError, match="no such folder"):
        make(small, tasks=["depth"], mask_tasks=["depth", "normals"]).dataset("train")


def test_options_are_checked(root: Path) -> None:
    with pytest.raises(ConfigError, match="val_fraction is 1"):
        make(root, val_fraction=1.0)
    with pytest.raises(ConfigError, match="no choice of axes"):
        make(root, normals_axes="+x+x+y")
    with pytest.raises(ConfigError, match="unknown task 'edges'"):
        make(root, tasks=["edges"])
    make(root / "nowhere")  # files are looked for when they are needed
    with pytest.raises(DataError, match="no such folder"):
        make(root / "nowhere").setup("fit")
