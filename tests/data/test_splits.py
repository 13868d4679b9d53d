"""Splits of a folder: disjoint, repeatable, and clear about what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.splits import SplitRule, hold_out

STEMS = [f"a/{i:03d}" for i in range(70)] + [f"b/{i:03d}" for i in range(30)]


def select(rule: SplitRule, root: Path, split: str) -> list[str]:
    return rule.select(split, STEMS, root, "images")


def test_by_lot(tmp_path: Path) -> None:
    rule = SplitRule(val_fraction=0.1, test_fraction=0.2)
    parts = [select(rule, tmp_path, split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [70, 10, 20]
    assert sorted(stem for part in parts for stem in part) == STEMS
    assert parts[1] == select(rule, tmp_path, "val")
    assert parts[1] != select(SplitRule(val_fraction=0.1, test_fraction=0.2, seed=1), tmp_path, "val")


def test_one_more_image_moves_few_others(tmp_path: Path) -> None:
    rule = SplitRule()
    before = set(select(rule, tmp_path, "train"))
    after = set(rule.select("train", [*STEMS, "c/new"], tmp_path, "images"))
    assert len(before - after) <= 2


def test_by_folder(tmp_path: Path) -> None:
    rule = SplitRule(folders={"train": "a", "val": "b/"})
    assert (len(select(rule, tmp_path, "train")), len(select(rule, tmp_path, "val"))) == (70, 30)
    with pytest.raises(DataError, match="no test split"):
        select(rule, tmp_path, "test")


def test_by_file(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a/001\n# comment\n\nimages/a/002.png\nb/003.jpg  # why not\n./a/004\n")
    (tmp_path / "v.txt").write_text("a/005\n")
    rule = SplitRule(files={"train": "t.txt", "val": "v.txt"})
    assert select(rule, tmp_path, "train") == ["a/001", "a/002", "a/004", "b/003"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a/001\na/999\n", r"line 2: there is no image 'a/999'"),
        ("../secret\n", "no image"),
        ("a/001\na/001.png\n", "twice"),
        ("a/050\n", "in the splits train and val"),
        ("", "empty"),
    ],
)
def test_faults_of_files(tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "t.txt").write_text(lines)
    (tmp_path / "v.txt").write_text("a/050\n")
    with pytest.raises(DataError, match=message):
        select(SplitRule(files={"train": "t.txt", "val": "v.txt"}), tmp_path, "train")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.txt cannot be read"):
        select(SplitRule(files={"train": "t.txt"}), tmp_path, "train")


def test_an_empty_part_of_a_lot(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test split .* is empty"):
        select(SplitRule(test_fraction=0.0), tmp_path, "test")


@pytest.mark.parametrize(
    "options",
    [
        {"files": {"train": "a"}, "folders": {"train": "a"}},
        {"files": {"dev": "a"}},
        {"val_fraction": 0.6, "test_fraction": 0.4},
        {"val_fraction": -0.1},
    ],
)
def test_options_that_make_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SplitRule(**options)  # type: ignore[arg-type]


IDS = [f"train-{i}" for i in range(40)]


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 60), st.floats(0.0, 0.9), st.integers(0, 5))
def test_hold_out_parts_the_images(number: int, fraction: float, seed: int) -> None:
    ids = [f"a{i}" for i in range(number)]
    wanted = 0 if fraction == 0 else max(1, round(fraction * number))
    if wanted >= number:
        with pytest.raises(ConfigError, match="leaves none to train on"):
            hold_out(ids, fraction, seed)
        return
    kept, held = hold_out(ids, fraction, seed)
    assert len(held) == wanted
    assert sorted(kept + held) == sorted(ids)
    assert [i for i in ids if i in kept] == kept and [i for i in ids if i in held] == held


def test_hold_out_depends_on_the_ids_and_the_seed_alone() -> None:
    held = hold_out(IDS, 0.2, 0)[1]
    assert len(held) == 8
    assert set(hold_out(IDS[::-1], 0.2, 0)[1]) == set(held)
    assert hold_out(IDS, 0.2, 1)[1] != held
    # One image more moves one image at most.
    assert len(set(held) - set(hold_out([*IDS, "train-40"], 0.2, 0)[1])) <= 1


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_share_must_be_one(fraction: float) -> None:
    with pytest.raises(ConfigError, match="val_fraction is"):
        hold_out(IDS, fraction, 0)


def test_one_image_cannot_be_parted() -> None:
    assert hold_out(["a"], 0.0, 0) == (["a"], [])
    with pytest.raises(ConfigError, match="1 image leaves none"):
        hold_out(["a"], 0.1, 0)
