"""NYUDOfficialDataModule end to end, on a replica."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_modules.nyud_official import NYUDOfficialDataModule
from mtdense.core.errors import ConfigError, DataError
from mtdense.data.nyud.official_writer import write_official_replica
from mtdense.data.splits import hold_out
from mtdense.tasks import build_tasks

TASKS = ["semseg", "depth", "normals"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_official_replica(tmp_path_factory.mktemp("replica"), train=10, test=4, size=(48, 64)).parent


def make(root: Path, **options: Any) -> NYUDOfficialDataModule:
    defaults: dict[str, Any] = {
        "root": str(root),
        "tasks": TASKS,
        "derive_normals": True,
        "normals_radius": 1,
        "val_fraction": 0.2,
        "size": (48, 64),
        "batch_size": 4,
    }
    return NYUDOfficialDataModule(**{**defaults, **options})


def test_end_to_end(root: Path) -> None:
    data = make(root, scale_range=(1.0, 1.5), label_setting="one-label")
    data.setup("fit")
    tasks = build_tasks(data.task_specs)
    seen = []
    for batch in data.train_dataloader():
        for i, image_id in enumerate(batch["id"]):
            seen.append(image_id)
            assert sum(bool(batch["labelled"][task][i]) for task in TASKS) == 1
            for task in TASKS:
                valid = tasks[task].valid(batch["targets"][task][i][None])
                assert bool(valid.any()) == bool(batch["labelled"][task][i])
        assert batch["meta"]["camera"][:, 0, 0].min() > 0
    assert len(set(seen)) == 8
    facts = data.description
    assert facts["name"] == "nyud_official" and facts["version"].startswith("replica-nyud_official-13-")
    assert facts["derived"] == ["normals"] and [facts["train_size"], facts["val_size"]] == [8, 2]
    data.setup("test")
    assert sum(len(batch["id"]) for batch in data.test_dataloader()) == 4


def test_validation_images_are_held_out_of_training(root: Path) -> None:
    data = make(root)
    train, val, test = (set(data.dataset(split).ids) for split in ("train", "val", "test"))
    published = data.published_train().ids
    assert len(published) == 10 and published == sorted(published)
    assert (len(train), len(val), len(test)) == (8, 2, 4)
    assert train | val == set(published) and not train & val and not test & set(published)
    assert (list(data.dataset("train").ids), list(data.dataset("val").ids)) == hold_out(published, 0.2, 0)
    assert len({tuple(make(root, split_seed=seed).dataset("val").ids) for seed in range(5)}) > 1
    versions = {data.dataset(split).version for split in ("train", "val", "test")}
    assert len(versions) == 1


def test_training_on_all_images(root: Path) -> None:
    data = make(root, val_fraction=0.0)
    assert not data.has_validation and make(root).has_validation
    assert list(data.dataset("train").ids) == list(data.published_train().ids)
    with pytest.raises(ConfigError, match="no validation images"):
        data.dataset("val")


def test_options_reach_the_data(root: Path) -> None:
    assert make(root, classes=40).task_specs["semseg"]["num_classes"] == 40
    full, valid = make(root), make(root, crop="valid", depth_source="raw")
    assert full.dataset("test").load(0, []).image.shape == (48, 64, 3)
    assert valid.dataset("test").load(0, []).image.shape == (43, 56, 3)
    holes = [(data.dataset("test").load(0, ["depth"]).labels["depth"] == -1).any() for data in (full, valid)]
    assert holes == [False, True]
    assert NYUDOfficialDataModule.mask_columns == (), "rows of published tables are files of nyud_mtan"


def test_parsing_needs_no_files_and_finds_wrong_options(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    data = make(nowhere)
    assert list(data.task_specs) == TASKS
    with pytest.raises(DataError, match="nowhere"):
        data.setup("fit")
    for options, said in (
        ({"classes": 14}, "`classes` is 14"),
        ({"crop": "centre"}, "`crop` is 'centre'"),
        ({"depth_source": "mono"}, "`depth_source` is 'mono'"),
        ({"normals_radius": 0}, "`normals_radius` is 0"),
        ({"val_fraction": 1.0}, "val_fraction is 1.0"),
        ({"val_fraction": float("nan")}, "val_fraction is nan"),
        ({"derive_normals": False}, "holds no normals"),
        ({"derive_normals": False, "tasks": ["semseg"], "mask_tasks": TASKS}, "holds no normals"),
        ({"tasks": ["saliency"]}, "unknown task 'saliency'"),
    ):
        with pytest.raises(ConfigError, match=said):
            make(nowhere, **options)
