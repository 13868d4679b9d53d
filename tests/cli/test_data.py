"""`mtdense data mask`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Main = Callable[..., tuple[int, str]]
CONFIG = ("--config", "procedural/one-label/mtl_baseline-resnet18.yaml", "--data.train_images", "12")
SMALL = ("--data.size", "[16,24]", "--data.mask_tasks", "[semseg,depth,normals]")


def test_a_mask_is_written_described_and_read_again(
    mtdense_main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mtdense.cli.main import main

    path = tmp_path / "mask.json"
    assert main(["data", "mask", *CONFIG, *SMALL, "--data.label_seed", "7", "--out", str(path)]) == 0
    told = capsys.readouterr().out
    assert "12 images, 12 labels" in told
    assert "semseg 4, depth 4, normals 4" in told
    stored = json.loads(path.read_text())
    assert (stored["dataset"], stored["setting"], stored["seed"]) == ("procedural", "one-label", 7)
    code, err = mtdense_main("data", "mask", *CONFIG, *SMALL, "--out", path)
    assert code == 1
    assert str(path) in err
    file = ("--data.label_setting", "file", "--data.label_file", str(path))
    copy = tmp_path / "copy.json"
    assert main(["data", "mask", *CONFIG, *SMALL, *file, "--out", str(copy)]) == 0
    assert json.loads(copy.read_text())["checksum"] == stored["checksum"]
    code, err = mtdense_main("data", "mask", *CONFIG, *SMALL, *file, "--data.train_images", "13")
    assert code == 1
    assert "12" in err
    assert "13" in err


def test_an_option_of_the_data_with_blanks_is_no_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    from mtdense.cli.main import main

    options = ("--data.mask_tasks", "[semseg, depth, normals]", "--data.size", "[16, 24]")
    assert main(["data", "check", *CONFIG, *options, "--samples", "1"]) == 0
    assert "procedural" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no data set is named"),
        (("--config", "none.yaml"), "none.yaml"),
        ((*CONFIG, "--data.train_image", "3"), "train_image"),
        ((*CONFIG, "--data.label_setting", "file"), "label_file"),
        ((*CONFIG, "--modle.lr", "3"), "modle"),
    ],
)
def test_what_is_wrong_is_named(mtdense_main: Main, arguments: tuple[str, ...], message: str) -> None:
    code, err = mtdense_main("data", "mask", *arguments)
    assert code in (1, 2)
    assert message in err
    assert "Traceback" not in err


def test_other_commands_take_no_options_of_the_data(mtdense_main: Main) -> None:
    code, err = mtdense_main("doctor", "--data.size", "3")
    assert code == 2
    assert "--data.size" in err
