"""PASCAL_MT and PASCALContext: replicas, hand-made labels, files that are missing or damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
from PIL import Image

from mtdense.core.errors import ConfigError, DataError
from mtdense.data import DenseDataset
from mtdense.data.pascal import lists
from mtdense.data.pascal.context import LABEL_FOLDERS, PASCALContextDataset, laplacian_edges
from mtdense.data.pascal.context_writer import VOC_OF_CONTEXT, label_map, write_pascal_context_replica
from mtdense.data.pascal.facts import (
    CONTEXT_OF_VOC,
    NORMALS_CLASSES,
    PASCAL_TASKS,
    PERSON,
    PUBLISHED,
    VOC_CLASSES,
    part_names,
    part_table,
    pascal_specs,
)
from mtdense.data.pascal.lists import ids_checksum
from mtdense.data.procedural import ProceduralScenes
from mtdense.metrics.functional import seism_target, thin
from mtdense.tasks import build_tasks

SIZE = (48, 64)
SEED = 3
TASKS = list(PASCAL_TASKS)
IDS = [f"2008_{3 * i:06d}" for i in range(6)]
PEOPLE = [False, False, False, True, False, True]


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pascal_context_replica(tmp_path_factory.mktemp("pascal") / "r", 6, 4, seed=SEED, size=SIZE)


@pytest.fixture
def root(replica: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(replica, tmp_path / "copy"))


def angles(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    cross = np.linalg.norm(np.cross(first.astype(np.float64), second), axis=-1)
    return np.degrees(np.arctan2(cross, (first.astype(np.float64) * second).sum(axis=-1)))


@pytest.mark.parametrize(("split", "remainder"), [("train", 0), ("test", 2)])
def test_a_replica_gives_the_scenes_back(replica: Path, split: str, remainder: int) -> None:
    data = PASCALContextDataset(replica, split)
    scenes = ProceduralScenes(SIZE, seed=SEED)
    assert len(data) == {"train": 6, "test": 4}[split]
    for i in range(len(data)):
        scene, raw = scenes.render(3 * i + remainder), data.load(i, TASKS)
        classes = label_map(scene)
        assert np.abs(raw.image.astype(np.int64) - scene.image).mean() < 6  # JPEG
        np.testing.assert_array_equal(raw.labels["semseg"], VOC_OF_CONTEXT[classes])
        np.testing.assert_array_equal(raw.labels["human_parts"], scene.human_parts)
        np.testing.assert_array_equal(raw.labels["saliency"], scene.saliency)
        drawn = {"train": laplacian_edges, "test": seism_target}
        np.testing.assert_array_equal(raw.labels["edges"], drawn[split](classes))
        known = np.isin(classes, list(NORMALS_CLASSES))
        np.testing.assert_array_equal(raw.labels["normals"].any(axis=-1), known)
        # Half a step of 2/255 in each component.
        assert angles(raw.labels["normals"], scene.normals)[known].max() < 0.4
        scored = data.with_edges("seism").load(i, ["edges"]).labels["edges"]
        np.testing.assert_array_equal(scored, seism_target(classes))
        for task, label in raw.labels.items():
            checked = build_tasks(pascal_specs())[task].check_label(label, "test")
            assert checked.dtype == label.dtype
            np.testing.assert_allclose(checked, label, atol=1e-6)


def test_what_a_data_set_says(replica: Path) -> None:
    train, test = PASCALContextDataset(replica, "train"), PASCALContextDataset(replica, "test")
    assert isinstance(train, DenseDataset)
    assert train.ids == IDS and test.ids == [f"2008_{3 * i + 2:06d}" for i in range(4)]
    assert train.version == test.version and train.version.startswith("replica-pascal_context-")
    assert train.available(0) == frozenset(TASKS) and train.derived == {"edges"}
    assert train.task_specs() == pascal_specs()
    assert train.task_specs()["human_parts"]["num_classes"] == 7
    assert PUBLISHED.counts == {"train": 4998, "test": 5105}


def test_published_numbers() -> None:
    assert (
        len(NORMALS_CLASSES) == 170 and {CONTEXT_OF_VOC[PERSON], 427} <= NORMALS_CLASSES and 431 not in NORMALS_CLASSES
    )
    assert len(VOC_CLASSES) == len(CONTEXT_OF_VOC) == 21 and VOC_CLASSES[PERSON] == "person"
    for number in (1, 4, 6, 14):
        table = part_table(number)
        assert len(table) == 24 and set(table.values()) == set(range(1, number + 1))
        assert len(part_names(number)) == number + 1
    assert [part_table(6)[name] for name in ("hair", "neck", "lhand", "ruarm", "luleg", "rfoot")] == [1, 2, 4, 3, 5, 6]
    fourteen = {"ruarm": 3, "rlarm": 4, "rhand": 5, "luarm": 6, "llarm": 7, "lhand": 8}
    fourteen |= {"ruleg": 9, "rlleg": 10, "rfoot": 11, "luleg": 12, "llleg": 13, "lfoot": 14}
    assert {name: part_table(14)[name] for name in fourteen} == fourteen
    with pytest.raises(ConfigError, match="num_human_parts is 7"):
        part_table(7)


def test_people_are_eligible_for_parts(root: Path) -> None:
    data = PASCALContextDataset(root, "train")
    assert [data.eligible(i, "human_parts") for i in range(6)] == PEOPLE
    assert all(data.eligible(i, task) for i in range(6) for task in TASKS if task != "human_parts")
    assert not data.eligible(0, "depth")
    # What public loaders note saves reading; a person without parts is none.
    cache = root / "ImageSets" / "Parts" / "train.txt"
    noted = json.loads(cache.read_text())
    assert [PERSON in noted[image_id] for image_id in IDS] == PEOPLE
    noted[IDS[3]] = [-1, 9]
    cache.write_text(json.dumps(noted))
    data = PASCALContextDataset(root, "train")
    assert [data.eligible(i, "human_parts") for i in range(6)] == [*PEOPLE[:3], False, *PEOPLE[4:]]
    cache.unlink()
    data = PASCALContextDataset(root, "train")
    assert [data.eligible(i, "human_parts") for i in range(6)] == PEOPLE
    for content in (b"{", b"[1]", b'{"a": ["b"]}', b"\xff"):
        cache.write_bytes(content)
        with pytest.raises(DataError, match=r"Parts/train\.txt(.|\n)*Delete it"):
            PASCALContextDataset(root, "train").eligible(0, "human_parts")


# ---- hand-made labels ------------------------------------------------------------------------------------------------
def write_parts(
    root: Path, objects: list[tuple[int, list[tuple[str, npt.NDArray[Any]]]]], image_id: str = IDS[0]
) -> Path:
    """Writes an annotation of objects (class, parts), each part (name, mask)."""
    array = np.empty((1, len(objects)), dtype=[(name, object) for name in ("class", "class_ind", "mask", "parts")])
    for i, (kind, parts) in enumerate(objects):
        inner: Any = np.zeros((0, 0))
        if parts:
            inner = np.empty((1, len(parts)), dtype=[("part_name", object), ("mask", object)])
            for j, (name, mask) in enumerate(parts):
                inner[0, j] = (name, mask.astype(np.uint8))
        array[0, i] = (VOC_CLASSES[kind], float(kind), np.ones(SIZE, np.uint8), inner)
    anno = np.empty((1, 1), dtype=[("imname", object), ("objects", object)])
    anno[0, 0] = (IDS[0], array)
    path = root / "human_parts" / f"{IDS[0]}.mat"
    scipy.io.savemat(path, {"anno": anno})
    return path


def box(top: int, bottom: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(SIZE, dtype=np.bool_)
    mask[top:bottom] = True
    return mask


def test_later_parts_lie_on_top_and_other_objects_do_not_count(root: Path) -> None:
    write_parts(
        root,
        [
            (PERSON, [("torso", box(0, 10)), ("lhand", box(5, 15))]),
            (12, [("head", box(0, 48))]),
            (PERSON, []),
            (PERSON, [("rfoot", box(12, 20))]),
        ],
    )
    label = PASCALContextDataset(root, "train").load(0, ["human_parts"]).labels["human_parts"]
    np.testing.assert_array_equal(label[:, 0], [2] * 5 + [4] * 7 + [6] * 8 + [0] * 28)
    fine = PASCALContextDataset(root, "train", num_human_parts=14)
    np.testing.assert_array_equal(
        fine.load(0, ["human_parts"]).labels["human_parts"][:, 3], [2] * 5 + [8] * 7 + [11] * 8 + [0] * 28
    )
    assert fine.task_specs()["human_parts"]["class_names"][11] == "right foot"
    one = PASCALContextDataset(root, "train", num_human_parts=1).load(0, ["human_parts"]).labels["human_parts"]
    np.testing.assert_array_equal(one[:, 5], [1] * 20 + [0] * 28)


@pytest.mark.parametrize("objects", [[], [(9, [])], [(PERSON, [])], [(PERSON, [("head", box(0, 0))])]])
def test_no_part_of_a_person(root: Path, objects: list[Any]) -> None:
    write_parts(root, objects)
    (root / "ImageSets" / "Parts" / "train.txt").unlink()
    data = PASCALContextDataset(root, "train")
    assert not data.eligible(0, "human_parts")
    assert not data.load(0, ["human_parts"]).labels["human_parts"].any()


def write_map(root: Path, classes: npt.NDArray[Any], key: str = "LabelMap") -> Path:
    path = root / "pascal-context" / "trainval" / f"{IDS[0]}.mat"
    scipy.io.savemat(path, {key: classes})
    return path


def test_edges_of_a_label_map(root: Path) -> None:
    classes = np.full(SIZE, 440, np.uint16)
    classes[10:30, 20:40] = 284
    write_map(root, classes)
    data = PASCALContextDataset(root, "train")
    drawn = data.load(0, ["edges"]).labels["edges"]
    assert drawn.dtype == np.float32 and set(np.unique(drawn)) == {0, 1}
    # The Laplacian marks both sides of a border, 20 pixels within and 20 outside on each side; thinned, one is left.
    band = np.zeros(SIZE, dtype=np.bool_)
    band[9:31, 20:40] = band[10:30, 19:41] = True
    band[11:29, 21:39] = False
    np.testing.assert_array_equal(drawn, thin(band))
    scored = data.with_edges("seism").load(0, ["edges"]).labels["edges"]
    assert scored.sum() > 60 and not scored[:, 42:].any() and (scored != drawn).any()


def test_the_laplacian_may_cancel_out() -> None:
    """As in public code: a pixel whose neighbours differ by opposite amounts is no edge."""
    classes = np.tile(np.array([10, 10, 20, 30, 30], np.uint16), (5, 1))
    assert not laplacian_edges(classes)[:, 2].any() and laplacian_edges(classes).any()


def test_normals_count_by_class(root: Path) -> None:
    classes = np.full(SIZE, 440, np.uint16)
    classes[:10] = 431  # "unknown"
    classes[10:20] = 308  # a potted plant
    classes[20:24] = 427  # a screen, known by another name
    write_map(root, classes)
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[...] = (128, 128, 255)
    picture[30:] = (255, 128, 128)
    Image.fromarray(picture).save(root / "normals_distill" / f"{IDS[0]}.png")
    normals = PASCALContextDataset(root, "train").load(0, ["normals"]).labels["normals"]
    assert not normals[:20].any()
    np.testing.assert_allclose(normals[20:30], np.broadcast_to((0, 0, -1), (10, 64, 3)), atol=0.01)
    np.testing.assert_allclose(normals[30:], np.broadcast_to((-1, 0, 0), (18, 64, 3)), atol=0.01)
    other = PASCALContextDataset(root, "train", normals_axes="+x-y-z").load(0, ["normals"]).labels["normals"]
    np.testing.assert_allclose(other, normals * (-1, 1, 1), atol=1e-6)


def test_saliency_threshold(root: Path) -> None:
    grey = np.zeros(SIZE, np.uint8)
    path = root / "sal_distill" / f"{IDS[0]}.png"
    for low, high in ((127, 128), (0, 255)):
        grey[:10], grey[10:] = low, high
        Image.fromarray(grey).save(path)
        label = PASCALContextDataset(root, "train").load(0, ["saliency"]).labels["saliency"]
        assert not label[:10].any() and label[10:].all()
    grey[...] = np.arange(64) % 2  # hardly salient anywhere
    Image.fromarray(grey).save(path)
    assert not PASCALContextDataset(root, "train").load(0, ["saliency"]).labels["saliency"].any()


def test_semseg_of_voc_goes_first(root: Path) -> None:
    voc = root / "semseg" / "VOC12" / f"{IDS[0]}.png"
    other = root / "semseg" / "pascal-context" / f"{IDS[0]}.png"
    for path, value in ((voc, 7), (other, 8)):
        classes = np.full(SIZE, value, np.uint8)
        classes[0] = 255
        Image.fromarray(classes).save(path)
    for expected in (7, 8):
        label = PASCALContextDataset(root, "train").load(0, ["semseg"]).labels["semseg"]
        assert (label[0] == 255).all() and (label[1:] == expected).all()
        voc.unlink(missing_ok=True)
    other.unlink()
    with pytest.raises(DataError, match=r"train\.txt, line 1: there is no file of '2008_000000' in .*semseg"):
        PASCALContextDataset(root, "train")


# ---- images of edges -------------------------------------------------------------------------------------------------
def test_edges_of_some_test_images(root: Path, tmp_path: Path) -> None:
    data = PASCALContextDataset(root, "test", edge_images="test_new")
    assert ["edges" in data.available(i) for i in range(4)] == [True, False, True, False]
    assert all("normals" in data.available(i) for i in range(4))
    assert not data.eligible(1, "edges")
    with pytest.raises(DataError, match="has no edges label"):
        data.load(1, ["edges"])
    train = PASCALContextDataset(root, "train", edge_images="test_new")
    assert all("edges" in train.available(i) for i in range(6))
    own = tmp_path / "own.txt"
    own.write_text(f"{data.ids[3]}\nelsewhere\n")
    data = PASCALContextDataset(root, "test", edge_images="test_new", edge_list=own)
    assert ["edges" in data.available(i) for i in range(4)] == [False, False, False, True]
    own.write_text("elsewhere\n")
    with pytest.raises(DataError, match=r"no test image of .* is in .*own\.txt"):
        PASCALContextDataset(root, "test", edge_images="test_new", edge_list=own)
    (root / "ImageSets" / "Context" / "test_new.txt").unlink()
    with pytest.raises(DataError, match=r"needs the list .*test_new\.txt(.|\n)*Boundary-Detection-Evaluation-Tools"):
        PASCALContextDataset(root, "test", edge_images="test_new")
    assert len(PASCALContextDataset(root, "test", tasks=["semseg"], edge_images="test_new")) == 4


def test_the_list_of_genuine_data_must_be_the_published_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "replica.json").unlink()
    with pytest.raises(DataError, match=r"test_new\.txt names 2 images and is not the published list of 2498"):
        PASCALContextDataset(root, "test", edge_images="test_new")
    ids = (root / "ImageSets" / "Context" / "test_new.txt").read_text().split()
    monkeypatch.setattr(lists, "TEST_NEW_SHA256", ids_checksum(reversed(ids)))
    data = PASCALContextDataset(root, "test", edge_images="test_new")
    assert sum("edges" in data.available(i) for i in range(4)) == 2
    assert data.version.startswith("pascal_context-")


# ---- bad input -------------------------------------------------------------------------------------------------------
def test_only_tasks_asked_for_need_files(root: Path) -> None:
    shutil.rmtree(root / "human_parts")
    (root / "sal_distill" / f"{IDS[0]}.png").unlink()
    (root / "pascal-context" / "trainval" / f"{IDS[1]}.mat").unlink()
    data = PASCALContextDataset(root, "train", tasks=["semseg"])
    assert data.available(0) == {"semseg", "normals", "edges"}
    assert data.available(1) == {"semseg", "saliency"}  # normals need the label map
    assert "human_parts" not in data.task_specs()
    with pytest.raises(DataError, match=r"'2008_000000' of .* has no saliency label"):
        data.load(0, ["saliency"])
    with pytest.raises(DataError, match=r"no such folder: .*human_parts(.|\n)*PASCAL_MT\.tgz"):
        PASCALContextDataset(root, "train")
    for task, missing in (("saliency", "sal_distill"), ("normals", "pascal-context/trainval")):
        with pytest.raises(DataError, match=rf"train\.txt, line \d: there is no file of .* in .*{missing}"):
            PASCALContextDataset(root, "train", tasks=[task])


def test_missing_files(root: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder: .*nowhere(.|\n)*PASCALContext\.tar\.gz"):
        PASCALContextDataset(root / "nowhere", "train")
    with pytest.raises(DataError, match=r"Set `data.root` to .*copy\."):
        PASCALContextDataset(root.parent, "train")
    (root / "ImageSets" / "Context" / "val.txt").unlink()
    with pytest.raises(DataError, match=r"the list .*val\.txt is missing"):
        PASCALContextDataset(root, "test")
    assert len(PASCALContextDataset(root, "train")) == 6
    (root / "JPEGImages" / f"{IDS[2]}.jpg").unlink()
    with pytest.raises(DataError, match=r"train\.txt, line 3: there is no file of '2008_000006' in .*JPEGImages"):
        PASCALContextDataset(root, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"2008_000000\n2008_000003\n2008_000000\n", "names '2008_000000' twice, in lines 1 and 3"),
        (b"\xff", "cannot be read"),
        (b"../../etc/passwd\n", "no file of '../../etc/passwd'"),
    ],
)
def test_lists_are_checked(root: Path, content: bytes, message: str) -> None:
    (root / "ImageSets" / "Context" / "train.txt").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        PASCALContextDataset(root, "train")
    assert "train.txt" in str(caught.value)


def test_lists_do_not_overlap(root: Path) -> None:
    with (root / "ImageSets" / "Context" / "val.txt").open("a") as stream:
        stream.write(f"{IDS[1]}\n")
    for split in ("train", "test"):
        with pytest.raises(DataError, match=r"both lists in .* name the image '2008_000003' \(1 in all\)"):
            PASCALContextDataset(root, split)


def picture(folder: str, array: npt.NDArray[Any]) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        path = next((root / folder).glob(f"{IDS[0]}.*"))
        Image.fromarray(array).save(path)
        return path

    return write


SMALL = (24, 32)


@pytest.mark.parametrize(
    ("task", "write", "message"),
    [
        ("semseg", picture("semseg/VOC12", np.full(SIZE, 21, np.uint8)), "21"),
        ("semseg", picture("semseg/VOC12", np.zeros(SMALL, np.uint8)), r"has 48x64 pixels, its label .* 24x32"),
        ("saliency", picture("sal_distill", np.zeros(SMALL, np.uint8)), r"its label .* 24x32"),
        ("normals", picture("normals_distill", np.zeros((*SMALL, 3), np.uint8)), r"its label .* 24x32"),
        ("normals", picture("normals_distill", np.full((*SIZE, 3), 255, np.uint8)), "no unit vectors"),
        ("normals", picture("normals_distill", np.full(SIZE, 255, np.uint8)), "three channels"),
        ("edges", lambda root: write_map(root, np.zeros(SMALL)), r"its label .* 24x32"),
        ("normals", lambda root: write_map(root, np.zeros(SMALL)), r"its label .* 24x32"),
        ("edges", lambda root: write_map(root, np.full(SIZE, 460)), "outside of 0 to 459"),
        ("edges", lambda root: write_map(root, np.full(SIZE, -1)), "outside of 0 to 459"),
        ("edges", lambda root: write_map(root, np.full(SIZE, np.nan)), "outside of 0 to 459"),
        ("edges", lambda root: write_map(root, np.full(SIZE, 1.5)), "no class ids"),
        ("edges", lambda root: write_map(root, np.zeros(SIZE), "labels"), "has no 'LabelMap', but labels"),
        ("human_parts", lambda root: write_parts(root, [(PERSON, [("wing", box(0, 5))])]), "unknown part .*'wing'"),
        (
            "human_parts",
            lambda root: write_parts(root, [(PERSON, [("head", np.ones(SMALL))])]),
            "a mask has 24x32 pixels, its image 48x64",
        ),
    ],
)
def test_damaged_contents_are_named(root: Path, task: str, write: Callable[[Path], Path], message: str) -> None:
    path = write(root)
    with pytest.raises(DataError, match=message) as caught:
        PASCALContextDataset(root, "train").load(0, [task])
    assert str(path) in str(caught.value) and "Mend:" in str(caught.value)


@pytest.mark.parametrize("task", [*TASKS, "images"])
def test_truncated_files_are_named(root: Path, task: str) -> None:
    folder = {**LABEL_FOLDERS, "semseg": "semseg/VOC12", "images": "JPEGImages"}[task]
    path = next((root / folder).glob(f"{IDS[0]}.*"))
    content = path.read_bytes()
    for keep in (0, 60, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:keep])
        if task == "images" and keep == len(content) - 3:
            continue  # JPEGs lose nothing with their end mark
        with pytest.raises(DataError, match=f"{IDS[0]}"):
            PASCALContextDataset(root, "train").load(0, [task] if task != "images" else [])


def test_options_are_checked(replica: Path) -> None:
    for options, message in (
        ({"split": "val"}, "unknown split 'val'"),
        ({"tasks": ["depth"]}, "unknown task 'depth'"),
        ({"num_human_parts": 5}, "num_human_parts is 5"),
        ({"train_edges": "canny"}, "unknown target of edges 'canny'"),
        ({"edge_images": "val_new"}, "unknown edge_images 'val_new'"),
        ({"edge_list": replica}, "but edge_images is 'all'"),
        ({"normals_axes": "+x+x+y"}, "no choice of axes"),
    ):
        arguments: dict[str, Any] = {"split": "train", **options}
        with pytest.raises(ConfigError, match=message):
            PASCALContextDataset(replica, **arguments)
