"""The rows of the comparison on Cityscapes-3D: recipes as they are shipped, and a small run on a replica."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mtdense.models
from mtdense.cli.configs import merged_configs
from mtdense.data.cityscapes.protocols import depth_protocol
from mtdense.data.cityscapes.vehicles import cityscapes_3d_specs
from mtdense.data.cityscapes.vehicles_writer import write_cityscapes_3d_replica
from mtdense.models import DenseModule
from tests.conftest import CONF
from tests.whole_run import Main, whole_run

FULL = "cityscapes_3d/full"
ROW = f"{FULL}/prompt_fusion-swin_b.yaml"
# Parameters of each ablation, in thousands.
ABLATIONS = {
    "baseline": 151_549,
    "with_embedding": 151_763,
    "without_global": 193_097,
    "without_local": 193_027,
    "without_contour": 193_022,
    "without_fusion": 176_098,
    "without_salient": 190_689,
    "without_trend": 190_689,
    "without_raw": 190_689,
    "recipe_taskprompter": 327_888,
}


def built(*names: str, tasks: list[str] | None = None) -> DenseModule:
    """The network that experiments laid over each other name, without memory for its weights."""
    merged = merged_configs(list(names))
    model, data = merged["model"], merged["data"]["init_args"]
    known = cityscapes_3d_specs(depth_protocol(data["depth_protocol"]))
    specs: dict[str, dict[str, Any]] = {
        name: {**known[name], **(data.get("task_options") or {}).get(name, {})} for name in tasks or data["tasks"]
    }
    kind = getattr(mtdense.models, model["class_path"].rsplit(".", 1)[1])
    with torch.device("meta"):
        made = kind(tasks=specs, **{**model["init_args"], "pretrained": False})
    assert isinstance(made, DenseModule)
    return made


def thousands(model: DenseModule) -> int:
    return round(sum(p.numel() for p in model.parameters()) / 1e3)


@pytest.mark.parametrize("name", ["prompt_fusion-swin_b", "mtl_baseline-swin_b", "single_task-swin_b"])
def test_recipe(name: str) -> None:
    merged = merged_configs([f"{FULL}/{name}.yaml"])
    model, data, trainer = merged["model"]["init_args"], merged["data"]["init_args"], merged["trainer"]
    assert (model["optimizer"], model["lr"], model["weight_decay"], model["schedule"]) == ("adam", 2e-5, 0.0, "poly")
    assert model["backbone"] == "swin_base_patch4_window12_384.ms_in22k_ft_in1k" and model["preset"] == "paper"
    assert (trainer["max_steps"], trainer["gradient_clip_val"], data["batch_size"]) == (40_000, 10.0, 2)
    assert data["size"] == [768, 1536] and data["flip_probability"] == 0
    if not name.startswith("single_task"):
        assert model["loss_weights"] == {"semseg": 100.0, "depth": 1.0, "detection_3d": 1.0}
        assert data["tasks"] == ["semseg", "depth", "detection_3d"]


def test_rows_are_built() -> None:
    assert thousands(built(f"{FULL}/mtl_baseline-swin_b.yaml")) == 126_596
    for task, expected in (("depth", 105_166), ("detection_3d", 98_855)):
        assert thousands(built(f"{FULL}/single_task-swin_b.yaml", tasks=[task])) == expected


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "without_raw" else pytest.mark.slow) for name in ABLATIONS],
)
def test_ablations_are_built(name: str) -> None:
    assert thousands(built(ROW, f"{FULL}/prompt_fusion-{name}.yaml")) == ABLATIONS[name]


def test_trains_goes_on_tests_and_predicts(mtdense_main: Main, tmp_path: Path) -> None:
    """Two steps, a third from the checkpoint, scores and predictions with boxes, on a replica."""
    replica = write_cityscapes_3d_replica(tmp_path / "cs3d", 6, 2, seed=2, size=(32, 64))
    own = ("--config", CONF / "tiny.yaml", "--model.pretrained", "false", "--data.size", "[32, 64]")
    found = whole_run(mtdense_main, tmp_path / "run", ROW, *own, "--data.root", replica)
    assert found.fitted["method"] == "prompt_fusion"
    assert {(m["task"], m["name"]) for m in found.scored["metrics"]} >= {
        ("semseg", "mIoU"), ("depth", "RMSE"), ("detection_3d", "mDS"), ("detection_3d", "mDS_modal"),
    }  # fmt: skip
    boxes = [path for path in found.predicted if path.parent.name == "detection_3d"]
    assert len(boxes) == 2 * 3
    assert all(np.asarray(Image.open(path)).ndim == 3 for path in boxes if path.suffix == ".png")


def test_the_comparison_on_streets_is_planned(mtdense_main: Main, tmp_path: Path) -> None:
    code, err = mtdense_main("evidence", "plan", "evidence/streets_3d.yaml", "--out", tmp_path, "--jobs", "2")
    assert code == 0, err


@pytest.mark.parametrize("name", ["SingleTask", "MTLBaseline", "PromptFusion"])
def test_networks_of_the_comparison_on_streets(name: str) -> None:
    """One backbone for all, sizes of one order."""
    merged = merged_configs(["base/evidence_streets_3d.yaml"])
    options = {key: merged["data"]["init_args"].get(key) for key in ("task_options", "depth_protocol")}
    known = cityscapes_3d_specs(depth_protocol(options["depth_protocol"]))
    tasks = ["detection_3d"] if name == "SingleTask" else list(known)
    specs = {task: {**known[task], **options["task_options"].get(task, {})} for task in tasks}
    with torch.device("meta"):
        model = getattr(mtdense.models, name)(tasks=specs, **merged["model"]["init_args"])
    assert thousands(model) == {"SingleTask": 2_956, "MTLBaseline": 4_694, "PromptFusion": 7_481}[name]
