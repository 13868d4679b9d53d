"""PASCAL-Context through the shipped experiments on small replicas, and ways in which files fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from mtdense.data.pascal.context_writer import write_pascal_context_replica
from tests.conftest import CONF

Main = Callable[..., tuple[int, str]]
EXPERIMENTS = ["full", "one-label"]
TASKS = ["semseg", "human_parts", "saliency", "normals", "edges"]


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and three test scenes; four and one of them with people."""
    return write_pascal_context_replica(tmp_path_factory.mktemp("replicas") / "r", 8, 3, seed=3, size=(32, 40))


@pytest.fixture
def root(replica: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(replica, tmp_path / "copy"))


def fit(main: Main, setting: str, root: Path, run: Path, *options: str) -> tuple[int, str]:
    experiment = f"pascal_context/{setting}/mtl_baseline-resnet18.yaml"
    shipped = ("--config", experiment, "--config", str(CONF / "tiny.yaml"), "--model.pretrained", "false")
    return main("fit", *shipped, "--data.root", root, "--run_dir", run, *options)


@pytest.mark.parametrize("setting", EXPERIMENTS)
def test_trains_tests_and_predicts(mtdense_main: Main, replica: Path, tmp_path: Path, setting: str) -> None:
    code, err = fit(mtdense_main, setting, replica, tmp_path, "--data.edge_images", "test_new")
    assert code == 0, err
    checkpoint = ("--ckpt_path", tmp_path / "checkpoints" / "last.ckpt")
    code, err = mtdense_main("test", *checkpoint)
    assert code == 0, err
    stored = json.loads((tmp_path / "records" / "test.json").read_text())
    assert stored["tasks"] == TASKS
    data = stored["data"]
    assert data["version"].startswith("replica-pascal_context")
    assert data["edge_images"] == "test_new" and data["derived"] == ["edges"]
    assert (data["train_size"], data["val_size"], data["test_size"]) == (7, 1, 3)
    code, err = mtdense_main("predict", *checkpoint)
    assert code == 0, err


def test_the_masks_of_the_papers(mtdense_main: Main, replica: Path, tmp_path: Path) -> None:
    """As the papers train: the published mask, no image held out."""
    path = replica / "pascal_settings" / "onelabel.npy"
    mask = ("--data.label_setting", "file", "--data.label_file", str(path), "--data.val_fraction", "0")
    code, err = fit(mtdense_main, "one-label", replica, tmp_path / "run", *mask)
    assert code == 0, err
    data = json.loads((tmp_path / "run" / "records" / "fit.json").read_text())["data"]
    assert sum(data["label_counts"].values()) == data["train_size"] == 8


def cut_maps(root: Path) -> None:
    for path in (root / "pascal-context" / "trainval").iterdir():
        path.write_bytes(path.read_bytes()[:200])


def other_key(root: Path) -> None:
    for path in (root / "human_parts").iterdir():
        scipy.io.savemat(path, {"annotation": 1})


def wrong_classes(root: Path) -> None:
    for path in sorted(root.glob("semseg/*/*.png")):
        Image.fromarray(np.full((32, 40), 77, np.uint8)).save(path)


def other_size(root: Path) -> None:
    for path in (root / "sal_distill").iterdir():
        Image.fromarray(np.zeros((31, 40), np.uint8)).save(path)


FAULTS: list[tuple[Callable[[Path], None], list[str], bool]] = [
    (cut_maps, ["pascal-context", ".mat"], False),
    (other_key, ["human_parts", "has no 'anno', but annotation"], False),
    (wrong_classes, ["semseg", "77"], False),
    (other_size, ["sal_distill", "31x40", "32x40"], False),
    (lambda root: (root / "ImageSets" / "Context" / "train.txt").unlink(), ["train.txt", "PASCAL_MT.tgz"], True),
    (lambda root: shutil.rmtree(root / "normals_distill"), ["normals_distill", "PASCAL_MT.tgz"], True),
    (shutil.rmtree, ["copy", "PASCALContext.tar.gz"], True),
]


@pytest.mark.parametrize(("spoil", "expected", "at_the_door"), FAULTS)
def test_damaged_files(
    mtdense_main: Main,
    root: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    expected: list[str],
    at_the_door: bool,
) -> None:
    """One error; what is found before the first image is read leaves no trace of a run."""
    spoil(root)
    code, err = fit(mtdense_main, "full", root, tmp_path / "run")
    assert code == 1
    assert err.count("mtdense: error:") == 1
    told = err[err.index("mtdense: error:") :]
    assert "Traceback" not in told and "Mend:" in told
    assert all(text in told for text in expected), told
    if at_the_door:
        assert not (tmp_path / "run").exists()
