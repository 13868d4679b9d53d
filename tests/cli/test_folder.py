"""The shipped folder experiment on a folder that the test writes, and every way such a folder can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import CONF

Main = Callable[..., tuple[int, str]]
EXPERIMENT = ("--config", "folder/mtl_baseline-resnet18.yaml", "--config", CONF / "tiny.yaml")
OPTIONS = (
    "--data.tasks=[semseg, depth, normals]",
    "--data.num_classes={semseg: 13}",
    "--data.depth_scale=1000",
    "--data.derive=[normals_from_depth]",
    "--data.camera=[40, 40, 20, 15]",
    "--data.val_fraction=0.2",
    "--data.test_fraction=0.2",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten images: the even ones with semseg, the odd ones with depth; none has both."""
    folder = tmp_path / "data"
    for name in ("images", "semseg", "depth"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = np.linspace(1000, 3000, 30)[:, None] + np.zeros((1, 40))
    for i in range(10):
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(folder / "images" / f"{i}.jpg")
        if i % 2 == 0:
            label = rng.integers(0, 13, (30, 40)).astype(np.uint8)
            Image.fromarray(label).save(folder / "semseg" / f"{i}.png")
        else:
            Image.fromarray((rows + i).astype(np.uint16)).save(folder / "depth" / f"{i}.png")
    return folder


def fit(main: Main, root: Path, run: Path, *options: str) -> tuple[int, str]:
    return main("fit", *EXPERIMENT, "--data.root", root, *OPTIONS, "--run_dir", run, *options)


def test_partial_folder_trains_tests_and_predicts(mtdense_main: Main, root: Path, tmp_path: Path) -> None:
    code, err = fit(mtdense_main, root, tmp_path / "run")
    assert code == 0, err
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    code, err = mtdense_main("test", "--ckpt_path", checkpoint)
    assert code == 0, err
    stored = json.loads((tmp_path / "run" / "records" / "test.json").read_text())
    assert stored["data"]["derived"] == ["normals"]
    code, err = mtdense_main("predict", "--ckpt_path", checkpoint)
    assert code == 0, err
    assert len(list((tmp_path / "run" / "predictions" / "normals").glob("*.npy"))) == 2


def spoil_class(root: Path) -> None:
    label = np.zeros((30, 40), np.uint8)
    label[3, 4] = 77
    for i in range(0, 10, 2):
        Image.fromarray(label).save(root / "semseg" / f"{i}.png")


def spoil_size(root: Path) -> None:
    for i in range(0, 10, 2):
        Image.fromarray(np.zeros((31, 40), np.uint8)).save(root / "semseg" / f"{i}.png")


def spoil_png(root: Path) -> None:
    for path in (root / "semseg").iterdir():
        path.write_bytes(path.read_bytes()[:-40])


def spoil_jpeg(root: Path) -> None:
    for path in (root / "images").iterdir():
        path.write_bytes(path.read_bytes()[:300])


def spoil_folder(root: Path) -> None:
    for path in (root / "depth").iterdir():
        path.unlink()
    (root / "depth").rmdir()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (spoil_class, ["semseg/", ".png", "77", "12"]),
        (spoil_size, ["semseg/", "31x40", "30x40"]),
        (spoil_png, ["semseg/", ".png"]),
        (spoil_jpeg, ["images/", ".jpg"]),
        (spoil_folder, ["depth"]),
    ],
)
def test_damaged_folders(
    mtdense_main: Main,
    root: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    expected: list[str],
    workers: int,
) -> None:
    spoil(root)
    code, err = fit(mtdense_main, root, tmp_path / "run", "--data.num_workers", str(workers))
    assert code == 1
    errors = err[err.index("mtdense: error:") :]
    assert "Traceback" not in errors
    assert "Mend:" in errors
    assert all(text in errors for text in expected), errors


def test_missing_root(mtdense_main: Main, tmp_path: Path) -> None:
    code, err = fit(mtdense_main, tmp_path / "nowhere", tmp_path / "run")
    assert code == 1
    assert "nowhere" in err
    assert "Mend:" in err
