"""Cityscapes3DDataModule end to end, on a replica, from files and from both kinds of packs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import move_data_to_device
from torch.utils.data._utils.pin_memory import pin_memory

from data_modules import Cityscapes3DDataModule
from mtdense.core.errors import ConfigError, DataError
from mtdense.data.cityscapes.boxes3d import BOXES
from mtdense.data.cityscapes.vehicles_writer import write_cityscapes_3d_replica
from mtdense.data.pack_work import RawWork, SourceWork, find_files, fingerprint
from mtdense.data.pack_writer import write_pack
from mtdense.tasks.detection_3d import CanvasBoxes

TASKS = ["semseg", "depth", "detection_3d"]
BARE = 2
"""Training images that were robbed of their vehicles."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training images, the first two of them without vehicles, and three for the test."""
    made = write_cityscapes_3d_replica(tmp_path_factory.mktemp("cs3d") / "set", 8, 3, seed=2, size=(32, 64))
    for path in sorted((made / "gtBbox3d" / "train").rglob("*.json"))[:BARE]:
        path.write_text(json.dumps({**json.loads(path.read_text()), "objects": []}))
    return made


@pytest.fixture(scope="module")
def packs(root: Path) -> dict[str, Path]:
    files, _ = find_files(root)
    source, raw = root.with_name("source.h5"), root.with_name("raw.h5")
    write_pack(SourceWork(files, dataset="cityscapes_3d", version="cs3d-1", source="here", images=11), source)
    data = make(root, val_fraction=0.0)
    splits = {split: data.open_published(split) for split in ("train", "test")}  # type: ignore[arg-type]
    facts: dict[str, Any] = {"dataset": "cityscapes_3d", "source": "here", "original_bytes": 1}
    write_pack(RawWork(splits, TASKS, data.reading, sources=fingerprint(root), **facts), raw)
    return {"source": source, "raw": raw}


def make(root: Path, **options: Any) -> Cityscapes3DDataModule:
    defaults: dict[str, Any] = {
        "root": str(root),
        "tasks": TASKS,
        "size": (16, 32),
        "score_size": None,
        "batch_size": 4,
        "val_fraction": 0.25,
    }
    return Cityscapes3DDataModule(**{**defaults, **options})


@pytest.mark.parametrize("num_workers", [0, 2])
def test_end_to_end(root: Path, num_workers: int) -> None:
    data = make(root, num_workers=num_workers, label_setting="one-label", scale_choices=[1.0, 1.5])
    data.setup("fit")
    seen: dict[str, CanvasBoxes] = {}
    for batch in data.train_dataloader():
        boxes = batch["targets"]["detection_3d"]
        assert isinstance(boxes, list) and all(isinstance(target, CanvasBoxes) for target in boxes)
        labelled = torch.stack([batch["labelled"][task] for task in TASKS])
        assert (labelled.sum(dim=0) == 1).all()
        for image_id, target, there in zip(batch["id"], boxes, batch["labelled"]["detection_3d"], strict=True):
            seen[image_id] = target
            assert bool(target.camera.any()) == bool(there) and (there or not len(target.classes))
        cameras = [target.camera for target in boxes]
        for camera, mine, there in zip(
            batch["meta"]["camera"], cameras, batch["labelled"]["detection_3d"], strict=True
        ):
            assert not there or torch.allclose(camera, mine)
    assert len(seen) == 6 and sum(len(target.classes) for target in seen.values()) > 0
    data.setup("test")
    tested = [target for batch in data.test_dataloader() for target in batch["targets"]["detection_3d"]]
    assert len(tested) == 3 and all(target.camera.any() and target.size == (16, 32) for target in tested)
    facts = data.description
    assert facts["name"] == "cityscapes_3d" and facts["version"].startswith("replica-cityscapes_3d-")
    assert facts["label_counts"]["detection_3d"] >= 1


