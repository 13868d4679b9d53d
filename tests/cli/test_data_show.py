"""`mtdense data show`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtdense.data.nyud.atrc_writer import write_atrc_replica

Main = Callable[..., tuple[int, str]]
RED = np.array([190, 40, 40])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_atrc_replica(tmp_path_factory.mktemp("replica") / "nyud", 12, 4, size=(44, 60))


def tiles(path: Path, rows: int, columns: int, height: int, width: int) -> np.ndarray:
    """The tiles of a sheet: (rows, columns, height, width, 3); places are those of the contact sheet."""
    sheet = np.asarray(Image.open(path))
    # The image's column, then one for each task: 12 + i (width + 16) pixels from the left.
    lefts = [12 + i * (width + 16) for i in range(columns)]
    tops = [46 + i * (height + 18) for i in range(rows)]
    return np.stack([[sheet[top : top + height, left : left + width] for left in lefts] for top in tops])


def struck(tile: np.ndarray) -> bool:
    return bool((tile == RED).all(-1).mean() > 0.05)


def test_the_mask_is_marked(mtdense_main: Main, root: Path, tmp_path: Path) -> None:
    """Each image has one label of four: its tile is as with all labels, the others are struck through."""
    show = ("data", "show", "nyud_atrc", "--root", root, "--images", 5, "--data.val_fraction", 0)
    for setting in ("full", "one-label"):
        out = tmp_path / f"{setting}.png"
        code, err = mtdense_main(*show, "--out", out, "--data.label_setting", setting)
        assert code == 0, err
    full, one = (tiles(tmp_path / f"{name}.png", 5, 5, 176, 240) for name in ("full", "one-label"))
    marked = np.array([[struck(tile) for tile in line] for line in one])
    assert marked.sum(axis=1).tolist() == [3] * 5
    assert not marked[:, 0].any()
    assert not any(struck(tile) for line in full for tile in line)
    np.testing.assert_array_equal(full[~marked], one[~marked])
    assert all((full[place] != one[place]).any(-1).mean() > 0.5 for place in map(tuple, np.argwhere(marked)))


def test_tasks_that_are_asked_for(mtdense_main: Main, tmp_path: Path) -> None:
    """A label file is missing: what does not need it is shown, what does is refused by its name."""
    root = write_atrc_replica(tmp_path / "nyud", 3, 1, size=(44, 60))
    (root / "normals" / "000003.png").unlink()
    out = tmp_path / "sheet.png"
    show = ("data", "show", "nyud_atrc", "--root", root, "--out", out)
    code, err = mtdense_main(*show, "--data.tasks", "[semseg]")
    assert code == 0, err
    assert Image.open(out).size[0] == 12 + 240 + 16 + 240 + 12
    code, err = mtdense_main(*show)
    assert code == 1
    assert "000003" in err


def test_an_experiment_says_what_to_show(
    mtdense_main: Main, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mtdense.cli.main import main

    out = str(tmp_path / "sheet.png")
    config = ["--config", "nyud_atrc/full/mtl_baseline-resnet18.yaml"]
    options = ["--data.root", str(root), "--data.label_setting", "random-label"]
    assert main(["data", "show", *config, *options, "--out", out, "--images", "20"]) == 0
    told = capsys.readouterr().out
    # A twelfth image is held out for validation; an image has 1 to 3 labels of 4.
    assert "11 of 11 train images of nyud_atrc, semseg, depth, normals, edges" in told
    assert "(random-label)" in told
    code, err = mtdense_main("data", "show", "nyud_mtan", *config, *options, "--out", out)
    assert code == 1
    assert "nyud_atrc, not on nyud_mtan" in err


@pytest.mark.parametrize(("split", "number"), [("train", 11), ("val", 1), ("test", 4)])
def test_splits(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str, number: int) -> None:
    from mtdense.cli.main import main

    out = str(tmp_path / "sheet.png")
    command = ["data", "show", "nyud_atrc", "--root", str(root), "--out", out, "--split", split, "--images", "2"]
    assert main(command) == 0
    noun = f"{split} image" if number == 1 else f"{split} images"
    assert f"{min(2, number)} of {number} {noun} of nyud_atrc" in capsys.readouterr().out


def test_data_without_files_can_be_shown(mtdense_main: Main, tmp_path: Path) -> None:
    show = ("data", "show", "procedural", "--out", tmp_path / "sheet.png", "--images", 1, "--data.size", "[32,40]")
    code, err = mtdense_main(*show)
    assert code == 1
    assert "which tasks of procedural" in err
    code, err = mtdense_main(*show, "--data.tasks", "[depth,saliency]")
    assert code == 0, err
    assert Image.open(tmp_path / "sheet.png").size[0] == 12 + 240 + 16 + 240 + 16 + 240 + 12


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nyud_atrk",), ["nyud_atrk", "Did you mean 'nyud_atrc'?"]),
        ((), ["no data set is named"]),
        (("nyud_atrc",), ["root"]),
        (("nyud_atrc", "--root", "nowhere"), ["nowhere", "NYUD_MT.tgz"]),
        (("nyud_atrc", "--root", "nowhere", "--images", 0), ["0 images"]),
        (("nyud_atrc", "--root", "nowhere", "--data.crop", "[3,4]"), ["crop"]),
    ],
)
def test_what_is_wrong_is_named(
    mtdense_main: Main, tmp_path: Path, arguments: tuple[object, ...], told: list[str]
) -> None:
    code, err = mtdense_main("data", "show", *arguments, "--out", tmp_path / "sheet.png")
    assert code in (1, 2)
    assert all(text in err for text in told), err
    assert "Traceback" not in err
    assert not (tmp_path / "sheet.png").exists()


def test_only_png(mtdense_main: Main, root: Path, tmp_path: Path) -> None:
    code, err = mtdense_main("data", "show", "nyud_atrc", "--root", root, "--out", tmp_path / "sheet.jpg")
    assert code == 1
    assert ".png" in err
