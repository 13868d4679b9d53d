"""Packed weights: one safetensors file from which everything works, here and by way of a hub that is a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import create_autospec

import huggingface_hub
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import mtdense
from mtdense.core.errors import CheckpointError, ConfigError
from mtdense.models.hub import pull
from mtdense.training.checkpoint_io import AtomicCheckpointIO
from tests.checkpoints import save_checkpoint, small_model
from tests.data.test_pictures import picture

Main = Callable[..., tuple[int, str]]


@pytest.fixture
def packed(mtdense_main: Main, tmp_path: Path) -> Path:
    model = small_model(backbone_checkpoint=None)
    checkpoint = save_checkpoint(model, tmp_path / "last.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    # As training leaves it: places of this machine, optimiser and all.
    content["hyper_parameters"]["backbone_checkpoint"] = "/home/somebody/weights.pth"
    content["datamodule_hyper_parameters"] = {
        "root": "mine",
        "label_file": "/home/somebody/mask",
        "batch_size": 3,
        "split_files": {"train": "/home/somebody/train.txt", "val": "lists/val.txt", "test": "~/test.txt"},
        "folders": [["C:\\somebody\\rgb", "/home/somebody/grey"]],
        "image_pattern": "{id}/rgb.png",
    }
    content["mtdense"]["data"]["made_of"] = {"file": "/home/somebody/a.mat"}
    content["mtdense"]["config"] = {"run_dir": "/home/somebody/runs"}
    content["optimizer_states"] = [{"state": torch.zeros(9)}]
    torch.save(content, checkpoint)
    code, err = mtdense_main("weights", "pack", "--ckpt_path", checkpoint, "--out", tmp_path / "net.safetensors")
    assert code == 0, err
    return tmp_path / "net.safetensors"


def test_packed_weights_are_the_network(packed: Path, tmp_path: Path) -> None:
    image = torch.rand(1, 3, 32, 40)
    with torch.no_grad():
        wanted, found = small_model().eval()(image).final, mtdense.load(packed)(image).final
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert b"somebody" not in packed.read_bytes() and b"optimizer_states" not in packed.read_bytes()
    with safe_open(packed, framework="pt") as file:
        told = json.loads(file.metadata()["mtdense"])
    lists = {"train": "train.txt", "val": "lists/val.txt", "test": "test.txt"}
    assert told["data"] == {
        "batch_size": 3,
        "label_file": "mask",
        "split_files": lists,
        "folders": [["rgb", "grey"]],
        "image_pattern": "{id}/rgb.png",
    }
    assert told["model"]["backbone_checkpoint"] is None and told["about"]["data"]["made_of"] == {"file": "a.mat"}
    assert told["about"]["tasks"]["semseg"]["class_names"][2] == "lamp"
    # The trainer restores it, too, but there is no training to go on with.
    restored = AtomicCheckpointIO().load_checkpoint(packed)
    assert restored["state_dict"].keys() == small_model().state_dict().keys()


def test_predict_takes_them(packed: Path, mtdense_main: Main, tmp_path: Path) -> None:
    photo = picture(tmp_path / "a.png")
    code, err = mtdense_main("predict", "--ckpt_path", packed, "--images", photo, "--out", tmp_path / "out")
    assert code == 0, err
    assert (tmp_path / "out" / "depth" / "a.npy").is_file()
    code, err = mtdense_main("fit", "--ckpt_path", packed)
    assert code == 1 and "no training to go on with" in err


def test_what_is_no_packed_file(packed: Path, mtdense_main: Main, tmp_path: Path) -> None:
    code, err = mtdense_main("weights", "pack", "--ckpt_path", tmp_path / "last.ckpt", "--out", packed)
    assert code == 1 and "is there already" in err
    code, err = mtdense_main("weights", "pack", "--ckpt_path", tmp_path / "last.ckpt", "--out", tmp_path / "x.pth")
    assert code == 1 and "no .safetensors" in err
    for given in (packed, "hf://me/rooms"):
        code, err = mtdense_main("weights", "pack", "--ckpt_path", given, "--out", tmp_path / "twice.safetensors")
        assert code == 1 and f"{given} holds packed weights already" in err
    save_file({"a": torch.zeros(2)}, tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match="not which network they are of"):
        mtdense.load(tmp_path / "plain.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(packed.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="cannot be read"):
        mtdense.load(tmp_path / "cut.safetensors")
    evil = packed.read_bytes().replace(b"mtdense.models.mtl_baseline", b"evilmod.models.mtl_baseline")
    (tmp_path / "evil.safetensors").write_bytes(evil)
    with pytest.raises(CheckpointError, match=r"evilmod.*nothing was imported"):
        mtdense.load(tmp_path / "evil.safetensors")


class Hub:
    """The hub's two entrances, with the real signatures, over a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.made: list[tuple[str, bool]] = []
        download = create_autospec(huggingface_hub.hf_hub_download, side_effect=self._download)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        api = create_autospec(huggingface_hub.HfApi, instance=True)
        api.create_repo.side_effect = lambda name, *, private, exist_ok: self.made.append((name, private))
        api.create_commit.side_effect = self._commit
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)

    def _download(self, name: str, file: str, revision: str | None = None) -> str:
        found = self.folder / name / (revision or "main") / file
        if not found.is_file():
            raise OSError(f"404 for {name}")
        return str(found)

    def _commit(self, name: str, operations: list, *, commit_message: str) -> huggingface_hub.CommitInfo:
        for operation in operations:
            target = self.folder / name / "main" / operation.path_in_repo
            target.parent.mkdir(parents=True, exist_ok=True)
            with operation.as_file() as stream:
                target.write_bytes(stream.read())
        url = f"https://huggingface.co/{name}/commit/1"
        return huggingface_hub.CommitInfo(url, commit_message=commit_message, commit_description="", oid="1")


