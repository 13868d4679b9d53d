"""NYUD_MT and NYUDv2 in the file types of every archive: replicas, hand-made files, damaged ones, two real frames."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
from PIL import Image

from mtdense.core.errors import ConfigError, DataError
from mtdense.data import DenseDataset, io
from mtdense.data.nyud.atrc import LABEL_FOLDERS, NYUDAtrcDataset, atrc_specs, read_mat
from mtdense.data.nyud.atrc_writer import CLASS_40_OF_13, write_atrc_replica
from mtdense.data.nyud.facts import CAMERA, CLASSES_40, to_13_classes
from mtdense.data.procedural import ProceduralScenes
from mtdense.data.published import replica_mark
from mtdense.geometry import camera_matrix, normals_from_depth

SIZE = (48, 64)
TASKS = list(LABEL_FOLDERS)
SUFFIXES = {
    "invpt": {"images": ".png", "segmentation": ".png", "depth": ".npy", "normals": ".png", "edge": ".png"},
    "atrc": {"images": ".jpg", "segmentation": ".png", "depth": ".npy", "normals": ".npy", "edge": ".npy"},
    "mti_net": {"images": ".jpg", "segmentation": ".png", "depth": ".npy", "normals": ".npy", "edge": ".npy"},
    "astmt": {"images": ".jpg", "segmentation": ".mat", "depth": ".mat", "normals": ".jpg", "edge": ".png"},
}


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("atrc")
    return {
        variant: write_atrc_replica(place / variant, train=2, test=1, seed=5, size=SIZE, variant=variant)  # type: ignore[arg-type]
        for variant in SUFFIXES
    }


@pytest.fixture
def root(replicas: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the replica of InvPT's archive that a test may damage."""
    return Path(shutil.copytree(replicas["invpt"], tmp_path / "copy"))


