"""`mtdense data check` on small replicas: whole, incomplete, corrupt, and with a manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mtdense.data.nyud.atrc import NYUDAtrcDataset
from mtdense.data.replicas import write_replica

Check = Callable[..., tuple[int, str, dict[str, Any]]]
FORMS = ("nyud_atrc", "nyud_mtan", "nyud_official")


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replicas")
    for name in FORMS:
        write_replica(name, folder / name, 6, 3, size=(32, 40))
    return folder


@pytest.fixture
def root(replicas: Path, tmp_path: Path) -> Path:
    """A copy of the first to be spoilt."""
    return Path(shutil.copytree(replicas / "nyud_atrc", tmp_path / "nyud"))


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs the check: (exit code, what it printed, what it wrote as JSON)."""
    from mtdense.cli.main import main

    def run(name: str, root: Path, *options: object) -> tuple[int, str, dict[str, Any]]:
        capsys.readouterr()
        path = tmp_path / "check.json"
        code = main(["data", "check", name, "--root", str(root), "--json", str(path), *map(str, options)])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return code, told.out + told.err, json.loads(path.read_text()) if path.is_file() else {}

    return run


def kinds(stored: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(finding["kind"], finding["where"], finding["count"]) for finding in stored["findings"]]


# ---- whole ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FORMS)
def test_a_whole_replica_has_no_fault(check: Check, replicas: Path, name: str) -> None:
    code, told, stored = check(name, replicas / name)
    assert code == 0, told
    assert stored["ok"] is True
    assert stored["findings"] == []
    assert stored["version"].startswith("replica-")
    for split, number in (("train", 6), ("test", 3)):
        images = stored["images"][split]
        assert (images["found"], images["expected"], images["decoded"], images["corrupt"]) == (
            number,
            number,
            number,
            0,
        )
        assert images["sizes"] == {"32x40": number}
        for task in stored["tasks"]:
            assert stored["tasks"][task][split]["decoded"] == number
    assert (
        list(stored["tasks"])
        == {
            "nyud_atrc": ["semseg", "depth", "normals", "edges"],
            "nyud_mtan": ["semseg", "depth", "normals"],
            "nyud_official": ["semseg", "edges", "depth"],
        }[name]
    )


def test_figures_are_those_of_the_labels(check: Check, replicas: Path) -> None:
    """Against the labels themselves, read one by one."""
    _, told, stored = check("nyud_atrc", replicas / "nyud_atrc", "--full", "--manifest", replicas / "unused.json")
    dataset = NYUDAtrcDataset(replicas / "nyud_atrc", "train")
    labels = [dataset.load(i, ["semseg", "depth", "normals", "edges"]).labels for i in range(len(dataset))]
    maps = {task: np.stack([label[task] for label in labels]) for task in labels[0]}
    facts = {task: stored["tasks"][task]["train"] for task in maps}
    counts = np.bincount(maps["semseg"][maps["semseg"] != 255], minlength=40)
    assert list(facts["semseg"]["class_pixels"].values()) == counts.tolist()
    assert facts["semseg"]["valid_share"] == pytest.approx(float((maps["semseg"] != 255).mean()))
    known = maps["depth"][maps["depth"] >= 0]
    assert facts["depth"]["lowest"] == [known.min()]
    assert facts["depth"]["highest"] == [known.max()]
    assert facts["depth"]["mean"] == [pytest.approx(known.mean(dtype=float))]
    assert facts["edges"]["positive_share"] == pytest.approx(float((maps["edges"] == 1).mean()))
    lengths = np.linalg.norm(maps["normals"], axis=-1)
    mean = maps["normals"][lengths > 0.5].mean(axis=0, dtype=float)
    assert facts["normals"]["mean"] == pytest.approx(mean.tolist())
    for text in ("wall", f"{counts[0] / counts.sum():.2%}", "metres", "positive", "not seen: "):
        assert text in told


def test_a_sample_is_spread_over_the_split(check: Check, root: Path) -> None:
    ids = (root / "gt_sets" / "train.txt").read_text().split()
    (root / "images" / f"{ids[-1]}.png").write_bytes(b"none")
    (root / "images" / f"{ids[1]}.png").write_bytes(b"none")
    code, _, stored = check("nyud_atrc", root, "--samples", 2)
    assert code == 1
    assert stored["images"]["train"]["corrupt"] == 1  # the last of six, not the second
    assert stored["images"]["train"]["decoded"] == 1
    assert stored["images"]["test"]["decoded"] == 2
    assert check("nyud_atrc", root, "--samples", 1)[0] == 0


