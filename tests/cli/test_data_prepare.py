"""`mtdense data prepare`, and training from what it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_modules import NYUDAtrcDataModule, NYUDMtanDataModule, NYUDOfficialDataModule
from mtdense.cli.data_prepare import compare
from mtdense.cli.main import main
from mtdense.core.errors import DataError
from mtdense.data.nyud.atrc_writer import write_atrc_replica
from mtdense.data.nyud.mtan_writer import write_mtan_replica
from mtdense.data.nyud.official_writer import write_official_replica
from tests.conftest import CONF

Main = Callable[..., tuple[int, str]]
MODULES = {"nyud_atrc": NYUDAtrcDataModule, "nyud_mtan": NYUDMtanDataModule}
EXPERIMENTS = {
    "nyud_mtan": "nyud_mtan/one-label/mtl_baseline-resnet18.yaml",
    "nyud_atrc": "nyud_atrc/full/mtl_baseline-resnet18.yaml",
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("replicas")
    return {
        "nyud_atrc": write_atrc_replica(top / "nyud_atrc", 6, 3, size=(32, 40)),
        "nyud_mtan": write_mtan_replica(top / "nyud_mtan", 6, 3, size=(32, 40)),
    }


def prepare(name: str, root: Path, out: Path, *options: str) -> int:
    return main(["data", "prepare", name, "--root", str(root), "--out", str(out), *options])


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("codec", ["source", "raw"])
def test_packs_give_the_same_batches(roots: dict[str, Path], tmp_path: Path, name: str, codec: str) -> None:
    out = tmp_path / "pack.h5"
    assert prepare(name, roots[name], out, "--codec", codec, "--workers", "2") == 0
    tasks = ["semseg", "depth", "normals"]

    def batches(root: Path, num_workers: int) -> list[Any]:
        data = MODULES[name](
            root=str(root), tasks=tasks, size=(24, 32), batch_size=2, num_workers=num_workers, photometric="strong"
        )
        data.setup("fit")
        data.setup("test")
        return [*data.train_dataloader(), *data.test_dataloader(), data.description, data.label_mask.checksum()]

    files, packed = batches(roots[name], 0), batches(out, 2)
    assert files[-2:] == packed[-2:]
    for one, other in zip(files[:-2], packed[:-2], strict=True):
        assert one["id"] == other["id"] and one["meta"]["data_version"] == other["meta"]["data_version"]
        for a, b in [(one["image"], other["image"]), *((one["targets"][t], other["targets"][t]) for t in tasks)]:
            assert a.dtype == b.dtype and np.array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(("name", "codec"), [("nyud_atrc", "raw"), ("nyud_mtan", "source")])
def test_trains_and_tests_from_a_pack(
    mtdense_main: Main, roots: dict[str, Path], tmp_path: Path, name: str, codec: str
) -> None:
    out = tmp_path / "pack.h5"
    assert prepare(name, roots[name], out, "--codec", codec) == 0
    shipped = ("--config", EXPERIMENTS[name], "--config", CONF / "tiny.yaml", "--model.pretrained", "false")
    code, err = mtdense_main("fit", *shipped, "--data.root", out, "--run_dir", tmp_path / "run")
    assert code == 0, err
    code, err = mtdense_main("test", "--ckpt_path", tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert code == 0, err
    stored = json.loads((tmp_path / "run" / "records" / "test.json").read_text())
    assert stored["data"]["version"].startswith(f"replica-{name}-") and stored["data"]["test_size"] == 3


def test_what_it_says(roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(shutil.copytree(roots["nyud_atrc"], tmp_path / "data"))
    (root / "NYUDv2.tar.gz").touch()
    out, facts = root / "pack.h5", tmp_path / "facts.json"
    assert prepare("nyud_atrc", root, out, "--json", str(facts)) == 0
    told = capsys.readouterr().out
    assert "codec source" in told and "9 images in 48 entries" in told and "packed at" in told
    assert "9 images equal" in told and "images/s" in told and "left out (archives and packs): NYUDv2.tar.gz" in told
    stored = json.loads(facts.read_text())
    assert stored["header"]["dataset"] == "nyud_atrc" and stored["size"] == out.stat().st_size
    assert stored["parts_before"] == 0 and stored["compared"]["images"] == 9
    assert prepare("nyud_atrc", root, out) == 0
    assert "all parts were there" in capsys.readouterr().out


def test_raw_packs_hold_options(mtdense_main: Main, roots: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "pack.h5"
    options = ("--codec", "raw", "--data.void_zero", "false", "--data.tasks", "[semseg,depth]")
    assert prepare("nyud_atrc", roots["nyud_atrc"], out, *options) == 0
    data = NYUDAtrcDataModule(root=str(out), tasks=["depth"], void_zero=False)
    assert data.published_train().available(0) == {"semseg", "depth"}
    assert data.task_specs.keys() == {"depth"}
    shipped = ("--config", EXPERIMENTS["nyud_atrc"], "--config", CONF / "tiny.yaml", "--model.pretrained", "false")
    code, err = mtdense_main("fit", *shipped, "--data.root", out, "--run_dir", tmp_path / "run")
    assert code == 1 and "void_zero False, not True" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nyud_atrc", "--out", "pack.hdf"), "ends in .h5"),
        (("nyud_atrc", "--out", "pack.h5", "--workers", "0"), "--workers is 0"),
        (("nyud_atrk", "--out", "pack.h5"), "nyud_atrc"),
        (("procedural", "--out", "pack.h5", "--data.tasks", "[semseg]"), "procedural"),
        (("nyud_mtan", "--out", "pack.h5"), "no such folder"),
        (("nyud_atrc", "--out", "pack.h5", "--codec", "zip"), "zip"),
    ],
)
def test_what_is_wrong_is_named(
    mtdense_main: Main,
    roots: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    root = () if arguments[0] == "procedural" else ("--root", roots["nyud_atrc"])
    code, err = mtdense_main("data", "prepare", *arguments, *root)
    assert code in (1, 2) and message in err and "Traceback" not in err
    assert not any(tmp_path.iterdir())


def test_other_content_than_the_files(roots: dict[str, Path], tmp_path: Path) -> None:
    other = write_atrc_replica(tmp_path / "other", 6, 3, seed=1, size=(32, 40))
    one, two = (
        {"train": NYUDAtrcDataModule(root=str(root), tasks=["depth"]).published_train()}
        for root in (roots["nyud_atrc"], other)
    )
    with pytest.raises(DataError, match="does not give what the files give"):
        compare(one, two, tmp_path / "x.h5")
    two["train"].version = one["train"].version
    with pytest.raises(DataError, match="image '000000'"):
        compare(one, two, tmp_path / "x.h5")


def test_a_pack_of_a_pack(mtdense_main: Main, roots: dict[str, Path], tmp_path: Path) -> None:
    source, raw = tmp_path / "source.h5", tmp_path / "raw.h5"
    assert prepare("nyud_mtan", roots["nyud_mtan"], source) == 0
    assert prepare("nyud_mtan", source, raw, "--codec", "raw") == 0
    for root, codec in ((source, "source"), (raw, "raw")):
        code, err = mtdense_main(
            "data", "prepare", "nyud_mtan", "--root", root, "--out", tmp_path / "x.h5", "--codec", codec
        )
        assert code == 1 and "pack already" in err


def test_the_official_file_has_raw_packs_only(mtdense_main: Main, tmp_path: Path) -> None:
    root, out = write_official_replica(tmp_path / "official", 2, 1, size=(32, 40)).parent, tmp_path / "x.h5"
    options = ("--data.derive_normals", "true", "--data.crop", "valid")
    assert prepare("nyud_official", root, out, "--codec", "raw", *options) == 0
    tasks = ["semseg", "normals", "edges", "depth"]
    files, packed = (
        NYUDOfficialDataModule(root=str(place), tasks=tasks, derive_normals=True, crop="valid").published_train()
        for place in (root, out)
    )
    one, other = files.load(1, tasks), packed.load(1, tasks)
    assert one.camera is not None and other.camera is not None and np.array_equal(one.camera, other.camera)
    assert packed.derived == {"normals", "edges"} and packed.version == files.version
    code, err = mtdense_main("data", "prepare", "nyud_official", "--root", root, "--out", tmp_path / "y.h5")
    assert code == 1 and "Use raw" in err
