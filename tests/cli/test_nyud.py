"""NYUD-v2 in its three forms, through the shipped experiments on small replicas, and every way in which files fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from mtdense.data.nyud.atrc_writer import write_atrc_replica
from mtdense.data.nyud.mtan_writer import write_mtan_replica
from mtdense.data.nyud.official_writer import write_official_replica
from tests.conftest import CONF

Main = Callable[..., tuple[int, str]]
EXPERIMENTS = {
    "nyud_official": "nyud_official/full/mtl_baseline-resnet18.yaml",
    "nyud_mtan": "nyud_mtan/one-label/mtl_baseline-resnet18.yaml",
    "nyud_atrc": "nyud_atrc/full/mtl_baseline-resnet18.yaml",
}
TASKS = {
    "nyud_official": ["semseg", "depth", "edges"],
    "nyud_mtan": ["semseg", "depth", "normals"],
    "nyud_atrc": ["semseg", "depth", "normals", "edges"],
}


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Six training and three test scenes in each form."""
    writers = {
        "nyud_official": write_official_replica,
        "nyud_mtan": write_mtan_replica,
        "nyud_atrc": write_atrc_replica,
    }
    folder = tmp_path_factory.mktemp("replicas")
    for name, write in writers.items():
        write(folder / name, 6, 3, size=(32, 40))
    return {name: folder / name for name in writers}


