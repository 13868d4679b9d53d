"""The rows of TaskPrompter: recipes as they are shipped, with their published counts, and runs on small replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mtdense.cli.configs import merged_configs
from mtdense.data.cityscapes.vehicles_writer import write_cityscapes_3d_replica
from mtdense.data.nyud.atrc_writer import write_atrc_replica
from mtdense.models import TaskPrompter
from mtdense.models.task_prompter import SwinPrompting, TaskPrompterNetwork
from tests.conftest import CONF
from tests.models.helpers import ALL_SPECS
from tests.whole_run import Main, Records, whole_run

STREETS: dict[str, dict[str, Any]] = {"semseg": {"num_classes": 19}, "depth": {}, "detection_3d": {}}
ROOMS: dict[str, dict[str, Any]] = {"semseg": {"num_classes": 40}, "depth": {}, "normals": {}, "edges": {}}


def build(name: str, specs: dict[str, dict[str, Any]], release: bool) -> TaskPrompterNetwork:
    """The network of a shipped row, on no device."""
    overlay = [f"{name.rsplit('/', 1)[0]}/task_prompter-recipe_release.yaml"] if release else []
    merged = merged_configs([name, *overlay])
    assert merged["model"]["class_path"] == "mtdense.models.TaskPrompter"
    options = merged["data"]["init_args"].get("task_options", {})
    specs = {task: {**spec, **options.get(task, {})} for task, spec in specs.items()}
    with torch.device("meta"):
        model = TaskPrompter(tasks=specs, **{**merged["model"]["init_args"], "pretrained": False})
    assert isinstance(model.network, TaskPrompterNetwork)
    return model.network


def count(*modules: nn.Module | None) -> int:
    return sum(p.numel() for module in modules if module is not None for p in module.parameters())


def test_counts_on_cityscapes_3d() -> None:
    """The public code's parts, in millions: 289.83 without heads, 303.66 in all; and ours without the tie to a size."""
    network = build("cityscapes_3d/full/task_prompter-swin_b.yaml", STREETS, release=True)
    prompting = network.prompting
    assert isinstance(prompting, SwinPrompting)
    assert count(network) == 303_665_146
    assert count(network) - count(network.heads, network.branches) == 289_830_464
    assert count(prompting.backbone) == 86_878_584
    keys = [block.key_value for stage in prompting.channel for block in stage]  # type: ignore[union-attr]
    assert count(*keys) == 138_031_104
    decoders = [decoder for level in network.decoders for decoder in level.values()]  # type: ignore[operator]
    assert count(*(decoder.fuse for decoder in decoders)) == 46_531_800
    assert count(*(part for decoder in decoders for part in (decoder.spatial, decoder.channel))) == 4_331_520
    assert count(network.merge) == 3_645_900
    assert [count(head) for head in network.heads.values()] == [866_269, 862_201]
    assert count(network.branches) == 12_106_212
    # The head of the default angle coding has 4 directions fewer.
    network = build("cityscapes_3d/full/task_prompter-swin_b.yaml", STREETS, release=False)
    assert count(network) == 168_725_238
    keys = [block.key_value for stage in network.prompting.channel for block in stage]  # type: ignore[union-attr]
    assert count(*keys) == 3_092_224


@pytest.mark.parametrize(
    ("name", "specs", "published", "channel", "ours"),
    [
        ("pascal_context/full/task_prompter-vit_base.yaml", ALL_SPECS, 371_095_316, 18_895_872, 356_732_948),
        pytest.param(
            "pascal_context/full/task_prompter-vit_large.yaml",
            ALL_SPECS,
            395_574_156,
            50_380_800,
            357_543_820,
            marks=pytest.mark.slow,
        ),
        ("nyud_atrc/full/task_prompter-vit_large.yaml", ROOMS, 492_227_200, 49_593_984, 454_983_680),
    ],
)
def test_counts_on_vit(name: str, specs: dict[str, dict[str, Any]], published: int, channel: int, ours: int) -> None:
    """Without heads; the public code has one place more in its position table, which it never reads."""
    network = build(name, specs, release=True)
    assert count(network) - count(network.heads) == published
    assert count(network.prompting.channel) == channel
    network = build(name, specs, release=False)
    assert count(network) - count(network.heads) == ours


def test_recipes() -> None:
    for name, lr, batch in (
        ("cityscapes_3d/full/task_prompter-swin_b.yaml", 2e-5, 2),
        ("nyud_atrc/full/task_prompter-vit_large.yaml", 1e-5, 4),
        ("pascal_context/full/task_prompter-vit_base.yaml", 2e-5, 4),
        ("pascal_context/full/task_prompter-vit_large.yaml", 2e-5, 4),
    ):
        merged = merged_configs([name])
        model, data, trainer = merged["model"]["init_args"], merged["data"]["init_args"], merged["trainer"]
        assert (model["optimizer"], model["lr"], model["schedule"]) == ("adam", lr, "poly")
        assert (data["batch_size"], trainer["max_steps"], trainer["gradient_clip_val"]) == (batch, 40_000, 10.0)
        released = merged_configs([name, f"{name.rsplit('/', 1)[0]}/task_prompter-recipe_release.yaml"])
        images = released["data"]["init_args"]["batch_size"] * released["trainer"]["devices"]
        assert images == batch and released["model"]["init_args"]["channel_attention"] == "pixels"


SMALL = {
    "swin": "{overrides: {embed_dim: 8, depths: [1, 1, 1, 1], num_heads: [1, 1, 2, 2], window_size: 2}}",
    "vit": "{overrides: {embed_dim: 16, depth: 4, num_heads: 2}}",
}


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes_3d_replica(tmp_path_factory.mktemp("cs3d") / "set", 6, 3, seed=2, size=(32, 64))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_atrc_replica(tmp_path_factory.mktemp("nyud") / "set", 6, 3, seed=3, size=(32, 40))


def run(main: Main, name: str, root: Path, folder: Path, *options: str) -> Records:
    """A whole run of a row, in small."""
    family = "swin" if "swin" in name else "vit"
    backbone = "swin_t" if family == "swin" else "vit_base"
    small = ("--model.backbone", backbone, "--model.backbone_options", SMALL[family], "--model.level_width", "8")
    own = ("--config", CONF / "tiny.yaml", *small, "--model.width", "16", "--model.pretrained", "false")
    found = whole_run(main, folder, name, *own, "--data.root", root, *options)
    assert found.fitted["method"] == "task_prompter"
    return found


def test_boxes_classes_and_disparity_on_a_replica(mtdense_main: Main, streets: Path, tmp_path: Path) -> None:
    size = ("--data.size", "[32, 64]", "--model.input_size", "[32, 64]")
    found = run(mtdense_main, "cityscapes_3d/full/task_prompter-swin_b.yaml", streets, tmp_path, *size)
    assert found.scored["tasks"] == ["semseg", "depth", "detection_3d"]
    assert len([path for path in found.predicted if path.name.endswith("_detections.json")]) == 3


@pytest.mark.slow
def test_rooms_on_a_replica(mtdense_main: Main, rooms: Path, tmp_path: Path) -> None:
    heads = ("--model.channel_heads", "4", "--model.input_size", "[32, 40]")
    found = run(mtdense_main, "nyud_atrc/full/task_prompter-vit_large.yaml", rooms, tmp_path, *heads)
    assert set(found.scored["tasks"]) == set(ROOMS)
