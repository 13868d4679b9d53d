"""Cityscapes in both forms, through the shipped experiments on small replicas, and damaged files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtdense.data.cityscapes.mtan_writer import MASK_FILE, write_cityscapes_mtan_replica
from mtdense.data.cityscapes.official_writer import write_cityscapes_replica
from tests.conftest import CONF

Main = Callable[..., tuple[int, str]]
EXPERIMENTS = {
    "cityscapes/full": "cityscapes",
    "cityscapes_mtan/full": "cityscapes_mtan",
    "cityscapes_mtan/one-label": "cityscapes_mtan",
}


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Six training and three test scenes in each form."""
    folder = tmp_path_factory.mktemp("replicas")
    return {
        "cityscapes": write_cityscapes_replica(folder / "cityscapes", 6, 3, size=(32, 64)),
        "cityscapes_mtan": write_cityscapes_mtan_replica(folder / "cityscapes_mtan", 6, 3, size=(32, 64)),
    }


@pytest.fixture
def roots(replicas: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Copies to be spoilt."""
    return {name: Path(shutil.copytree(path, tmp_path / name)) for name, path in replicas.items()}


def fit(main: Main, experiment: str, root: Path, run: Path, *options: str) -> tuple[int, str]:
    shipped = ("--config", f"{experiment}/mtl_baseline-resnet18.yaml", "--config", str(CONF / "tiny.yaml"))
    small = ("--model.pretrained", "false", "--data.size", "[32, 64]", "--data.root", root, "--run_dir", run)
    return main("fit", *shipped, *small, *options)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_trains_tests_and_predicts(
    mtdense_main: Main, replicas: dict[str, Path], tmp_path: Path, experiment: str
) -> None:
    name = EXPERIMENTS[experiment]
    code, err = fit(mtdense_main, experiment, replicas[name], tmp_path, "--data.num_workers", "2")
    assert code == 0, err
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    code, err = mtdense_main("test", "--ckpt_path", checkpoint)
    assert code == 0, err
    stored = json.loads((tmp_path / "records" / "test.json").read_text())
    assert stored["tasks"] == ["semseg", "depth"]
    assert stored["data"]["version"].startswith(f"replica-{name}")
    assert (stored["data"]["train_size"], stored["data"]["val_size"], stored["data"]["test_size"]) == (5, 1, 3)
    units = {metric["task"]: metric["unit"] for metric in stored["metrics"] if metric["primary"]}
    assert units["depth"] == {"cityscapes": "disparity", "cityscapes_mtan": "normalised_disparity"}[name]
    code, err = mtdense_main("predict", "--ckpt_path", checkpoint, "--run_dir", tmp_path / "predicted")
    assert code == 0, err


@pytest.mark.parametrize("protocol", ["disparity", "taskprompter_legacy", "metres"])
def test_protocols(mtdense_main: Main, replicas: dict[str, Path], tmp_path: Path, protocol: str) -> None:
    code, err = fit(
        mtdense_main, "cityscapes/full", replicas["cityscapes"], tmp_path, "--data.depth_protocol", protocol
    )
    assert code == 0, err
    version = json.loads((tmp_path / "records" / "fit.json").read_text())["data"]["version"]
    assert version.startswith(f"replica-cityscapes-{protocol}-")


def test_published_mask(mtdense_main: Main, replicas: dict[str, Path], tmp_path: Path) -> None:
    """As the papers train: the published mask, no image held out."""
    root = replicas["cityscapes_mtan"]
    mask = ("--data.label_setting", "file", "--data.label_file", str(root / MASK_FILE), "--data.val_fraction", "0")
    code, err = fit(mtdense_main, "cityscapes_mtan/one-label", root, tmp_path / "run", *mask)
    assert code == 0, err
    data = json.loads((tmp_path / "run" / "records" / "fit.json").read_text())["data"]
    assert data["label_counts"] == {"semseg": 3, "depth": 3}


def cut_disparity(root: Path) -> None:
    for path in root.glob("disparity/*/*/*.png"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def eight_bits(root: Path) -> None:
    for path in root.glob("disparity/*/*/*.png"):
        Image.fromarray(np.zeros((32, 64), np.uint8)).save(path)


def class_ids(root: Path) -> None:
    for path in root.glob("gtFine/*/*/*labelIds.png"):
        Image.fromarray(np.full((32, 64), 200, np.uint8)).save(path)


def pixels(root: Path) -> None:
    for path in root.glob("train/depth/*.npy"):
        np.save(path, np.full((32, 64, 1), 30.0))


FAULTS: list[tuple[str, Callable[[Path], None], list[str], bool]] = [
    ("cityscapes", cut_disparity, ["_disparity.png"], False),
    ("cityscapes", eight_bits, ["_disparity.png", "16 bits"], False),
    ("cityscapes", class_ids, ["_gtFine_labelIds.png", "200"], False),
    ("cityscapes", lambda root: shutil.rmtree(root / "disparity"), ["disparity", "disparity_trainvaltest.zip"], True),
    ("cityscapes", shutil.rmtree, ["no such folder"], True),
    ("cityscapes_mtan", pixels, [".npy", "above 1"], False),
    ("cityscapes_mtan", lambda root: (root / "train" / "image" / "2.npy").unlink(), ["2.npy"], True),
    ("cityscapes_mtan", shutil.rmtree, ["no such folder"], True),
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
    code, err = fit(mtdense_main, f"{name}/full", roots[name], tmp_path / "run")
    assert code == 1 and err.count("mtdense: error:") == 1
    told = err[err.index("mtdense: error:") :]
    assert "Traceback" not in told and "Mend:" in told
    assert all(text in told for text in expected), told
    assert not (at_the_door and (tmp_path / "run").exists())
