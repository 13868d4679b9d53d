"""The rows of MQTransformer: recipes as they are shipped, and a small run on a replica of NYUD-v2."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtdense.cli.configs import merged_configs
from mtdense.data.nyud.atrc_writer import write_atrc_replica
from tests.conftest import CONF
from tests.whole_run import Main, whole_run

ROWS = {
    "nyud_atrc/full/mq_transformer-swin_t.yaml": ("swin_t", 1e-3),
    "nyud_atrc/full/mq_transformer-swin_l.yaml": ("swin_l", 1e-3),
    "pascal_context/full/mq_transformer-hrnet_w18.yaml": ("hrnet_w18", 5e-3),
    "pascal_context/full/mq_transformer-swin_t.yaml": ("swin_t", 1e-3),
}


@pytest.mark.parametrize("name", ROWS)
def test_recipe(name: str) -> None:
    merged = merged_configs([name])
    model, data, trainer = merged["model"]["init_args"], merged["data"]["init_args"], merged["trainer"]
    assert merged["model"]["class_path"] == "mtdense.models.MQTransformer"
    assert (model["backbone"], model["lr"]) == ROWS[name]
    assert (model["preset"], model["optimizer"], model["schedule"], model["loss_family"]) == (
        *("paper", "sgd", "poly", "atrc"),
    )
    assert (model["weight_decay"], trainer["max_steps"], data["batch_size"]) == (5e-4, 40_000, 8)
    assert data["size"] == ([512, 512] if name.startswith("pascal") else [425, 560])


def test_trains_goes_on_tests_and_predicts(mtdense_main: Main, tmp_path: Path) -> None:
    """Two steps, a third from the checkpoint, scores and predictions."""
    replica = write_atrc_replica(tmp_path / "nyud", 8, 3, seed=3, size=(32, 40))
    own = ("--config", CONF / "tiny.yaml", "--model.pretrained", "false", "--data.root", replica)
    found = whole_run(mtdense_main, tmp_path / "run", next(iter(ROWS)), *own)
    assert found.fitted["method"] == "mq_transformer"
    assert found.scored["tasks"] == ["semseg", "depth", "normals", "edges"]
    assert len(found.predicted) >= 3 * 4
