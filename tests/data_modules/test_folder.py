"""FolderDataModule end to end, on a folder that the test writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_modules import FolderDataModule
from mtdense.core.errors import ConfigError, DataError
from mtdense.data import io
from mtdense.tasks import build_tasks

TASKS = ["semseg", "depth", "normals"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve street images with classes (11 is void), twelve rooms with depth in mm: no image has all labels."""
    root = tmp_path_factory.mktemp("folder")
    rng = np.random.default_rng(0)
    for i in range(12):
        for place in ("street", "room"):
            io.write_image(root / "images" / place / f"{i}.jpg", rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        io.write_map(root / "semseg" / "street" / f"{i}.png", rng.integers(0, 12, (24, 32), dtype=np.uint8))
        depth = np.full((24, 32), 1500, np.uint16)
        depth[:2] = 0
        io.write_map(root / "depth" / "room" / f"{i}.png", depth)
    for split, numbers in {"train": range(8), "val": range(8, 10), "test": range(10, 12)}.items():
        lines = [f"{place}/{i}" for place in ("street", "room") for i in numbers]
        (root / f"{split}.txt").write_text("\n".join(lines))
    return root


def make(root: Path, **options: Any) -> FolderDataModule:
    defaults: dict[str, Any] = {
        "root": str(root),
        "tasks": TASKS,
        "num_classes": {"semseg": 11},
        "ignore_values": {"semseg": [11]},
        "depth_scale": 1000,
        "derive": ["normals_from_depth"],
        "camera": (26.0, 26.0, 15.5, 11.5),
        "split_files": {split: f"{split}.txt" for split in ("train", "val", "test")},
        "size": (18, 24),
        "batch_size": 4,
    }
    return FolderDataModule(**{**defaults, **options})


def test_end_to_end(root: Path) -> None:
    data = make(root, scale_range=(1.0, 1.5), photometric="mild", crop_max_share=0.75)
    data.setup("fit")
    tasks = build_tasks(data.task_specs)
    seen = []
    for batch in data.train_dataloader():
        for i, image_id in enumerate(batch["id"]):
            seen.append(image_id)
            has = {task for task in TASKS if batch["labelled"][task][i]}
            assert has == ({"semseg"} if image_id.startswith("street") else {"depth", "normals"})
            for task in TASKS:
                assert bool(tasks[task].valid(batch["targets"][task][i][None]).any()) == (task in has)
        assert batch["targets"]["semseg"].max() <= 255 and 11 not in batch["targets"]["semseg"].unique()
        assert batch["meta"]["camera"][:, 0, 0].min() > 0
    assert len(set(seen)) == 16
    facts = data.description
    assert facts["derived"] == ["normals"]
    assert facts["label_counts"] == {"semseg": 8, "depth": 8, "normals": 8}
    assert [facts["train_size"], facts["val_size"]] == [16, 4]
    assert facts["version"].startswith("folder-")


def test_evaluation_keeps_metres(root: Path) -> None:
    data = make(root)
    data.setup("test")
    for batch in data.test_dataloader():
        depth = batch["targets"]["depth"][batch["labelled"]["depth"]]
        assert set(depth.unique().tolist()) == {-1.0, 1.5}
        assert (batch["meta"]["zoom"] == 0.75).all()


def test_one_label_masks_share_out_what_there_is(root: Path) -> None:
    data = make(root, label_setting="one-label")
    data.setup("fit")
    assert data.label_mask.counts() == {"semseg": 8, "depth": 4, "normals": 4}


def test_a_subset_of_tasks_has_the_same_version(root: Path) -> None:
    alone = make(root, tasks=["normals"])
    alone.setup("fit")
    together = make(root)
    together.setup("fit")
    assert alone.description["version"] == together.description["version"]
    assert list(alone.task_specs) == ["normals"]
    assert next(iter(alone.val_dataloader()))["labelled"].keys() == {"normals"}


def test_parsing_needs_no_files(tmp_path: Path) -> None:
    data = make(tmp_path / "nowhere")
    assert data.task_specs["semseg"] == {"num_classes": 11}
    with pytest.raises(DataError, match="nowhere"):
        data.setup("fit")


def test_split_that_is_missing(root: Path) -> None:
    data = make(root, split_files={"train": "train.txt", "val": "val.txt"})
    data.setup("fit")
    with pytest.raises(DataError, match="no test split"):
        data.setup("test")


def test_class_out_of_range_in_a_batch(root: Path) -> None:
    data = make(root, ignore_values=None)
    data.setup("fit")
    with pytest.raises(DataError, match=r"semseg/street/\d+\.png: label 11 .*11-class"):
        list(data.train_dataloader())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": None}, "num_classes"),
        ({"num_classes": {"semseg": 1}}, "1"),
        ({"num_classes": {"semsge": 3}}, "semsge"),
        ({"class_names": {"semseg": ["a", "b"]}}, "semseg"),
        ({"ignore_values": {"sky": [1]}}, "sky"),
        ({"normals_axes": "+x+y"}, "normals_axes"),
        ({"derive": ["depth_from_semseg"]}, "depth_from_semseg"),
        ({"camera": None}, "camera"),
        ({"camera": (0.0, 1.0, 1.0, 1.0)}, "camera"),
        ({"depth_unit": "disparity"}, "metres"),
        ({"depth_scale": -1}, "depth_scale"),
        ({"val_fraction": 1.0, "split_files": None}, "val_fraction"),
        ({"split_folders": {"train": "street"}}, "split_folders"),
    ],
)
def test_options_that_make_no_sense(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(root, **options)
