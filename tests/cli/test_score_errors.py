"""Every mistake that `mtdense score` can be given is one error that names the file and the mend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from tests.cli.test_score import Main, edges, lines, refuse, save, score

__all__ = ["edges"]


def test_missing_and_left_over_files_are_counted_and_named(edges: Path, mtdense_main: Main) -> None:
    for i in range(7):
        save(edges / f"targets/more{i}.png", lines(5))
    err = refuse(mtdense_main, "edges", edges)
    assert "7 of 9 predictions missing" in err
    assert "more0, more1, more2, more3, more4 and 2 more" in err
    assert "--list" in err
    (edges / "ids.txt").write_text("a\nz\n")
    save(edges / "preds/z.png", lines(5))
    assert "1 of 2 targets missing" in refuse(mtdense_main, "edges", edges, "--list", edges / "ids.txt")
    for i in range(7):
        (edges / f"targets/more{i}.png").unlink()
    err = refuse(mtdense_main, "edges", edges)
    assert "1 of 3 predictions without a target" in err
    assert ": z\n" in err
    save(edges / "preds/a.npy", lines(5))
    assert "two files for one image" in refuse(mtdense_main, "edges", edges)
    err = refuse(mtdense_main, "edges", edges, "--pred-type", "npy")
    assert "1 of 2 predictions missing" in err


def test_names_that_never_match(edges: Path, mtdense_main: Main) -> None:
    for stem in ("a", "sub/b"):
        (edges / f"preds/{stem}.png").rename(edges / f"preds/{stem}_edge.png")
    err = refuse(mtdense_main, "edges", edges)
    assert "'a_edge'" in err
    assert "--pred-ending" in err
    assert score("edges", edges, "--pred-ending", "_edge")["images"] == 2


def test_folders_of_annotators(tmp_path: Path, mtdense_main: Main) -> None:
    save(tmp_path / "preds/a.png", lines(20))
    save(tmp_path / "targets/a/1.png", lines(20))
    assert "--several-annotators" in refuse(mtdense_main, "edges", tmp_path)
    save(tmp_path / "targets/b.png", lines(20))
    assert "in no folder" in refuse(mtdense_main, "edges", tmp_path, "--several-annotators")
    (tmp_path / "targets/b.png").rename(tmp_path / "targets/b.mat")  # BSDS500 keeps all annotators in one file
    assert "ID/ANNOTATOR.png" in refuse(mtdense_main, "edges", tmp_path, "--several-annotators")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "cannot be decoded"),
        (lambda path: path.write_bytes(b"no picture"), "cannot be decoded"),
        (lambda path: save(path, lines(20)[:, :99]), "has 100x99 pixels"),
        (lambda path: save(path, lines(20)[:1]), "has 1x100 pixels"),
        (lambda path: save(path, np.zeros((100, 100, 3), np.uint8) + np.uint8([1, 2, 3])), "colours"),
    ],
)
@pytest.mark.parametrize("side", ["preds", "targets"])
def test_spoilt_files_are_named(
    edges: Path, mtdense_main: Main, spoil: Callable[[Path], Any], expected: str, side: str
) -> None:
    spoil(edges / side / "a.png")
    err = refuse(mtdense_main, "edges", edges)
    assert str(edges / side / "a.png") in err
    assert expected in err or "its target" in err


def test_turned_predictions_are_refused(edges: Path, mtdense_main: Main) -> None:
    save(edges / "targets/a.png", lines(20)[:80])
    save(edges / "preds/a.png", lines(20)[:80].T.copy())
    assert "Turn the prediction" in refuse(mtdense_main, "edges", edges)


def test_wrong_ranges_of_strength(edges: Path, mtdense_main: Main) -> None:
    for stem in ("a", "sub/b"):
        save(edges / f"preds/{stem}.png", lines(20, value=1))
    assert "1 of 255" in refuse(mtdense_main, "edges", edges)
    (edges / "preds/a.png").unlink()
    save(edges / "preds/a.npy", np.full((100, 100), -3.0))
    assert "sigmoid" in refuse(mtdense_main, "edges", edges)
    save(edges / "preds/a.npy", np.full((100, 100), np.nan))
    assert "outside [0, 1]" in refuse(mtdense_main, "edges", edges)
    save(edges / "preds/a.npy", np.zeros((100, 100), np.int64))
    assert "data type int64" in refuse(mtdense_main, "edges", edges)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--preds", "nowhere"), "no such folder: nowhere"),
        (("--list", "nowhere.txt"), "no such file: nowhere.txt"),
        (("--pred-type", ".tif"), "no file to score"),
        (("--protocol", "nyud", "--max-dist", "0.0075"), "max_dist 0.011, but 0.0075"),
        (("--protocol", "nyud", "--no-nms"), "nms True"),
        (("--thresholds", "1"), "threshold"),
        (("--figure", "curve.xyz"), "curve.xyz"),
        (("--per-image", "nowhere/images.csv"), "nowhere/images.csv"),
    ],
)
def test_wrong_options(edges: Path, mtdense_main: Main, options: tuple[str, ...], expected: str) -> None:
    assert expected in refuse(mtdense_main, "edges", edges, *options)


@pytest.mark.parametrize(
    "options",
    [("--max-dist", "1.5"), ("--max-dist", "nan"), ("--workers", "0"), ("--protocol", "bsds"), ("--num-classes", "3")],
)
def test_wrong_command_lines(edges: Path, mtdense_main: Main, options: tuple[str, ...]) -> None:
    code, err = mtdense_main("score", "edges", "--preds", edges / "preds", "--targets", edges / "targets", *options)
    assert code == 2
    assert options[0] in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"a\na\n", "a more than once"), (b"\n\n", "names no image"), (b"\xff\xfe\x00", "no list of ids")],
)
def test_spoilt_lists(edges: Path, mtdense_main: Main, content: bytes, expected: str) -> None:
    (edges / "ids.txt").write_bytes(content)
    err = refuse(mtdense_main, "edges", edges, "--list", edges / "ids.txt")
    assert expected in err
    assert "ids.txt" in err


@pytest.mark.parametrize("option", ["--per-image", "--figure"])
@pytest.mark.parametrize("place", ["preds/a.png", "targets/sub/b.png", "preds/new.png", "targets/../preds/a.png"])
def test_outputs_among_the_inputs(edges: Path, mtdense_main: Main, option: str, place: str) -> None:
    before = {path: path.read_bytes() for path in edges.rglob("*.png")}
    err = refuse(mtdense_main, "edges", edges, option, edges / place)
    assert f"{option} {edges / place} lies in" in err
    assert {path: path.read_bytes() for path in edges.rglob("*.png")} == before


def test_the_list_is_no_output(edges: Path, mtdense_main: Main) -> None:
    ids = edges / "ids.txt"
    ids.write_text("a\n")
    assert "same file as" in refuse(mtdense_main, "edges", edges, "--list", ids, "--per-image", ids)
    assert ids.read_text() == "a\n"


@pytest.mark.parametrize("option", ["--ignore-index", "--positive-above"])
@pytest.mark.parametrize("value", ["nan", "inf", "high"])
def test_numbers_must_be_finite(edges: Path, mtdense_main: Main, option: str, value: str) -> None:
    places = ("--preds", edges / "preds", "--targets", edges / "targets")
    code, err = mtdense_main("score", "saliency", *places, option, value)
    assert code == 2
    assert f"argument {option}: {value} is no finite number" in err


@pytest.mark.parametrize("suffix", [".npy", ".mat"])
@pytest.mark.parametrize("side", ["preds", "targets"])
@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("task", ["edges", "saliency", "depth"])
def test_channels_of_arrays_are_no_alpha(
    tmp_path: Path, mtdense_main: Main, task: str, channels: int, side: str, suffix: str
) -> None:
    one = np.zeros((20, 20), np.float32)
    one[5:15, 8] = 1
    for folder in ("preds", "targets"):
        several = np.stack([1 - one] + [one] * (channels - 1), axis=-1)
        save(tmp_path / folder / f"a{suffix}", several if folder == side else one)
    err = refuse(mtdense_main, task, tmp_path)
    assert f"{side}/a{suffix}" in err
    assert f"has shape (20, 20, {channels})" in err


def test_normals_in_arrays_have_no_alpha(tmp_path: Path, mtdense_main: Main) -> None:
    save(tmp_path / "targets/a.npy", np.float32([[[0, 0, 1]]]))
    save(tmp_path / "preds/a.npy", np.float32([[[0, 0, 1, 1]]]))
    assert "(1, 1, 4), not (H, W, 3)" in refuse(mtdense_main, "normals", tmp_path)


def test_outputs_of_one_name(edges: Path, mtdense_main: Main) -> None:
    assert "both name" in refuse(mtdense_main, "edges", edges, "--per-image", edges / "refused.json")


@pytest.mark.parametrize(
    ("task", "pred", "target", "options", "expected"),
    [
        ("semseg", np.uint8([[0, 3]]), np.uint8([[0, 1]]), ("--num-classes", 3), "predicts class 3 (1 px)"),
        ("semseg", np.uint8([[0, 1]]), np.uint8([[0, 7]]), ("--num-classes", 3), "label 7 (1 px)"),
        ("semseg", np.float32([[0, 0.5]]), np.uint8([[0, 1]]), ("--num-classes", 3), "predicts class 0.5"),
        ("semseg", np.uint8([[0, 1]]), np.uint8([[0, 1]]), ("--num-classes", 1), "num_classes is 1"),
        ("saliency", np.uint8([[0, 255]]), np.uint8([[1, 255]]), (), "both 1 and 255"),
        ("saliency", np.uint8([[0, 1]]), np.uint8([[0, 255]]), (), "1 of 255"),
        ("depth", np.uint16([[0, 1]]), np.float32([[0, 1]]), (), "--unit-scale"),
        ("depth", np.float32([[0, np.nan]]), np.float32([[0, 1]]), (), "not finite"),
        ("normals", np.float32([[[0, 0, 255]]]), np.float32([[[0, 0, 1]]]), (), "unit vectors"),
        ("normals", np.float32([[0, 1]]), np.float32([[[0, 0, 1]] * 2]), (), "(H, W, 3)"),
        ("normals", np.float32([[[0, 0, np.nan]]]), np.float32([[[0, 0, 1]]]), (), "not finite"),
    ],
)
def test_impossible_values(
    tmp_path: Path, mtdense_main: Main, task: str, pred: Any, target: Any, options: tuple[Any, ...], expected: str
) -> None:
    save(tmp_path / "preds/image.npy", pred)
    save(tmp_path / "targets/image.npy", target)
    assert expected in refuse(mtdense_main, task, tmp_path, *options)


def test_mat_files(tmp_path: Path, mtdense_main: Main) -> None:
    save(tmp_path / "preds/a.npy", np.ones((2, 2)))
    (tmp_path / "targets").mkdir()
    path = tmp_path / "targets/a.mat"
    scipy.io.savemat(path, {"depth": np.ones((2, 2)), "other": np.ones((2, 2))})
    err = refuse(mtdense_main, "depth", tmp_path)
    assert "2 arrays: depth, other" in err
    assert score("depth", tmp_path, "--mat-key", "depth")["RMSE"] == 0
    path.write_bytes(path.read_bytes()[:150])
    assert str(path) in refuse(mtdense_main, "depth", tmp_path)