def test_options_of_the_data(check: Check, replicas: Path) -> None:
    _, _, stored = check("nyud_official", replicas / "nyud_official", "--data.derive_normals", "true")
    assert list(stored["tasks"]) == ["semseg", "normals", "edges", "depth"]
    _, _, stored = check("nyud_atrc", replicas / "nyud_atrc", "--data.tasks", "[edges,depth]")
    assert list(stored["tasks"]) == ["edges", "depth"]


# ---- missing --------------------------------------------------------------------------------------------------------
def test_missing_labels_are_named_and_the_others_are_checked(check: Check, root: Path) -> None:
    train = (root / "gt_sets" / "train.txt").read_text().split()
    for name in (train[1], train[4]):
        (root / "normals" / f"{name}.png").unlink()
    (root / "depth" / f"{train[2]}.npy").unlink()
    shutil.rmtree(root / "edge")
    code, told, stored = check("nyud_atrc", root)
    assert code == 1
    assert kinds(stored) == [
        ("missing", "train depth", 1),
        ("missing", "train normals", 2),
        ("missing", "train edges", 1),
        ("missing", "test edges", 1),
    ]
    assert f"2 of 6 images lack this label: {train[1]}, {train[4]}" in told
    assert f"no such folder: {root / 'edge'}" in told
    found = {task: parts["train"]["found"] for task, parts in stored["tasks"].items()}
    assert found == {"semseg": 6, "depth": 5, "normals": 4, "edges": 0}
    assert stored["tasks"]["normals"]["train"]["decoded"] == 4
    assert "It is a replica" in told


def test_missing_images_are_named(check: Check, root: Path) -> None:
    train = (root / "gt_sets" / "train.txt").read_text().split()
    for name in train[1:4]:
        (root / "images" / f"{name}.png").unlink()
    code, told, stored = check("nyud_atrc", root)
    assert code == 1
    assert kinds(stored) == [("missing", "train", 1)]
    assert f"3 of 6 lack one: {', '.join(train[1:4])}" in told
    assert stored["images"]["test"]["decoded"] == 3


def test_many_names_are_shortened(check: Check, root: Path) -> None:
    train = (root / "gt_sets" / "train.txt").read_text().split()
    for name in train:
        (root / "normals" / f"{name}.png").unlink()
    _, told, stored = check("nyud_atrc", root)
    assert kinds(stored) == [("missing", "train normals", 1)]
    assert f"6 of 6 lack one: {', '.join(train[:5])} and 1 more" in told


def test_a_list_that_was_cut(check: Check, root: Path) -> None:
    path = root / "gt_sets" / "train.txt"
    path.write_text("\n".join(path.read_text().split()[:4]))
    code, told, stored = check("nyud_atrc", root)
    assert code == 1
    assert kinds(stored) == [("missing", "train images", 2)]
    assert "4 found, 6 expected" in told


def test_an_image_that_was_added_is_no_fault(check: Check, root: Path) -> None:
    train = (root / "gt_sets" / "train.txt").read_text().split()
    for path in [path for folder in root.iterdir() if folder.is_dir() for path in folder.glob(f"{train[0]}.*")]:
        shutil.copy(path, path.with_stem("mine"))
    (root / "gt_sets" / "train.txt").write_text("\n".join([*train, "mine"]))
    code, _, stored = check("nyud_atrc", root)
    assert code == 0
    assert kinds(stored) == [("notice", "train images", 1)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("nyud_atrc", "NYUD_MT.tgz"), ("nyud_mtan", "lorenmt/mtan"), ("nyud_official", "nyu_depth_v2_labeled.mat")],
)
def test_nothing_there(check: Check, tmp_path: Path, name: str, expected: str) -> None:
    code, told, stored = check(name, tmp_path / "nowhere")
    assert code == 1
    assert kinds(stored) == [("missing", "train", 1)]  # once, not for each split and task
    assert str(tmp_path / "nowhere") in told
    assert expected in stored["published"]
    assert f"Source: {stored['published']}" in told


def test_genuine_data_are_compared_with_what_was_published(check: Check, root: Path) -> None:
    """Without its mark a replica passes for a part of the genuine data."""
    (root / "replica.json").unlink()
    code, told, stored = check("nyud_atrc", root)
    assert code == 1
    assert kinds(stored) == [("missing", "train images", 789), ("missing", "test images", 651)]
    assert "6 found, 795 expected" in told