@pytest.fixture
def roots(replicas: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Copies to be spoilt."""
    return {name: Path(shutil.copytree(path, tmp_path / name)) for name, path in replicas.items()}


def fit(main: Main, name: str, root: Path, run: Path, *options: str) -> tuple[int, str]:
    shipped = ("--config", EXPERIMENTS[name], "--config", str(CONF / "tiny.yaml"), "--model.pretrained", "false")
    return main("fit", *shipped, "--data.root", root, "--run_dir", run, *options)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_trains_and_tests(mtdense_main: Main, replicas: dict[str, Path], tmp_path: Path, name: str) -> None:
    code, err = fit(mtdense_main, name, replicas[name], tmp_path, "--data.num_workers", "2")
    assert code == 0, err
    code, err = mtdense_main("test", "--ckpt_path", tmp_path / "checkpoints" / "last.ckpt")
    assert code == 0, err
    stored = json.loads((tmp_path / "records" / "test.json").read_text())
    assert stored["tasks"] == TASKS[name]
    assert stored["data"]["version"].startswith(f"replica-{name}")
    assert (stored["data"]["train_size"], stored["data"]["val_size"], stored["data"]["test_size"]) == (5, 1, 3)


def test_published_masks_balanced_batches_and_all_images(
    mtdense_main: Main, replicas: dict[str, Path], tmp_path: Path
) -> None:
    """As the papers train: the published mask, no image held out, here with balanced batches."""
    table = torch.zeros(6, 3)
    table[torch.arange(6), torch.tensor([0, 0, 0, 1, 1, 2])] = 1
    torch.save({"labels_weights": table}, tmp_path / "onelabel.pth")
    mask = ("--data.label_setting", "file", "--data.label_file", str(tmp_path / "onelabel.pth"))
    options = (*mask, "--data.min_labelled", "1", "--data.val_fraction", "0")
    code, err = fit(mtdense_main, "nyud_mtan", replicas["nyud_mtan"], tmp_path / "run", *options)
    assert code == 0, err
    data = json.loads((tmp_path / "run" / "records" / "fit.json").read_text())["data"]
    assert data["label_counts"] == {"semseg": 3, "depth": 2, "normals": 1}
    assert data["top_ups"] == {"images": 1, "semseg": 0, "depth": 0, "normals": 1}
    assert [file.name for file in (tmp_path / "run" / "checkpoints").iterdir()] == ["last.ckpt"]


def test_overfit_experiment(mtdense_main: Main, replicas: dict[str, Path], tmp_path: Path) -> None:
    experiment = ("--config", "nyud_atrc/full/overfit-mtl_baseline-resnet18.yaml", "--config", CONF / "tiny.yaml")
    code, err = mtdense_main("fit", *experiment, "--data.root", replicas["nyud_atrc"], "--run_dir", tmp_path)
    assert code == 0, err


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_pictures(root: Path) -> None:
    for path in (root / "segmentation").iterdir():
        cut(path)


def wrong_classes(root: Path) -> None:
    for path in (root / "segmentation").iterdir():
        Image.fromarray(np.full((32, 40), 77, np.uint8)).save(path)


def other_size(root: Path) -> None:
    for path in (root / "depth").iterdir():
        np.save(path, np.ones((31, 40), np.float32))


def unlisted(root: Path) -> None:
    (root / "gt_sets" / "train.txt").unlink()


def cut_arrays(root: Path) -> None:
    for path in (root / "train" / "depth").iterdir():
        cut(path)


def gap(root: Path) -> None:
    (root / "train" / "image" / "2.npy").unlink()


def without_depth(root: Path) -> None:
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["depths"]


def wrong_labels(root: Path) -> None:
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
        file["labels"][...] = 900


FAULTS: list[tuple[str, Callable[[Path], None], list[str], bool]] = [
    ("nyud_atrc", cut_pictures, ["segmentation", ".png"], False),
    ("nyud_atrc", wrong_classes, ["segmentation", "label 76", "stored ids less 1"], False),
    ("nyud_atrc", other_size, ["depth", "31x40", "32x40"], False),
    ("nyud_atrc", unlisted, ["train.txt"], True),
    ("nyud_atrc", lambda root: shutil.rmtree(root / "normals"), ["normals"], True),
    ("nyud_mtan", cut_arrays, ["depth", ".npy"], False),
    ("nyud_mtan", gap, ["2.npy"], True),
    ("nyud_official", lambda root: cut(root / "nyu_depth_v2_labeled.mat"), ["nyu_depth_v2_labeled.mat"], True),
    ("nyud_official", without_depth, ["nyu_depth_v2_labeled.mat", "depths"], True),
    ("nyud_official", wrong_labels, ["nyu_depth_v2_labeled.mat", "900"], False),
    ("nyud_official", shutil.rmtree, ["nyud_official"], True),
    ("nyud_mtan", shutil.rmtree, ["nyud_mtan"], True),
]


@pytest.mark.parametrize(("name", "spoil", "expected", "at_the_door"), FAULTS)
def test_damaged_files(
    mtdense_main: Main,
    roots: dict[str, Path],
    tmp_path: Path,
    name: str,
    spoil: Callable[[Path], None],
    expected: list[str],
    at_the_door: bool,
) -> None:
    """One error; what is found before the first image is read leaves no trace of a run."""
    spoil(roots[name])
    code, err = fit(mtdense_main, name, roots[name], tmp_path / "run")
    assert_one_error(code, err, expected)
    if at_the_door:
        assert not (tmp_path / "run").exists()


def assert_one_error(code: int, err: str, expected: list[str]) -> None:
    assert code == 1
    assert err.count("mtdense: error:") == 1
    told = err[err.index("mtdense: error:") :]
    assert "Traceback" not in told
    assert "Mend:" in told
    assert all(text in told for text in expected), told


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (torch.ones(7, 3), ["7", "6"]),
        ({"train-0": [1, 0, 0], "train-99": [0, 1, 0]}, ["train-99"]),
        ({"labels_weights": torch.full((6, 3), 0.5)}, ["0.5"]),
        (torch.zeros(6, 3), ["semseg"]),
    ],
)
def test_masks_that_do_not_fit(
    mtdense_main: Main, replicas: dict[str, Path], tmp_path: Path, content: object, expected: list[str]
) -> None:
    torch.save(content, tmp_path / "mask.pth")
    mask = ("--data.label_setting", "file", "--data.label_file", str(tmp_path / "mask.pth"))
    code, err = fit(mtdense_main, "nyud_mtan", replicas["nyud_mtan"], tmp_path / "run", *mask)
    assert_one_error(code, err, ["mask.pth", *expected] if "semseg" not in expected else expected)
    assert not (tmp_path / "run").exists()
