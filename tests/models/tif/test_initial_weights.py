"""TIF from weights that were trained for segmentation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtdense.backbones import create_backbone
from tests.conftest import CONF

Main = Callable[..., tuple[int, str]]
SMALL: dict[str, Any] = {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}


def segmentation_file(path: Path) -> dict[str, torch.Tensor]:
    """A file as UPerNet with a small Swin leaves it, in the original's names; and the backbone's weights in ours."""
    torch.manual_seed(7)
    own = {
        key: torch.randn_like(value) for key, value in create_backbone("swin_t", overrides=SMALL).state_dict().items()
    }
    state = {}
    for key, value in own.items():
        # There maps are halved at the end of a stage.
        name = re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key)
        name = re.sub(r"norms\.(\d)\.", r"norm\1.", name)
        state["backbone." + name.removeprefix("network.")] = value
    state["decode_head.conv_seg.weight"] = torch.zeros(150, 8, 1, 1)
    state["auxiliary_head.conv_seg.bias"] = torch.zeros(150)
    torch.save({"meta": {"mmseg_version": "0.14.0", "CLASSES": ["wall"]}, "state_dict": state}, path)
    return own


def fit(main: Main, folder: Path, *options: str) -> tuple[int, str]:
    """One step that changes next to nothing, on procedural rooms, from the shipped overlay."""
    base = ("--config", "procedural/one-label/mtl_baseline-resnet18.yaml", "--config", CONF / "tiny.yaml")
    model = {"backbone": "swin_t", "backbone_options": {"overrides": SMALL, "drop_path_rate": 0.0}}
    model.update(preset="tiny", optimizer="sgd", lr=1e-12)
    overlay = folder / "small.yaml"
    overlay.write_text(json.dumps({"model": {"class_path": "mtdense.models.TIF", "init_args": model}}))
    short = ("--data.train_images", "4", "--data.val_images", "2", "--data.tasks", "[depth]")
    short += ("--data.label_setting", "full", "--trainer.max_steps", "1", "--trainer.val_check_interval", "1")
    initial = ("--config", "base/init_ade20k-swin_t.yaml")
    return main("fit", *base, "--config", overlay, *initial, *short, "--run_dir", folder / "run", *options)


def test_training_starts_from_the_file(mtdense_main: Main, tmp_path: Path) -> None:
    own = segmentation_file(tmp_path / "upernet.pth")
    code, err = fit(mtdense_main, tmp_path, "--model.backbone_checkpoint", str(tmp_path / "upernet.pth"))
    assert code == 0, err
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.allclose(kept[f"network.backbone.{key}"], value, atol=1e-6) for key, value in own.items())
    record = json.loads((tmp_path / "run" / "records" / "fit.json").read_text())
    assert record["variant"] == "ade20k"
    arguments = record["config"]["model"]["init_args"]
    assert arguments["backbone_checkpoint"].endswith("upernet.pth") and arguments["pretrained"] is False


@pytest.mark.parametrize(
    ("change", "message"),
    [("none", "no weights at upernet_swin_tiny"), ("lacks", "1 weights missing"), ("other", "another shape")],
)
def test_what_does_not_fit_is_refused(mtdense_main: Main, tmp_path: Path, change: str, message: str) -> None:
    options: tuple[str, ...] = ()
    if change != "none":
        segmentation_file(tmp_path / "upernet.pth")
        content = torch.load(tmp_path / "upernet.pth", weights_only=True)
        key = "backbone.layers.2.blocks.0.attn.qkv.weight"
        value = content["state_dict"].pop(key)
        if change == "other":
            content["state_dict"][key] = value[:, :8]
        torch.save(content, tmp_path / "upernet.pth")
        options = ("--model.backbone_checkpoint", str(tmp_path / "upernet.pth"))
    code, err = fit(mtdense_main, tmp_path, *options)
    assert code == 1 and message in err and "Mend:" in err, err
    assert not (tmp_path / "run").exists()