def test_there_and_back(packed: Path, mtdense_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(tmp_path / "hub", monkeypatch)
    code, err = mtdense_main("weights", "push", packed, "hf://me/rooms")
    assert code == 0, err
    assert hub.made == [("me/rooms", True)]  # private unless asked otherwise
    page = (tmp_path / "hub" / "me" / "rooms" / "main" / "README.md").read_text()
    assert "floor, wall, lamp" in page and "hf://me/rooms" in page and "library_name: mtdense" in page
    code, err = mtdense_main("weights", "pull", "hf://me/rooms", "--out", tmp_path / "back.safetensors")
    assert code == 0, err
    assert (tmp_path / "back.safetensors").read_bytes() == packed.read_bytes()
    assert list(mtdense.load("hf://me/rooms").tasks) == list(small_model().tasks)
    # Without a name for what they write: one of the repository's, here, and none of the address.
    monkeypatch.chdir(tmp_path)
    assert mtdense_main("weights", "pull", "hf://me/rooms")[0] == 0
    assert Path("rooms.safetensors").read_bytes() == packed.read_bytes()
    photo = picture(tmp_path / "a.png")
    code, err = mtdense_main("predict", "--ckpt_path", "hf://me/rooms", "--images", photo, "--gallery", "none")
    assert code == 0, err
    assert Path("predictions/rooms/depth/a.png").is_file() and not Path("hf:").exists()
    with pytest.raises(CheckpointError, match="hf://me/none cannot be fetched: 404"):
        mtdense.load("hf://me/none")
    code, err = mtdense_main("test", "--ckpt_path", "hf://me/rooms")
    assert code == 1 and "weights pull" in err


@pytest.mark.parametrize("address", ["hf://rooms", "hf://a/b/c", "hf://../x", "hf://a/b@", "https://x/y"])
def test_addresses(address: str) -> None:
    with pytest.raises(ConfigError, match="no address on the hub"):
        pull(address)


def test_only_packed_files_are_pushed(
    packed: Path, mtdense_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(tmp_path / "hub", monkeypatch)
    code, err = mtdense_main("weights", "push", tmp_path / "last.ckpt", "hf://me/rooms")
    assert code == 1 and "no packed file" in err
    code, err = mtdense_main("weights", "push", packed, "hf://me/rooms@v1")
    assert code == 1 and "names a revision" in err
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(packed.read_bytes().replace(b"mtdense.models.mtl_baseline", b"another.models.mtl_baseline"))
    code, err = mtdense_main("weights", "push", foreign, "hf://me/rooms")
    assert code == 1 and "add `--allow_module another`" in err and not hub.made
    code, err = mtdense_main("weights", "push", foreign, "hf://me/rooms", "--allow_module", "another")
    assert code == 0 and hub.made, err