def angles(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    cross = np.linalg.norm(np.cross(first.astype(np.float64), second), axis=-1)
    return np.degrees(np.arctan2(cross, (first.astype(np.float64) * second).sum(axis=-1)))


@pytest.mark.parametrize("variant", SUFFIXES)
@pytest.mark.parametrize(("split", "remainder"), [("train", 0), ("test", 2)])
def test_a_replica_gives_the_scenes_back(replicas: dict[str, Path], variant: str, split: str, remainder: int) -> None:
    data = NYUDAtrcDataset(replicas[variant], split)
    scenes = ProceduralScenes(SIZE, seed=5)
    assert len(data) == {"train": 2, "test": 1}[split]
    for i in range(len(data)):
        scene, raw = scenes.render(3 * i + remainder), data.load(i, TASKS)
        off = np.abs(raw.image.astype(np.int64) - scene.image)
        assert off.max() == 0 if variant == "invpt" else off.mean() < 4
        np.testing.assert_array_equal(raw.labels["semseg"], CLASS_40_OF_13[scene.semseg])
        np.testing.assert_array_equal(to_13_classes(raw.labels["semseg"]), scene.semseg)
        np.testing.assert_array_equal(raw.labels["depth"], scene.depth)
        np.testing.assert_array_equal(raw.labels["edges"], scene.edges)
        turned = angles(raw.labels["normals"], scene.normals)
        if variant == "invpt":  # 8 bits: half a step of 2/255 in each component
            assert turned.max() < 0.4
        elif variant == "astmt":  # and compression, which smears borders
            assert turned.mean() < 2 and np.percentile(turned, 99) < 12
        else:
            assert turned.max() < 1e-4


@pytest.mark.parametrize("variant", SUFFIXES)
def test_files_have_the_published_types(replicas: dict[str, Path], variant: str) -> None:
    for folder, suffix in SUFFIXES[variant].items():
        assert sorted(path.name for path in (replicas[variant] / folder).iterdir()) == [
            f"{index:06d}{suffix}" for index in (0, 2, 3)
        ]
    assert (replicas[variant] / "gt_sets" / "train.txt").read_text() == "000000\n000003\n"
    assert (replicas[variant] / "gt_sets" / "val.txt").read_text() == "000002\n"


def test_stored_codes(replicas: dict[str, Path]) -> None:
    """As other readers expect them: classes from 1, edges 0 and 255, normals left, up and towards the camera."""
    classes = np.array(Image.open(replicas["invpt"] / "segmentation" / "000000.png"))
    assert classes.dtype == np.uint8 and classes.min() >= 1 and classes.max() <= 40
    stored = scipy.io.loadmat(replicas["astmt"] / "segmentation" / "000000.mat")["segmentation"]
    np.testing.assert_array_equal(stored, classes)
    assert set(np.unique(np.array(Image.open(replicas["invpt"] / "edge" / "000000.png")))) == {0, 255}
    assert set(np.unique(np.load(replicas["atrc"] / "edge" / "000000.npy"))) == {0, 1}
    normals, scene = np.load(replicas["atrc"] / "normals" / "000000.npy"), ProceduralScenes(SIZE, seed=5).render(0)
    np.testing.assert_allclose(normals, -scene.normals, atol=1e-6)
    assert np.median(normals[classes - 1 == CLASSES_40.index("floor")][:, 1]) > 0.5


def test_each_class_stands_for_its_own() -> None:
    np.testing.assert_array_equal(to_13_classes(CLASS_40_OF_13), np.arange(13))


def test_what_a_data_set_says(replicas: dict[str, Path]) -> None:
    train, test = NYUDAtrcDataset(replicas["invpt"], "train"), NYUDAtrcDataset(replicas["invpt"], "test")
    assert isinstance(train, DenseDataset)
    assert train.ids == ["000000", "000003"] and test.ids == ["000002"]
    assert train.version == test.version and train.version.startswith("replica-nyud_atrc-")
    assert train.version != NYUDAtrcDataset(replicas["atrc"], "train").version
    assert train.available(0) == frozenset(TASKS) and train.derived == frozenset()
    assert train.task_specs() == atrc_specs() and atrc_specs()["semseg"]["num_classes"] == 40


def test_ids_keep_the_order_of_their_list(root: Path) -> None:
    (root / "gt_sets" / "train.txt").write_text("000003\r\n\r\n  000000  ")
    assert NYUDAtrcDataset(root, "train").ids == ["000003", "000000"]


@pytest.mark.parametrize("variant", SUFFIXES)
def test_a_replica_is_the_same_whenever_it_is_written(replicas: dict[str, Path], tmp_path: Path, variant: Any) -> None:
    again = write_atrc_replica(tmp_path / "new", train=2, test=1, seed=5, size=SIZE, variant=variant)
    files = [path.relative_to(again) for path in sorted(again.rglob("*")) if path.is_file()]
    assert len(files) == 3 * 5 + 3
    for file in files:
        assert (again / file).read_bytes() == (replicas[variant] / file).read_bytes(), file
    assert not any(b"Created" in path.read_bytes()[:128] for path in again.rglob("*.mat"))  # SciPy's time of writing
    mark = replica_mark(again)
    assert mark is not None and mark["variant"] == variant
    with pytest.raises(DataError, match="a replica of other scenes"):
        write_atrc_replica(again, train=1, test=1, seed=5, size=SIZE, variant=variant)


def store(root: Path, folder: str, array: npt.NDArray[Any]) -> Path:
    """Replaces the label of the first image."""
    path = next((root / folder).glob("000000.*"))
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        io.write_map(path, array)
    return path


def test_void_and_missing_values(root: Path) -> None:
    classes, depth = np.full(SIZE, 40, np.uint8), np.full(SIZE, 2.5)
    classes[0], depth[1] = 0, 0
    normals = np.full((*SIZE, 3), 128, np.uint8)
    normals[0], normals[2:, :, 2] = 0, 255
    edges = np.zeros(SIZE, np.uint8)
    edges[3], edges[4] = 255, 90
    for folder, array in (("segmentation", classes), ("depth", depth), ("normals", normals), ("edge", edges)):
        store(root, folder, array)
    labels = NYUDAtrcDataset(root, "train").load(0, TASKS).labels
    assert (labels["semseg"][0] == 255).all() and (labels["semseg"][1:] == 39).all()
    assert (labels["depth"][1] == -1).all() and (labels["depth"][2:] == 2.5).all()
    assert not labels["normals"][:2].any()
    np.testing.assert_allclose(labels["normals"][5, 5], (0, 0, -1), atol=0.01)
    assert (labels["edges"][3:5] == 1).all() and labels["edges"].sum() == 2 * SIZE[1]


def test_void_may_be_a_class(root: Path) -> None:
    classes = np.full(SIZE, 40, np.uint8)
    classes[0] = 0
    store(root, "segmentation", classes)
    data = NYUDAtrcDataset(root, "train", void_zero=False)
    label = data.load(0, ["semseg"]).labels["semseg"]
    assert (label[0] == 0).all() and (label[1:] == 40).all()
    names = data.task_specs()["semseg"]["class_names"]
    assert len(names) == 41 and names[:2] == ["void", "wall"]


def test_axes_of_the_normals_are_an_option(replicas: dict[str, Path]) -> None:
    stored = np.load(replicas["atrc"] / "normals" / "000000.npy")
    read = NYUDAtrcDataset(replicas["atrc"], "train", normals_axes="+x+z-y").load(0, ["normals"]).labels["normals"]
    np.testing.assert_allclose(read, np.stack([stored[..., 0], -stored[..., 2], stored[..., 1]], -1), atol=1e-6)
    with pytest.raises(DataError, match="point away from the camera"):
        NYUDAtrcDataset(replicas["atrc"], "train", normals_axes="+x+y+z").load(0, ["normals"])


def test_larger_images_are_cropped_around_the_centre(replicas: dict[str, Path]) -> None:
    whole = NYUDAtrcDataset(replicas["invpt"], "train", crop_size=None).load(0, TASKS)
    part = NYUDAtrcDataset(replicas["invpt"], "train", crop_size=(41, 60)).load(0, TASKS)
    low = NYUDAtrcDataset(replicas["invpt"], "train", crop_size=(40, 100)).load(0, TASKS)
    assert whole.image.shape == (*SIZE, 3)
    for of in (lambda raw: raw.image, *(lambda raw, task=task: raw.labels[task] for task in TASKS)):
        np.testing.assert_array_equal(of(part), of(whole)[3:44, 2:62])
        np.testing.assert_array_equal(of(low), of(whole)[4:44])
    for wrong in ((41,), (0, 10), (4.5, 10)):
        with pytest.raises(ConfigError, match="crop_size is"):
            NYUDAtrcDataset(replicas["invpt"], "train", crop_size=wrong)  # type: ignore[arg-type]


def test_only_tasks_asked_for_need_files(root: Path) -> None:
    shutil.rmtree(root / "edge")
    (root / "depth" / "000000.npy").unlink()
    data = NYUDAtrcDataset(root, "train", tasks=["semseg"])
    assert [sorted(data.available(i)) for i in (0, 1)] == [["normals", "semseg"], ["depth", "normals", "semseg"]]
    with pytest.raises(DataError, match=r"'000000' of .* has no depth label"):
        data.load(0, ["depth"])
    with pytest.raises(DataError, match=r"no such folder: .*edge(.|\n)*14EAEMXmd3zs2hIMY63UhHPSFPDAkiTzw"):
        NYUDAtrcDataset(root, "train")
    with pytest.raises(DataError, match=r"train\.txt, line 1: there is no file of '000000' in .*depth"):
        NYUDAtrcDataset(root, "train", tasks=["depth"])


def test_missing_files(root: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder: .*nowhere(.|\n)*NYUDv2\.tar\.gz"):
        NYUDAtrcDataset(root / "nowhere", "train")
    with pytest.raises(DataError, match=r"Set `data.root` to .*copy\."):
        NYUDAtrcDataset(root.parent, "train")
    (root / "gt_sets" / "val.txt").unlink()
    with pytest.raises(DataError, match=r"the list .*val\.txt is missing(.|\n)*NYUD_MT\.tgz"):
        NYUDAtrcDataset(root, "test")
    assert len(NYUDAtrcDataset(root, "train")) == 2
    (root / "images" / "000003.png").unlink()
    with pytest.raises(DataError, match=r"train\.txt, line 2: there is no file of '000003' in .*images"):
        NYUDAtrcDataset(root, "train")
    for path in (root / "images").iterdir():
        path.rename(path.with_suffix(".webp"))
    with pytest.raises(DataError, match=r"images holds no \.png or \.jpg file"):
        NYUDAtrcDataset(root, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"000000\n000003\n000000\n", "names '000000' twice, in lines 1 and 3"), (b"\xff", "read")],
)
def test_lists_are_checked(root: Path, content: bytes, message: str) -> None:
    (root / "gt_sets" / "train.txt").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        NYUDAtrcDataset(root, "train")
    assert "train.txt" in str(caught.value)


