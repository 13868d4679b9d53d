"""Public checkpoints fit the shipped experiments key for key: names and shapes of the public classes at full size.

The manifests were taken from the classes on no device, built as the public configurations say; parts that they import
from elsewhere (mmcv's ConvModule and deformable convolution) by their names and shapes. Commits: see
`tests/cli/test_weights_public.py` and the golden tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mtdense.models
from mtdense.cli.configs import merged_configs
from mtdense.models.imported import public_code
from tests.models.bridgenet.manifest import read_manifest
from tests.models.common import NYUD
from tests.models.helpers import ALL_SPECS

HERE = Path(__file__).parent
ROOMS: dict[str, dict[str, Any]] = {"semseg": {"num_classes": 13}, "depth": {}, "normals": {}}
STREETS: dict[str, dict[str, Any]] = {"semseg": {"num_classes": 19}, "depth": {}, "detection_3d": {}}


@pytest.mark.parametrize(
    ("manifest", "name", "specs", "options"),
    [
        (
            "diffusion_mtl/official_pascal_resnet18",
            "pascal_context/one-label/diffusion_mtl_feature-resnet18",
            ALL_SPECS,
            {},
        ),
        ("mtpsl/official_nyud_segnet", "nyud_mtan/one-label/mtpsl-segnet", ROOMS, {}),
        ("demt/official_nyud_swin_t", "nyud_atrc/full/demt-swin_t", NYUD, {}),
        pytest.param(
            "demt/official_nyud_swin_s",
            "nyud_atrc/full/demt-swin_t",
            NYUD,
            {"backbone": "swin_s"},
            marks=pytest.mark.slow,
        ),
        ("task_prompter/official_cityscapes_3d_swin_base", "cityscapes_3d/full/task_prompter-swin_b", STREETS, {}),
        ("task_prompter/official_pascal_vit_base", "pascal_context/full/task_prompter-vit_base", ALL_SPECS, {}),
        pytest.param(
            "task_prompter/official_pascal_vit_large",
            "pascal_context/full/task_prompter-vit_large",
            ALL_SPECS,
            {},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "task_prompter/official_nyud_vit_large",
            "nyud_atrc/full/task_prompter-vit_large",
            NYUD,
            {},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_whole_checkpoints(manifest: str, name: str, specs: dict[str, dict[str, Any]], options: dict[str, Any]) -> None:
    source = manifest.split("/")[0]
    release = [f"{name.rsplit('/', 1)[0]}/task_prompter-recipe_release.yaml"] if source == "task_prompter" else []
    merged = merged_configs([f"{name}.yaml", *release])
    given = merged["data"]["init_args"].get("task_options", {})
    tasks = {task: {**spec, **given.get(task, {})} for task, spec in specs.items()}
    module = getattr(mtdense.models, merged["model"]["class_path"].rsplit(".", 1)[1])
    code, shapes = public_code(source), read_manifest(HERE / f"{manifest}.txt")
    with torch.device("meta"):
        model = module(**{**merged["model"]["init_args"], **options, "tasks": tasks, "pretrained": False})
        state = {f"module.{key}": torch.empty(shape) for key, shape in shapes.items()}
    # Values that are looked at, not only names and shapes.
    state |= {key: torch.tensor([0.001, 0.01]) for key in state if key.endswith("diffusion_model.betas")}
    code.check(model)
    found = code.from_official(model.network, state)
    own = model.network.state_dict()
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in own.items()}
