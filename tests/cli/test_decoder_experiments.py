"""BridgeNet and its peers as shipped for NYUD-v2 and Cityscapes: built at full size, run in small on replicas.

Their rows on PASCAL-Context are built and run by `test_partial_label_experiments`, each method once in the fast suite.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtdense.cli.building import build_experiment
from mtdense.cli.configs import merged_configs
from mtdense.core.experiments import experiment_names
from mtdense.data.cityscapes.official_writer import write_cityscapes_replica
from mtdense.data.nyud.atrc_writer import write_atrc_replica
from tests.conftest import CONF
from tests.whole_run import Main, whole_run

METHODS = ("bridgenet", "invpt", "atrc", "pad_net", "mti_net", "cross_stitch", "nddr_cnn")
ROWS = {
    "nyud_atrc": """atrc-hrnet_w18 atrc-hrnet_w48 atrc_baseline-hrnet_w18 atrc_global_context-hrnet_w18
        bridgenet-hrnet_w18 bridgenet-hrnet_w48 bridgenet-internimage_b bridgenet-internimage_l bridgenet-vit_base
        bridgenet-vit_large cross_stitch-hrnet_w18 invpt-vit_base invpt-vit_large mti_net-hrnet_w18 mti_net-hrnet_w48
        nddr_cnn-hrnet_w18 pad_net-hrnet_w18""",
    "cityscapes": "bridgenet-vit_large",
    "pascal_context": """atrc-hrnet_w18 atrc-resnet50d atrc-vit_large bridgenet-internimage_b bridgenet-internimage_l
        bridgenet-resnet50d bridgenet-vit_base bridgenet-vit_large cross_stitch-hrnet_w18 invpt-vit_base invpt-vit_large
        mti_net-hrnet_w18 mti_net-resnet50d mti_net-vit_large nddr_cnn-hrnet_w18 pad_net-hrnet_w18 pad_net-vit_large""",
}
NAMES = [f"{data}/full/{row}.yaml" for data, rows in ROWS.items() for row in rows.split()]
OWN = [name for name in NAMES if not name.startswith("pascal_context")]


def parts(name: str) -> tuple[str, str, str]:
    """Data set, method and backbone."""
    dataset, _, file = name.removesuffix(".yaml").split("/")
    method, backbone = file.rsplit("-", 1)
    return dataset, method, backbone


def test_rows_are_all_that_is_shipped() -> None:
    """Tables I, III and IV of BridgeNet but for PAP, PSD, ASTMT, ATRC-ASPP and ATRC-BMTAS, which are not built."""
    shipped = {
        name
        for name in experiment_names()
        if name.split("/")[0] in ROWS
        and "/full/" in name
        and name.split("/")[-1].startswith(METHODS)
        and "class_path" in merged_configs([name]).get("model", {})
    }
    assert shipped == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_recipe(name: str) -> None:
    """Optimiser, rate, batch and length as printed or taken from the public code."""
    _, method, backbone = parts(name)
    merged = merged_configs([name])
    model, data, trainer = merged["model"]["init_args"], merged["data"]["init_args"], merged["trainer"]
    assert (model["preset"], model["loss_family"], model["schedule"]) == ("paper", "atrc", "poly")
    if method == "bridgenet":
        recipe = {"hrnet": ("sgd", 1e-2), "inter": ("adamw", 2e-5 if backbone[-1] == "l" else 6e-5)}
        expected = (*recipe.get(backbone[:5], ("adam", 2e-5)), 6, 40_000)
    elif backbone.startswith("vit"):
        expected = ("adam", 2e-5, 2, 40_000)
    elif method in ("pad_net", "mti_net"):
        expected = ("adam", 1e-4, 8, -1)
    else:
        expected = ("sgd", 5e-3 if name.startswith("pascal") else 1e-2, 8, 40_000)
    assert (model["optimizer"], model["lr"], data["batch_size"], trainer.get("max_steps", -1)) == expected
    if method.startswith(("atrc", "cross_stitch", "nddr_cnn")) and not backbone.startswith("vit"):
        assert trainer["sync_batchnorm"]  # as all configurations of ATRC's code


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_is_built_at_full_size(name: str) -> None:
    dataset, method, backbone = parts(name)
    with torch.device("meta"):
        model, data = build_experiment([name])
    assert (data.name, data.label_setting) == (dataset, "full")
    assert method.startswith(model.method)
    assert (model.hparams["backbone"], model.hparams["preset"]) == (backbone, "paper")
    assert list(model.tasks) == data.tasks


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_trains_goes_on_tests_and_predicts(mtdense_main: Main, tmp_path: Path, name: str) -> None:
    """Two steps, a third from the checkpoint, scores and predictions, all from the shipped file."""
    dataset = parts(name)[0]
    write = write_atrc_replica if dataset == "nyud_atrc" else write_cityscapes_replica
    root = write(tmp_path / "data", 8, 3, seed=3, size=(32, 64))
    own = ("--config", CONF / "tiny.yaml", "--model.pretrained", "false", "--data.size", "[32, 64]")
    found = whole_run(mtdense_main, tmp_path / "run", name, *own, "--data.root", root)
    assert found.scored["tasks"] == merged_configs([name])["data"]["init_args"]["tasks"]
    assert len(found.predicted) >= 3 * len(found.scored["tasks"])