def test_lists_do_not_overlap_unless_allowed(root: Path) -> None:
    with (root / "gt_sets" / "val.txt").open("a") as stream:
        stream.write("000003\n")
    for split in ("train", "test"):
        with pytest.raises(DataError, match=r"both lists .* name the image '000003' \(1 in all\)"):
            NYUDAtrcDataset(root, split)
        assert "000003" in NYUDAtrcDataset(root, split, allow_overlap=True).ids


def test_file_types_are_not_mixed(root: Path) -> None:
    path = root / "depth" / "000003.npy"
    scipy.io.savemat(path.with_suffix(".mat"), {"depth": np.load(path)})
    with pytest.raises(DataError, match=r"two files of one image: .*000003\.mat and .*000003\.npy"):
        NYUDAtrcDataset(root, "train")
    path.unlink()
    with pytest.raises(DataError, match=r"depth mixes file types: 000000\.npy and 000003\.mat"):
        NYUDAtrcDataset(root, "train")


@pytest.mark.parametrize(
    ("folder", "task", "array", "message"),
    [
        ("segmentation", "semseg", np.full(SIZE, 41, np.uint8), "40"),
        ("segmentation", "semseg", np.ones((24, 32), np.uint8), r"has 48x64 pixels, its label .*000000\.png 24x32"),
        ("depth", "depth", np.full(SIZE, -3.0), "-3"),
        ("depth", "depth", np.ones((1, 2, 3, 4)), "is no map"),
        ("normals", "normals", np.full((*SIZE, 3), 255, np.uint8), "no unit vectors"),
        ("normals", "normals", np.full(SIZE, 255, np.uint8), "three channels"),
    ],
)
def test_damaged_contents_are_named(root: Path, folder: str, task: str, array: npt.NDArray[Any], message: str) -> None:
    path = store(root, folder, array)
    with pytest.raises(DataError, match=message) as caught:
        NYUDAtrcDataset(root, "train").load(0, [task])
    assert str(path) in str(caught.value) and "Mend:" in str(caught.value)