def test_gaps_in_numbered_files(check: Check, replicas: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(replicas / "nyud_mtan", tmp_path / "mtan"))
    for kind in ("image", "label", "depth", "normal"):
        for number in (1, 3):
            (root / "train" / kind / f"{number}.npy").unlink()
    code, told, _ = check("nyud_mtan", root)
    assert code == 1
    assert "there is no 1.npy, 3.npy but 5.npy (2 are missing)" in told


# ---- corrupt --------------------------------------------------------------------------------------------------------
def test_corrupt_labels_are_named_and_counted(check: Check, root: Path) -> None:
    train = (root / "gt_sets" / "train.txt").read_text().split()
    for name in train[2:4]:
        path = root / "segmentation" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:60])
    np.save(root / "depth" / f"{train[2]}.npy", np.ones((31, 40), np.float32))
    code, told, stored = check("nyud_atrc", root)
    assert code == 1
    assert sorted(kinds(stored)) == [("corrupt", "train depth", 1), ("corrupt", "train semseg", 2)]
    assert "2 of 6 cannot be decoded" in told
    for text in (f"{train[2]}.png", f"{train[3]}.png", "31x40"):
        assert text in told
    facts = {task: parts["train"] for task, parts in stored["tasks"].items()}
    assert {task: (fact["decoded"], fact["corrupt"]) for task, fact in facts.items()} == {
        "semseg": (4, 2),
        "depth": (5, 1),
        "normals": (6, 0),
        "edges": (6, 0),
    }
    assert stored["images"]["train"]["decoded"] == 6


def test_a_corrupt_image_is_not_blamed_on_its_labels(check: Check, root: Path) -> None:
    train = (root / "gt_sets" / "train.txt").read_text().split()
    path = root / "images" / f"{train[0]}.png"
    path.write_bytes(path.read_bytes()[:60])
    _, told, stored = check("nyud_atrc", root)
    assert kinds(stored) == [("corrupt", "train images", 1)]
    assert str(path) in told
    assert {parts["train"]["corrupt"] for parts in stored["tasks"].values()} == {0}


def test_a_frame_with_labels_out_of_range(check: Check, replicas: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(replicas / "nyud_official", tmp_path / "official"))
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
        file["labels"][0] = 900
    _, told, stored = check("nyud_official", root)
    assert {finding["kind"] for finding in stored["findings"]} == {"corrupt"}
    # Edges are made of the labels, too.
    assert {finding["where"].split()[1] for finding in stored["findings"]} == {"semseg", "edges"}
    assert "label 900" in told


# ---- manifest -------------------------------------------------------------------------------------------------------
def test_manifest(check: Check, root: Path) -> None:
    manifest = root / "mtdense-manifest.json"
    assert check("nyud_atrc", root)[0] == 0
    assert not manifest.exists()
    code, told, _ = check("nyud_atrc", root, "--full")
    assert code == 0, told
    files = json.loads(manifest.read_text())["files"]
    assert len(files) == 9 * 5 + 2 + 1
    assert files["gt_sets/train.txt"][0] == (root / "gt_sets" / "train.txt").stat().st_size
    before = manifest.read_bytes()
    code, told, stored = check("nyud_atrc", root, "--full")
    assert (code, stored["findings"]) == (0, [])
    assert "48 files, all as they were" in told

    changed = sorted((root / "depth").iterdir())[0]
    np.save(changed, np.load(changed) + np.float32(0.001))  # decodes as well as before
    (root / "readme.txt").write_text("mine")
    (root / ".DS_Store").write_text("hidden files do not count")
    code, told, stored = check("nyud_atrc", root, "--full")
    assert code == 1
    assert kinds(stored) == [("corrupt", "files", 1), ("notice", "files", 1)]
    assert f"1 file changed: depth/{changed.name}" in told
    assert "1 file new: readme.txt" in told
    assert manifest.read_bytes() == before  # what was changed is not blessed
    assert check("nyud_atrc", root)[0] == 0  # without --full nobody looks


def test_missing_files_of_a_manifest(check: Check, root: Path, tmp_path: Path) -> None:
    (root / "notes.txt").write_text("mine")
    manifest = tmp_path / "kept" / "nyud.json"
    assert check("nyud_atrc", root, "--full", "--manifest", manifest)[0] == 0
    assert not (root / "mtdense-manifest.json").exists()
    (root / "notes.txt").unlink()
    code, told, stored = check("nyud_atrc", root, "--full", "--manifest", manifest)
    assert code == 1
    assert kinds(stored) == [("missing", "files", 1)]
    assert "1 file missing: notes.txt" in told


def test_faulty_data_get_no_manifest(check: Check, root: Path) -> None:
    sorted((root / "depth").iterdir())[0].write_bytes(b"none")
    assert "not written" in check("nyud_atrc", root, "--full")[1]
    assert not (root / "mtdense-manifest.json").exists()


