"""The rows of TIF: recipes as they are shipped, and small runs on replicas of NYUD-v2.

PASCAL-Context's rows are run with those of the partial-label papers.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mtdense.cli.configs import merged_configs
from mtdense.data.nyud.atrc_writer import write_atrc_replica
from tests.conftest import CONF
from tests.whole_run import Main, whole_run

# Learning rates: NYUD-v2 by backbone (that of ViT-B is InvPT's), PASCAL-Context one for all.
ROWS = {
    "nyud_atrc/full/tif-hrnet_w18.yaml": ("hrnet_w18", "sgd", 1e-2),
    "nyud_atrc/full/tif-swin_t.yaml": ("swin_t", "sgd", 1e-3),
    "nyud_atrc/full/tif-swin_l.yaml": ("swin_l", "sgd", 1e-3),
    "nyud_atrc/full/tif-vit_base.yaml": ("vit_base", "adam", 2e-5),
    "pascal_context/full/tif-hrnet_w18.yaml": ("hrnet_w18", "sgd", 1e-4),
    "pascal_context/full/tif-swin_t.yaml": ("swin_t", "sgd", 1e-4),
    "pascal_context/full/tif-swin_b.yaml": ("swin_b", "sgd", 1e-4),
}


@pytest.mark.parametrize("name", ROWS)
def test_recipe(name: str) -> None:
    merged = merged_configs([name])
    model, data, trainer = merged["model"]["init_args"], merged["data"]["init_args"], merged["trainer"]
    assert merged["model"]["class_path"] == "mtdense.models.TIF"
    assert (model["backbone"], model["optimizer"], model["lr"]) == ROWS[name]
    assert (model["preset"], model["schedule"], model["loss_family"]) == ("paper", "poly", "atrc")
    assert model["weight_decay"] == (5e-4 if model["optimizer"] == "sgd" else 1e-6)
    assert (trainer["max_steps"], data["batch_size"]) == (50_000, 8)
    expected = [512, 512] if name.startswith("pascal") else [448, 576] if "vit" in name else [425, 560]
    assert data["size"] == expected


@pytest.mark.parametrize(
    ("dataset", "lr"), [("nyud_atrc", 1e-2), ("pascal_context", 5e-3)], ids=["nyud_atrc", "pascal_context"]
)
def test_recipe_of_atrc(dataset: str, lr: float) -> None:
    merged = merged_configs([f"{dataset}/full/tif-hrnet_w18.yaml", f"{dataset}/full/tif-recipe_atrc.yaml"])
    assert merged["model"]["class_path"] == "mtdense.models.TIF"
    assert (merged["model"]["init_args"]["lr"], merged["trainer"]["max_steps"]) == (lr, 40_000)


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_atrc_replica(tmp_path_factory.mktemp("replica") / "nyud", 8, 3, seed=3, size=(32, 40))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if "hrnet" in name else pytest.mark.slow)
        for name in ROWS
        if name.startswith("nyud_atrc")
    ],
)
def test_trains_goes_on_tests_and_predicts(mtdense_main: Main, replica: Path, tmp_path: Path, name: str) -> None:
    """Two steps, a third from the checkpoint, scores and predictions."""
    own = ("--config", CONF / "tiny.yaml", "--model.pretrained", "false", "--data.root", replica)
    found = whole_run(mtdense_main, tmp_path, name, *own)
    assert found.fitted["method"] == "tif" and found.scored["tasks"] == ["semseg", "depth", "normals", "edges"]
    assert len(found.predicted) >= 3 * 4
