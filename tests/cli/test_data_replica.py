"""`mtdense data replica`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mtdense.cli.data import data_classes
from mtdense.core.errors import ConfigError
from mtdense.data.published import PublishedData
from mtdense.data.replicas import REPLICA_WRITERS, split_images, write_replica

Main = Callable[..., tuple[int, str]]


def files_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_published_data_set_has_a_writer() -> None:
    modules = data_classes()  # with them comes what is published
    assert set(REPLICA_WRITERS) == set(PublishedData.registered) & set(modules)


@pytest.mark.parametrize("name", sorted(REPLICA_WRITERS))
def test_a_replica_of_each_passes_the_check(mtdense_main: Main, tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    code, err = mtdense_main("data", "replica", name, "--images", 4, "--size", 32, 64, "--out", root)
    assert code == 0, err
    result = tmp_path / "check.json"
    code, err = mtdense_main("data", "check", name, "--root", root, "--full", "--json", result)
    assert code == 0, err
    images = json.loads(result.read_text())["images"]
    assert images["train"]["decoded"] + images["test"]["decoded"] == 4
    assert images["train"]["expected"] == images["train"]["found"] >= 1


def test_options_reach_the_writer(mtdense_main: Main, tmp_path: Path) -> None:
    command = ("data", "replica", "nyud_atrc", "--images", 3, "--size", 24, 32)
    code, err = mtdense_main(*command, "--out", tmp_path / "a", "--variant", "atrc", "--seed", 5, "--test_images", 1)
    assert code == 0, err
    mark = json.loads((tmp_path / "a" / "replica.json").read_text())
    assert (mark["seed"], mark["size"], mark["variant"]) == (5, [24, 32], "atrc")
    assert mark["scenes"] == {"train": 2, "test": 1}
    assert {path.suffix for path in (tmp_path / "a" / "normals").iterdir()} == {".npy"}


def test_the_same_call_writes_the_same_files(mtdense_main: Main, tmp_path: Path) -> None:
    for name in ("a", "b"):
        code, err = mtdense_main(
            "data", "replica", "nyud_mtan", "--images", 4, "--size", 24, 32, "--out", tmp_path / name
        )
        assert code == 0, err
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert len(files_of(tmp_path / "a")) == 4 * 4 + 1


@pytest.mark.parametrize(
    ("images", "expected"), [(1449, (795, 654)), (10, (5, 5)), (3, (2, 1)), (2, (1, 1)), (100, (55, 45))]
)
def test_images_are_shared_as_published(images: int, expected: tuple[int, int]) -> None:
    data_classes()
    assert split_images(images, PublishedData.registered["nyud_atrc"]) == expected


def test_without_numbers_a_third_is_for_the_test() -> None:
    assert split_images(9, None) == (6, 3)
    with pytest.raises(ConfigError, match="1 image"):
        split_images(1, None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nyud_atrk", "--images", 3), ["nyud_atrk", "Did you mean 'nyud_atrc'?"]),
        (("nyud_mtan", "--images", 3, "--variant", "atrc"), ["nyud_mtan", "variant"]),
        (("nyud_atrc", "--images", 3, "--variant", "attrc"), ["attrc", "mti_net"]),
        (("nyud_atrc", "--images", 3, "--test_images", 4), ["4 of 3"]),
        (("nyud_atrc", "--images", 1), ["1 image", "2 or more"]),
    ],
)
def test_what_is_wrong_is_named(
    mtdense_main: Main, tmp_path: Path, arguments: tuple[object, ...], told: list[str]
) -> None:
    code, err = mtdense_main("data", "replica", *arguments, "--out", tmp_path / "new")
    assert code == 1
    assert all(text in err for text in told), err
    assert not (tmp_path / "new").exists()


def test_foreign_folders_are_left_alone(mtdense_main: Main, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    code, err = mtdense_main("data", "replica", "nyud_mtan", "--images", 3, "--size", 24, 32, "--out", tmp_path)
    assert code == 1
    assert str(tmp_path) in err
    assert files_of(tmp_path) == {"thesis.txt": b"mine"}


def test_unknown_options_of_a_writer() -> None:
    with pytest.raises(ConfigError, match="quality"):
        write_replica("nyud_mtan", "unused", 1, 1, quality=3)
