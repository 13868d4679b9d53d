"""The rows of DeMT: recipes as they are shipped, and a small run on a replica of NYUD-v2."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtdense.cli.configs import merged_configs
from mtdense.data.nyud.atrc_writer import write_atrc_replica
from mtdense.models import DeMT
from tests.conftest import CONF
from tests.models.common import NYUD, on_meta
from tests.models.demt.test_demt import CHANNELS
from tests.models.helpers import ALL_SPECS
from tests.whole_run import Main, whole_run

# Learning rate and parameters of the decoder.
ROWS = {
    "nyud_atrc/full/demt-hrnet_w18.yaml": ("hrnet_w18", 1e-2, 904_010),
    "nyud_atrc/full/demt-swin_t.yaml": ("swin_t", 1e-3, 4_549_561),
    "pascal_context/full/demt-hrnet_w18.yaml": ("hrnet_w18", 5e-3, 1_099_816),
    "pascal_context/full/demt-swin_t.yaml": ("swin_t", 1e-3, 5_508_204),
    "pascal_context/full/demt-swin_b.yaml": ("swin_b", 1e-3, 6_324_924),
}


@pytest.mark.parametrize("name", ROWS)
def test_recipe(name: str) -> None:
    merged = merged_configs([name])
    model, data, trainer = merged["model"]["init_args"], merged["data"]["init_args"], merged["trainer"]
    backbone, lr, params = ROWS[name]
    assert merged["model"]["class_path"] == "mtdense.models.DeMT"
    assert (model["backbone"], model["lr"], model["weight_decay"]) == (backbone, lr, 5e-4)
    assert (model["optimizer"], model["momentum"], model["schedule"], model["poly_power"]) == ("sgd", 0.9, "poly", 0.9)
    assert (trainer["max_steps"], trainer["sync_batchnorm"], data["batch_size"]) == (40_000, True, 8)
    pascal = name.startswith("pascal")
    assert data["size"] == ([512, 512] if pascal else [425, 560])
    module = on_meta(DeMT, CHANNELS[backbone], tasks=ALL_SPECS if pascal else NYUD, **model)
    assert sum(p.numel() for p in module.network.parameters()) == params


@pytest.mark.slow
def test_trains_goes_on_tests_and_predicts(
    mtdense_main: Main, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Two steps, a third from the checkpoint, scores and predictions."""
    replica = write_atrc_replica(tmp_path_factory.mktemp("replica") / "nyud", 8, 3, seed=3, size=(32, 40))
    own = ("--config", CONF / "tiny.yaml", "--model.pretrained", "false", "--data.root", replica)
    found = whole_run(mtdense_main, tmp_path, "nyud_atrc/full/demt-hrnet_w18.yaml", *own)
    assert found.fitted["method"] == "demt" and found.scored["tasks"] == ["semseg", "depth", "normals", "edges"]
    assert len(found.predicted) >= 3 * 4