def test_boxes_go_to_devices_and_pinned_memory(root: Path) -> None:
    data = make(root, batch_size=2)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    moved = move_data_to_device(batch, torch.device("meta"))
    for target in moved["targets"]["detection_3d"]:
        assert isinstance(target, CanvasBoxes) and target.table.device.type == "meta"
    if torch.cuda.is_available():
        pinned = pin_memory(batch)
        assert all(target.table.is_pinned() for target in pinned["targets"]["detection_3d"])


def test_a_batch_of_each_task_is_asked_for(root: Path) -> None:
    """`min_labelled` counts labels of boxes as those of any task."""
    data = make(root, label_setting="one-label", min_labelled=1, val_fraction=0.0)
    data.setup("fit")
    for batch in data.train_dataloader():
        assert all(batch["labelled"][task].any() for task in TASKS)


def test_training_on_images_with_vehicles(root: Path, packs: dict[str, Path]) -> None:
    every = make(root, val_fraction=0.0).published_train().ids
    for place in (root, *packs.values()):
        data = make(place, val_fraction=0.0, with_vehicles=True, tasks=["semseg", "depth"])
        data.setup("fit")
        assert set(data.dataset("train").ids) <= set(every[BARE:]) and len(data.dataset("train")) >= 4
        assert len(data.dataset("test")) == 3
    empty = [i for i, image_id in enumerate(every) if image_id not in data.dataset("train").ids]
    whole = make(root, val_fraction=0.0).published_train()
    assert all(not whole.eligible(i, "detection_3d") for i in empty) and len(empty) >= BARE


def test_no_vehicle_at_all(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "set"))
    for path in (copy / BOXES.folder / "train").rglob("*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "objects": []}))
    with pytest.raises(DataError, match=r"no training image of .* shows a vehicle"):
        make(copy, with_vehicles=True).setup("fit")
    with pytest.raises(DataError, match="no training image carries a label of detection_3d"):
        make(copy, label_setting="one-label").setup("fit")


@pytest.mark.parametrize("codec", ["source", "raw"])
def test_packs_give_the_same_bits(root: Path, packs: dict[str, Path], codec: str) -> None:
    for split in ("train", "test"):
        files, packed = (make(place).open_published(split) for place in (root, packs[codec]))  # type: ignore[arg-type]
        assert list(files.ids) == list(packed.ids) and files.task_specs() == packed.task_specs()
        for i in range(len(files)):
            assert files.available(i) == packed.available(i) == set(TASKS)
            assert files.eligible(i, "detection_3d") == packed.eligible(i, "detection_3d")
            ours, theirs = files.load(i, TASKS), packed.load(i, TASKS)
            np.testing.assert_array_equal(ours.image, theirs.image)
            assert ours.camera is not None and theirs.camera is not None
            assert ours.camera.tobytes() == theirs.camera.tobytes()
            for task in TASKS:
                assert ours.labels[task].dtype == theirs.labels[task].dtype
                assert ours.labels[task].tobytes() == theirs.labels[task].tobytes(), task
    batches = []
    for place in (root, packs[codec]):
        data = make(place, scale_range=(0.8, 1.5), val_fraction=0.0)
        data.setup("fit")
        batches.append(next(iter(data.train_dataloader())))
    for ours, theirs in zip(*(batch["targets"]["detection_3d"] for batch in batches), strict=True):
        assert torch.equal(ours.table, theirs.table)


def test_the_sky_rule_would_leak_here_too(root: Path) -> None:
    with pytest.raises(ConfigError, match="marks the sky"):
        make(root, depth_protocol="taskprompter", label_setting="one-label")


def test_tasks_are_named(root: Path) -> None:
    with pytest.raises(ConfigError, match="unknown task 'detection3d'") as caught:
        make(root, tasks=["detection3d"])
    assert "detection_3d" in (caught.value.mend or "")
    assert make(root, tasks=["detection_3d"]).task_specs["detection_3d"]["class_names"][0] == "car"
