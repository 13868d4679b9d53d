"""PASCALContextDataModule end to end, on replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_modules.pascal_context import PASCALContextDataModule
from mtdense.core.errors import ConfigError, DataError
from mtdense.data.pack_work import RawWork, SourceWork, find_files
from mtdense.data.pack_writer import write_pack
from mtdense.data.pascal.context_writer import label_map, write_pascal_context_replica
from mtdense.data.pascal.facts import PASCAL_TASKS
from mtdense.data.procedural import ProceduralScenes
from mtdense.metrics.functional import seism_target

TASKS = list(PASCAL_TASKS)
SIZE = (48, 64)
IDS = [f"2008_{3 * i:06d}" for i in range(15)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pascal_context_replica(tmp_path_factory.mktemp("pascal") / "r", train=15, test=3, seed=3, size=SIZE)


def make(root: Path, **options: Any) -> PASCALContextDataModule:
    defaults: dict[str, Any] = {
        "root": str(root),
        "tasks": TASKS,
        "size": (56, 72),
        "resize": None,
        "batch_size": 4,
        "val_fraction": 0.25,
    }
    return PASCALContextDataModule(**{**defaults, **options})


@pytest.mark.parametrize("num_workers", [0, 2])
def test_end_to_end(root: Path, num_workers: int) -> None:
    data = make(root, num_workers=num_workers, label_setting="one-label", scale_range=(0.8, 1.5), crop_max_share=0.75)
    data.setup("fit")
    seen = {}
    for batch in data.train_dataloader():
        assert batch["image"].shape[1:] == (3, 56, 72)
        labelled = torch.stack([batch["labelled"][task] for task in TASKS])
        assert (labelled.sum(dim=0) == 1).all()
        seen.update(zip(batch["id"], batch["labelled"]["human_parts"], strict=True))
    val = [image_id for batch in data.val_dataloader() for image_id in batch["id"]]
    assert len(seen) == 11 and len(val) == 4 and set(seen) | set(val) == set(IDS)
    scenes = ProceduralScenes(SIZE, seed=3)
    of_parts = [image_id for image_id, has in seen.items() if has]
    assert of_parts and all(scenes.render(int(image_id[5:])).human_parts.any() for image_id in of_parts)
    facts = data.description
    assert facts["name"] == "pascal_context" and facts["version"].startswith("replica-pascal_context-")
    assert facts["derived"] == ["edges"]
    assert (facts["edge_images"], facts["train_edges"], facts["eval_edges"]) == ("all", "laplacian", "seism")


def test_evaluation(root: Path) -> None:
    """Images padded, not resized; images without people count for nothing in human parts."""
    data = make(root)
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert batch["id"] == ["2008_000002", "2008_000005", "2008_000008"]
    scenes = ProceduralScenes(SIZE, seed=3)
    for i in range(3):
        scene = scenes.render(3 * i + 2)
        inner = (slice(4, 52), slice(4, 68))
        assert all(batch["labelled"][task][i] for task in TASKS)
        edges = batch["targets"]["edges"][i].numpy()
        np.testing.assert_array_equal(edges[inner], seism_target(label_map(scene)))
        assert (edges[:4] == 255).all() and (edges[:, 68:] == 255).all()
        parts = batch["targets"]["human_parts"][i].numpy()
        if scene.human_parts.any():
            np.testing.assert_array_equal(parts[inner], scene.human_parts)
        else:
            assert (parts == 255).all()


def test_edges_of_each_split(root: Path) -> None:
    """Public code trains on others than the evaluator scores; those held out are scored."""

    def edges(data: PASCALContextDataModule, split: str, image_id: str) -> Any:
        source = data.dataset(split)
        return source.load(list(source.ids).index(image_id), ["edges"]).labels["edges"]

    data = make(root)
    held = data.dataset("val").ids[0]
    everything = make(root, val_fraction=0.0)
    scene = ProceduralScenes(SIZE, seed=3).render(int(held[5:]))
    np.testing.assert_array_equal(edges(data, "val", held), seism_target(label_map(scene)))
    assert (edges(everything, "train", held) != edges(data, "val", held)).any()
    same = make(root, eval_edges="laplacian")
    np.testing.assert_array_equal(edges(same, "val", held), edges(everything, "train", held))
    other = make(root, val_fraction=0.0, train_edges="seism")
    np.testing.assert_array_equal(edges(other, "train", held), edges(data, "val", held))


def test_images_of_edges(root: Path, tmp_path: Path) -> None:
    data = make(root, edge_images="test_new")
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert batch["labelled"]["edges"].tolist() == [True, False, True]
    assert batch["labelled"]["semseg"].all() and (batch["targets"]["edges"][1] == 255).all()
    assert data.description["edge_images"] == "test_new"
    assert "edge_images" not in make(root, tasks=["semseg"]).description
    assert not any("edges" not in data.dataset("train").available(i) for i in range(11))
    with pytest.raises(DataError, match=r"needs the list .*nowhere\.txt"):
        make(root, edge_images="test_new", edge_list=str(tmp_path / "nowhere.txt")).setup("test")


def test_masks_are_of_all_published_images(root: Path) -> None:
    data = make(root)
    assert data.published_train().ids == IDS == make(root, val_fraction=0.0).published_train().ids
    assert data.mask_columns == ("semseg", "human_parts", "saliency", "normals", "edges")
    mask = root / "pascal_settings" / "onelabel.npy"
    stored = np.load(mask, allow_pickle=True).item()
    read = make(root, val_fraction=0.0, label_setting="file", label_file=str(mask)).label_mask
    assert read.counts() == {
        "semseg": len(stored["semseg"]),
        "human_parts": len(stored["human_parts"]),
        "saliency": len(stored["sal"]),
        "normals": len(stored["normals"]),
        "edges": len(stored["edge"]),
    }
    assert {IDS[i] for i in np.flatnonzero(read.labelled[:, 1])} == set(stored["human_parts"])


def test_options_reach_the_files(root: Path) -> None:
    data = make(root, num_human_parts=4, normals_axes="+x-y-z")
    assert data.task_specs["human_parts"]["class_names"] == ["background", "head", "torso", "arms", "legs"]
    raw, usual = (d.published_train().load(3, TASKS).labels for d in (data, make(root)))
    merged = np.array([0, 1, 2, 3, 3, 4, 4])[usual["human_parts"]]
    np.testing.assert_array_equal(raw["human_parts"], merged)
    np.testing.assert_allclose(raw["normals"], usual["normals"] * (-1, 1, 1), atol=1e-6)


def test_packs(root: Path, tmp_path: Path) -> None:
    """Both kinds of pack give what the files give; a raw one has one kind of edges per image."""
    files = make(root)
    work = SourceWork(find_files(root)[0], dataset="pascal_context", version="v", source="here", images=18)
    write_pack(work, tmp_path / "source.h5")
    packed = make(tmp_path / "source.h5")
    reading = {**files.reading, "eval_edges": "laplacian"}
    same = make(root, eval_edges="laplacian")
    datasets = {"train": same.published_train(), "test": same.open_published("test")}
    facts: dict[str, Any] = {"dataset": "pascal_context", "source": "here", "sources": "x", "original_bytes": 1}
    write_pack(RawWork(datasets, TASKS, reading, **facts), tmp_path / "raw.h5")
    raw = make(tmp_path / "raw.h5", eval_edges="laplacian")
    for one, other, splits in ((files, packed, ("train", "val", "test")), (same, raw, ("train", "val", "test"))):
        for split in splits:
            first, second = one.dataset(split), other.dataset(split)
            assert first.ids == second.ids and first.task_specs() == second.task_specs()
            for i in range(len(first)):
                assert first.eligible(i, "human_parts") == second.eligible(i, "human_parts")
                assert first.available(i) == second.available(i)
                expected, found = first.load(i, TASKS), second.load(i, TASKS)
                np.testing.assert_array_equal(expected.image, found.image)
                for task in TASKS:
                    np.testing.assert_array_equal(expected.labels[task], found.labels[task])
    assert packed.dataset("train").version == files.dataset("train").version
    write_pack(RawWork(datasets, TASKS, files.reading, **facts), tmp_path / "other.h5")
    with pytest.raises(ConfigError, match="has no 'seism' edges of the training images held out"):
        make(tmp_path / "other.h5").dataset("val")
    assert len(make(tmp_path / "other.h5", tasks=["semseg"]).dataset("val")) == 4


def test_options_are_checked(root: Path) -> None:
    for options, message in (
        ({"val_fraction": -0.1}, "val_fraction is -0"),
        ({"normals_axes": "+x+x+y"}, "no choice of axes"),
        ({"num_human_parts": 5}, "num_human_parts is 5"),
        ({"edge_images": "val_new"}, "unknown edge_images 'val_new'"),
        ({"edge_list": "list.txt"}, "but edge_images is 'all'"),
        ({"train_edges": "canny"}, "unknown target of edges 'canny'"),
        ({"eval_edges": "canny"}, "unknown target of edges 'canny'"),
        ({"tasks": ["depth"]}, "unknown task 'depth'"),
    ):
        with pytest.raises(ConfigError, match=message):
            make(root, **options)