def test_an_unreadable_file_is_named(check: Check, root: Path) -> None:
    assert check("nyud_atrc", root, "--full")[0] == 0
    (root / "lost").symlink_to(root / "nowhere")
    code, told, stored = check("nyud_atrc", root, "--full")
    assert code == 1
    assert kinds(stored) == [("corrupt", "files", 1)]
    assert "lost (no regular file, or a link to none)" in told


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda text: text[: len(text) // 2], "cannot be read"),
        (lambda text: text.replace("[", "[1", 1), "its own checksum differs"),
        (lambda text: "{}", "is no manifest"),
        (lambda text: text.replace("nyud_atrc", "nyud_mtan"), "is of 'nyud_mtan', not 'nyud_atrc'"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "version 2"),
    ],
)
def test_a_manifest_that_cannot_be_trusted(check: Check, root: Path, spoil: Callable[[str], str], told: str) -> None:
    assert check("nyud_atrc", root, "--full")[0] == 0
    manifest = root / "mtdense-manifest.json"
    manifest.write_text(spoil(manifest.read_text()))
    left = manifest.read_text()
    code, text, _ = check("nyud_atrc", root, "--full")
    assert code == 1
    assert str(manifest) in text
    assert told in text
    assert manifest.read_text() == left


@pytest.mark.parametrize("codec", ["source", "raw"])
def test_packs_are_checked_as_folders_are(check: Check, root: Path, tmp_path: Path, codec: str) -> None:
    from mtdense.cli.main import main

    pack = tmp_path / "nyud.h5"
    assert main(["data", "prepare", "nyud_atrc", "--root", str(root), "--out", str(pack), "--codec", codec]) == 0
    code, told, stored = check("nyud_atrc", pack, "--full")
    assert code == 0, told
    assert "give --manifest FILE" in told  # nothing is written beside a pack
    assert sorted(path.name for path in tmp_path.iterdir()) == ["check.json", "nyud", "nyud.h5"]
    _, _, files = check("nyud_atrc", root)
    # A raw pack has no mark that says how many scenes there should be.
    assert stored["images"]["train"]["expected"] == {"source": 6, "raw": None}[codec]
    for task, parts in files["tasks"].items():
        for split, facts in parts.items():
            assert {**stored["tasks"][task][split], "expected": 0} == {**facts, "expected": 0}


# ---- command line ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("nyud_atrk", (), "Did you mean 'nyud_atrc'?"),
        ("nyud_atrc", ("--samples", 0), "--samples is 0"),
        ("nyud_atrc", ("--manifest", "m.json"), "add --full"),
        ("nyud_atrc", ("--data.tasks", "[semsec]"), "Did you mean 'semseg'?"),
        ("nyud_atrc", ("--data.void_zeros", "true"), "void_zeros"),
        ("folder", (), "which tasks of folder"),
    ],
)
def test_what_is_wrong_is_named(check: Check, root: Path, name: str, options: tuple[object, ...], told: str) -> None:
    code, text, _ = check(name, root, *options)
    assert code in (1, 2)
    assert told in text


def test_options_may_come_before_the_name(replicas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mtdense.cli.main import main

    root = str(replicas / "nyud_atrc")
    assert main(["data", "check", "--data.tasks", "[semseg]", "nyud_atrc", "--root", root, "--samples", "1"]) == 0
    assert "semseg" in capsys.readouterr().out
    config = ["--config", "nyud_atrc/full/mtl_baseline-resnet18.yaml"]
    assert main(["data", "check", *config, "--data.root", root, "--samples", "1"]) == 0


def test_a_folder_of_ones_own(check: Check, tmp_path: Path) -> None:
    """No published numbers: nothing is missing, but what is there must be whole, and labels may be few."""
    rng = np.random.default_rng(0)
    for i in range(10):
        for kind, array in (("images", rng.integers(0, 255, (8, 9, 3), np.uint8)), ("depth", rng.random((8, 9)) + 1)):
            if kind == "images" or i % 2:
                (tmp_path / kind).mkdir(exist_ok=True)
                np.save(tmp_path / kind / f"{i}.npy", array)
    code, told, stored = check("folder", tmp_path, "--data.tasks", "[depth]", "--data.test_fraction", 0.4)
    assert code == 0, told
    assert {split: part["found"] for split, part in stored["images"].items()} == {"train": 5, "val": 1, "test": 4}
    assert sum(part["found"] for part in stored["tasks"]["depth"].values()) == 5
    assert stored["images"]["train"]["expected"] is None
