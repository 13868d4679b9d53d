"""FolderDataModule end to end, on a folder that the test writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_modules import FolderDataModule
from mtdense.core.errors import ConfigError, DataError
from mtdense.data import io
from mtdense.tasks import Task, build_tasks
from mtdense.tasks.class_map import ClassMap

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


def test_a_new_task_needs_no_list(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class map that only this test knows is decoded, offset and drawn like the suite's own."""
    monkeypatch.setattr(Task, "registered", dict(Task.registered))

    class Materials(ClassMap):
        name = "materials"
        content_dependent = True

        def finish_label(self, label: np.ndarray) -> np.ndarray:
            return label if (label == 2).any() else self.invalid_label(*label.shape)

    for split in ("images", "train.txt", "val.txt", "test.txt"):
        (tmp_path / split).symlink_to(root / split)
    stored = np.ones((24, 32, 3), np.uint8)  # grey, stored as colours
    stored[0], stored[1], stored[2] = 0, 255, 3
    for i in range(8):
        io.write_image(tmp_path / "materials" / "street" / f"{i}.png", stored if i % 2 else np.minimum(stored, 2))
    data = make(
        tmp_path,
        tasks=["materials"],
        num_classes={"materials": 3},
        ignore_values={"materials": [0]},
        label_offset={"materials": 1},
        derive=None,
        resize=None,
        size=(24, 32),
        label_setting="one-label",
        flip_probability=0.0,
    )
    assert data.task_specs == {"materials": {"num_classes": 3}}
    assert isinstance(build_tasks(data.task_specs)["materials"], Materials)
    data.setup("fit")
    assert data.label_mask.counts() == {"materials": 4}, "maps without class 2 say nothing and are not drawn"
    for batch in data.train_dataloader():
        for target in batch["targets"]["materials"][batch["labelled"]["materials"]]:
            assert target[:4, 5].tolist() == [255, 255, 2, 0]


def test_a_derivation_without_its_source_names_the_source(root: Path, tmp_path: Path) -> None:
    (tmp_path / "images").symlink_to(root / "images")
    data = make(tmp_path, tasks=["normals"], split_files=None)
    with pytest.raises(
        DataError, match=r"normals \(no such folder\) .*depth \(no such folder\), which normals is derived"
    ):
        data.setup("fit")
    (tmp_path / "range").symlink_to(root / "depth" / "room")  # stems lack "room/"
    with pytest.raises(DataError, match=r"for example '0' where .*/range, which normals is derived from"):
        make(tmp_path, tasks=["normals"], split_files=None, folders={"depth": "range"}).setup("fit")


@pytest.mark.parametrize("options", [{}, {"tasks": ["depth"], "mask_tasks": ["depth", "semseg"]}, {"tasks": ["edges"]}])
def test_missing_classes_name_the_option(root: Path, options: dict[str, Any]) -> None:
    derive = ["edges_from_semseg"]
    with pytest.raises(ConfigError, match="'semseg' needs num_classes") as caught:
        make(root, num_classes=None, derive=derive, **options)
    assert "`data.num_classes: {semseg: ...}`" in str(caught.value.mend)
    assert make(root, num_classes=None, class_names={"semseg": ["a", "b"]}, derive=derive, **options)
    assert make(root, num_classes=None, tasks=["semseg"], task_options={"semseg": {"num_classes": 3}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": None}, "num_classes"),
        ({"tasks": ["semseg"], "num_classes": {"semseg": 11, "depth": 3}}, "`num_classes` names 'depth'"),
        ({"class_names": {"depth": ["near", "far"]}}, "`class_names` names 'depth'"),
        ({"label_offset": {"depth": 1}}, "`label_offset` names 'depth'.*human_parts, semseg"),
        ({"positive_above": {"semseg": 1}}, "`positive_above` names 'semseg'.*edges, saliency"),
        ({"num_classes": {"semsge": 3}}, "Did you mean 'semseg'"),
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
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        make(root, **options)
