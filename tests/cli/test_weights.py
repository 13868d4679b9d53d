"""`mtdense weights import` on files made of the public codes' names, as those codes write them."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

import mtdense
from mtdense.backbones import create_backbone
from mtdense.cli.building import build_experiment
from mtdense.data.nyud.atrc_writer import write_atrc_replica
from mtdense.models import DenseModule
from mtdense.models.invpt.published import official_sources
from tests.backbones.test_hrnet import SMALL, stage
from tests.models.bridgenet.manifest import formula, image, pick, read_manifest

Main = Callable[..., tuple[int, str]]
MODELS = Path(__file__).parents[1] / "models"
VIT = {"overrides": {"depth": 4, "embed_dim": 32, "num_heads": 2}}
BOTTLENECKS = {**stage(4), "block_type": "BOTTLENECK"}
TASKS = ["semseg", "depth", "normals", "edges"]
PUBLIC = {"edges": "edge"}
BRIDGENET: dict[str, Any] = {
    "backbone": "vit_base",
    "backbone_options": VIT,
    "width": 20,
    "extra_width": 4,
    "preliminary_width": 32,
    "tfr_layers": 2,
    "unused_parts": True,
}


def values_of(manifest: str) -> dict[str, Tensor]:
    """The public network whose outputs the golden files hold."""
    shapes = read_manifest(MODELS / manifest)
    return {name: formula(name, shape) for name, shape in shapes.items() if not name.startswith("criterion.")}


def write_config(path: Path, model: str, size: list[int], options: Mapping[str, Any]) -> Path:
    """An experiment on pictures of one's own, with five classes."""
    data = {"tasks": TASKS, "num_classes": {"semseg": 5}, "size": size}
    content = {
        "model": {"class_path": f"mtdense.models.{model}", "init_args": dict(options)},
        "data": {"class_path": "data_modules.FolderDataModule", "init_args": data},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def save_like_invpt(path: Path, state: Mapping[str, Tensor]) -> Path:
    """Wrapped for several devices, beside an optimiser and a schedule."""
    model = {f"module.{name}": value for name, value in state.items()}
    torch.save({"optimizer": {"state": {}, "param_groups": [{"lr": 2e-5}]}, "scheduler": {}, "model": model}, path)
    return path


def outputs_at(model: DenseModule, size: tuple[int, int]) -> dict[str, dict[str, Tensor]]:
    """Predictions of the golden image at its size, in double precision."""
    with torch.no_grad():
        outputs = model.double().network(image(2, *size))
    groups = {"final": outputs.final, "aux": outputs.features.get("auxiliary", {})}
    groups["preliminary"] = outputs.preliminary[0] if outputs.preliminary else {}
    return {
        kind: {task: F.interpolate(x, size, mode="bilinear") for task, x in group.items()}
        for kind, group in groups.items()
    }


def check(found: Mapping[str, Tensor], golden: Mapping[str, list[float]], turned: bool = True) -> None:
    for task, x in found.items():
        # The public code's normals point left, up and backwards.
        sign = -1 if task == "normals" and turned else 1
        wanted = torch.tensor(golden[PUBLIC.get(task, task)], dtype=torch.float64)
        torch.testing.assert_close(sign * pick(x), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_bridgenet(mtdense_main: Main, tmp_path: Path) -> None:
    golden = json.loads((MODELS / "bridgenet" / "golden.json").read_text())["vit"]["eval"]
    file = save_like_invpt(tmp_path / "official.pth.tar", values_of("bridgenet/golden_vit.txt"))
    config = write_config(tmp_path / "bridgenet.yaml", "BridgeNet", [64, 128], BRIDGENET)
    out = tmp_path / "ours.ckpt"
    code, err = mtdense_main("weights", "import", "bridgenet", file, "--config", config, "--out", out)
    assert code == 0, err
    found = outputs_at(mtdense.load(out), (64, 128))
    check(found["final"], golden["final"])
    check(found["preliminary"], golden["preliminary"])
    about = torch.load(out, weights_only=True)["mtdense"]
    assert about["imported"]["file"] == "official.pth.tar"
    assert about["tasks"]["semseg"]["num_classes"] == 5
    # Pictures need nothing but the checkpoint.
    cv2.imwrite(str(tmp_path / "room.png"), np.full((50, 100, 3), 90, np.uint8))
    code, err = mtdense_main(
        "predict", "--ckpt_path", out, "--images", tmp_path / "room.png", "--out", tmp_path / "out"
    )
    assert code == 0, err
    assert len([p for p in (tmp_path / "out").rglob("room*") if p.is_file()]) >= 2 * len(TASKS)


def published_invpt(model: DenseModule) -> dict[str, Tensor]:
    """A network's own weights under the public names, layers of all tasks taken apart."""
    shapes, own = read_manifest(MODELS / "invpt" / "golden_vit.txt"), model.network.state_dict()
    state = {key.replace("network.", ""): value for key, value in own.items() if key.startswith("backbone.")}
    for name, source in official_sources(model.network).items():
        parts = own[name].chunk(len(source.names)) if own[name].dim() else [own[name]] * len(source.names)
        for public, part in zip(source.names, parts, strict=True):
            rank = len(shapes[public])
            state[public] = part[..., 0, 0] if (part.dim(), rank) == (4, 2) else part if part.dim() == rank else part[0]
    assert state.keys() == shapes.keys()
    return state


def test_invpt(mtdense_main: Main, tmp_path: Path) -> None:
    """The shipped experiment, made small; normals are what another archive holds."""
    options = ("--model.preset", "tiny", "--model.backbone_options", json.dumps(VIT), "--data.size", "[64, 96]")
    name = ("--config", "nyud_atrc/full/invpt-vit_base.yaml", "--model.pretrained", "false")
    options += ("--model.input_size", "[64, 96]", "--model.unused_parts", "true")
    torch.manual_seed(0)
    ours = build_experiment([name[1]], options)[0].eval()
    file = save_like_invpt(tmp_path / "official.pth.tar", published_invpt(ours))
    out = tmp_path / "ours.ckpt"
    given = ("--normals-axes", "+x+z-y", "--out", out)
    code, err = mtdense_main("weights", "import", "invpt", file, *name, *options, *given)
    assert code == 0, err
    before, after = (outputs_at(model, (64, 96)) for model in (ours, mtdense.load(out)))
    for kind in ("final", "preliminary"):
        for task, x in before[kind].items():
            wanted = torch.stack([x[:, 0], -x[:, 2], x[:, 1]], dim=1) if task == "normals" else x
            torch.testing.assert_close(after[kind][task], wanted, rtol=1e-5, atol=1e-6)
    root = write_atrc_replica(tmp_path / "nyud", 4, 2, seed=3, size=(64, 96))
    own = ("--data.root", root, "--data.num_workers", "0", "--trainer.accelerator", "cpu", "--run_dir", tmp_path)
    code, err = mtdense_main("test", "--ckpt_path", out, *own)
    assert code == 0, err
    scored = json.loads((tmp_path / "records" / "test-ours.json").read_text())
    assert scored["method"] == "invpt"
    assert {m["task"] for m in scored["metrics"]} == set(TASKS)
    code, err = mtdense_main("fit", "--ckpt_path", out, *own)
    assert code == 1
    assert "no training" in err


@pytest.fixture
def atrc(tmp_path: Path) -> tuple[Path, Path]:
    """(checkpoint as Lightning 1.1 wrote it, experiment)."""
    golden = json.loads((MODELS / "atrc" / "golden_hrnet.json").read_text())
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    key = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = key  # type: ignore[attr-defined]
    state = values_of("atrc/golden_hrnet.txt") | {"criterion.loss_dict.edge.aux.class_weight": torch.ones(2)}
    known = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        torch.save({"epoch": 7, "callbacks": {key: {"monitor": None}}, "state_dict": state}, tmp_path / "atrc.ckpt")
    finally:
        if known is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = known
    options = {
        "backbone": "hrnet_w18",
        "backbone_options": {"overrides": {**SMALL, "stage1": BOTTLENECKS}},
        "genotype": golden["genotype"],
    }
    # The tables of the small network have tuples, which YAML has not.
    options = json.loads(json.dumps(options))
    return tmp_path / "atrc.ckpt", write_config(tmp_path / "atrc.yaml", "ATRC", [33, 45], options)


def test_atrc(mtdense_main: Main, atrc: tuple[Path, Path], tmp_path: Path) -> None:
    """github.com/brdav/atrc, commit 76d8055: its HRNet and head, both small, in double precision."""
    golden = json.loads((MODELS / "atrc" / "golden_hrnet.json").read_text())
    out = tmp_path / "ours.ckpt"
    code, err = mtdense_main("weights", "import", "atrc", atrc[0], "--config", atrc[1], "--out", out)
    assert code == 0, err
    assert "does not say of which kind each context is (`genotype` is a table)" in err
    found = outputs_at(mtdense.load(out), (33, 45))
    check(found["final"], golden["final"])
    check(found["aux"], golden["aux"], turned=False)
    assert len(found["aux"]) == len(golden["aux"])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_internimage(mtdense_main: Main, tmp_path: Path, suffix: str) -> None:
    options = {"overrides": {"channels": 16, "depths": [1, 1, 1, 1], "groups": [1, 2, 4, 8]}}
    names = values_of("bridgenet/golden_internimage.txt")
    state = {name.removeprefix("backbone."): x.float() for name, x in names.items() if name.startswith("backbone.")}
    torch.save({"model": {**state, "head.weight": torch.zeros(3, 4)}, "epoch": 1}, tmp_path / "official.pth")
    out = tmp_path / f"ours{suffix}"
    given = ("--backbone", "internimage_b", "--backbone-options", json.dumps(options), "--out", out)
    code, err = mtdense_main("weights", "import", "internimage", tmp_path / "official.pth", *given)
    assert code == 0, err
    loaded = create_backbone("internimage_b", checkpoint=str(out), **options).eval()
    plain = create_backbone("internimage_b", **options).eval()
    plain.load_state_dict(state)
    picture = image(1, 32, 64).float()
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(loaded(picture), plain(picture), strict=True))


def test_what_does_not_fit_is_refused(mtdense_main: Main, tmp_path: Path) -> None:
    """One error each, and no file."""
    state = values_of("bridgenet/golden_vit.txt")
    out = tmp_path / "ours.ckpt"

    def refused(words: str, state: Mapping[str, Tensor], options: Mapping[str, Any] = {}, *more: str) -> None:
        config = write_config(tmp_path / "config.yaml", "BridgeNet", [64, 128], BRIDGENET | options)
        file = save_like_invpt(tmp_path / "file.pth.tar", state)
        code, err = mtdense_main("weights", "import", "bridgenet", file, "--config", config, "--out", out, *more)
        assert (code, err.count("error:")) == (1, 1)
        assert words in err
        assert not out.exists()

    refused("--model.unused_parts true", state, {"unused_parts": False})
    # What changes no shape.
    refused("tpp_feature_to_bridge is True", state, {"tpp_feature_to_bridge": True})
    deep = {"overrides": {**VIT["overrides"], "depth": 8}, "out_blocks": [1, 4, 6, 8]}
    refused("out_blocks is [1, 4, 6, 8]", state, {"backbone_options": deep})
    refused(
        "lacks heads.depth.linear_pred.bias", {k: v for k, v in state.items() if k != "heads.depth.linear_pred.bias"}
    )
    refused("has surplus too many", state | {"surplus": torch.zeros(1)})
    refused("final.heads.depth.bias", state | {"heads.depth.linear_pred.bias": torch.zeros(2)})
    # A table for square images is what a backbone takes from its pretraining.
    refused("resized", state | {"backbone.pos_embed": torch.zeros(1, 26, 32)})
    refused("not finite", state | {"heads.depth.linear_pred.bias": torch.full((1,), torch.nan)})
    refused("tasks are normals, semseg, depth, edges", state, {}, "--data.tasks", "[normals, semseg, depth, edges]")
    refused("no choice of axes", state, {}, "--normals-axes", "xyz")


def test_bad_files_and_options(mtdense_main: Main, atrc: tuple[Path, Path], tmp_path: Path) -> None:
    file, config = atrc
    own = ("--config", config, "--out", tmp_path / "out.ckpt")
    torch.save({"state_dict": {"a": types.SimpleNamespace()}}, tmp_path / "object.pth")
    (tmp_path / "text.pth").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    content = yaml.safe_load(config.read_text())
    content["model"]["init_args"]["backbone_options"]["fusion"] = "nearest"
    nearest = tmp_path / "nearest.yaml"
    nearest.write_text(yaml.safe_dump(content))
    widened = {"overrides": {"channels": 16, "depths": [1] * 4, "groups": [1, 2, 4, 8], "offset_scale": 2.0}}
    for name, words in (
        ("object.pth", "read safely"),
        ("text.pth", "read safely"),
        ("list.pth", "no state dict"),
        ("none.pth", "no weights at"),
    ):
        code, err = mtdense_main("weights", "import", "atrc", tmp_path / name, *own)
        assert code == 1 and words in err, err
    for arguments, words in (
        (("bridgenet", file, *own), "the experiment is of atrc"),
        (("atrc", file, *own[2:]), "without an experiment"),
        (("atrc", file, *own, "--backbone", "internimage_b"), "--backbone with atrc"),
        (("atrc", file, "--config", config, "--out", file), "is the same file"),
        (("atrc", file, "--config", config, "--out", config), "is there already"),
        (("atrc", file, *own, "--model.mask_padding", "true"), "mask_padding is True"),
        (("atrc", file, "--config", nearest, *own[2:]), "fusion is 'nearest'"),
        (
            ("internimage", file, *own[2:], "--backbone", "internimage_b", "--backbone-options", json.dumps(widened)),
            "offset_scale is 2.0",
        ),
        (("internimage", file, *own, "--backbone", "internimage_b"), "not for an experiment"),
        (("internimage", file, *own[2:], "--backbone", "resnet18"), "internimage_b or internimage_l"),
        (("internimage", file, *own[2:], "--backbone", "internimage_b", "--backbone-options", "{a: 1}"), "{a: 1}"),
    ):
        code, err = mtdense_main("weights", "import", *arguments)
        assert code == 1 and words in err, err