@pytest.mark.parametrize(
    ("variant", "task"),
    [
        *(("invpt", task) for task in TASKS),
        *(("astmt", task) for task in ("semseg", "depth", "normals")),
        ("atrc", "edges"),
    ],
)
def test_truncated_files_are_named(replicas: dict[str, Path], tmp_path: Path, variant: str, task: str) -> None:
    root = Path(shutil.copytree(replicas[variant], tmp_path / "copy"))
    path = next((root / LABEL_FOLDERS[task]).glob("000003.*"))
    content = path.read_bytes()
    for keep in (0, 60, len(content) // 2):
        path.write_bytes(content[:keep])
        with pytest.raises(DataError, match="000003"):
            NYUDAtrcDataset(root, "train").load(1, [task])


def test_mat_files(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"

    def written(**arrays: Any) -> Path:
        scipy.io.savemat(path, arrays)
        return path

    np.testing.assert_array_equal(read_mat(written(depth=np.eye(3), other=1), "depth"), np.eye(3))
    for arrays, message in (
        ({"depths": np.eye(3)}, "has no 'depth', but depths"),
        ({}, "has no 'depth', but nothing"),
        ({"depth": np.zeros((2, 3, 4))}, r"has shape \(2, 3, 4\)"),
        ({"depth": "text"}, "has shape"),
        ({"depth": {"a": 1}}, "is no map of numbers"),
        ({"depth": scipy.sparse.eye(3)}, "is no map of numbers"),
        ({"depth": ["ab", "cd"]}, "has shape"),
        ({"depth": np.array([[1, "a"]], dtype=object)}, "is no map of numbers"),
        ({"depth": np.zeros((0, 3))}, "is no map of numbers"),
    ):
        with pytest.raises(DataError, match=message):
            read_mat(written(**arrays), "depth")
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(600))
    with pytest.raises(DataError, match=r"is of MATLAB 7\.3"):
        read_mat(path, "depth")
    with pytest.raises(DataError, match="no such file"):
        read_mat(tmp_path / "b.mat", "depth")


def test_options_are_checked(replicas: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown split 'val'"):
        NYUDAtrcDataset(replicas["invpt"], "val")
    with pytest.raises(ConfigError, match="unknown task 'saliency'"):
        NYUDAtrcDataset(replicas["invpt"], "train", tasks=["saliency"])
    with pytest.raises(ConfigError, match="unknown variant 'padnet'"):
        write_atrc_replica(tmp_path / "new", train=1, test=1, variant="padnet")  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_two_real_frames() -> None:
    """Frames 433 and 464 in InvPT's layout, with normals in the axes of the set that they come from."""
    place = os.environ.get("MTDENSE_REALDATA")
    if not place or not (Path(place) / "nyud" / "nyud_mt_mini").is_dir():
        pytest.skip("MTDENSE_REALDATA names no folder with nyud/nyud_mt_mini")
    data = NYUDAtrcDataset(
        Path(place) / "nyud" / "nyud_mt_mini", "train", normals_axes="+x+z-y", crop_size=None, allow_overlap=True
    )
    assert data.ids == ["000433", "000464"] and data.version.startswith("nyud_atrc-")
    fx, fy, cx, cy = CAMERA
    for i in range(2):
        raw = data.load(i, TASKS)
        assert raw.image.shape == (480, 640, 3)
        # The order of channels is not assumed: this one agrees with the depth, and others do not.
        fitted = normals_from_depth(raw.labels["depth"], camera_matrix(fx, fy, cx, cy), radius=5)
        both = fitted.any(axis=-1) & raw.labels["normals"].any(axis=-1)
        assert both.mean() > 0.4
        read = raw.labels["normals"][both]
        assert np.median(angles(read, fitted[both])) < 15
        assert np.median(angles(read * (-1, 1, 1), fitted[both])) > 20
        assert np.median(angles(read[:, [0, 2, 1]], fitted[both])) > 40
    cropped = NYUDAtrcDataset(data.root, "test", normals_axes="+x+z-y", allow_overlap=True).load(0, TASKS)
    assert {array.shape[:2] for array in (cropped.image, *cropped.labels.values())} == {(425, 560)}
