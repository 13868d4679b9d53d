"""Public checkpoints fit the shipped experiments key for key: names and shapes of the public classes at full size.

The manifests were taken from the classes on no device, built as the public configurations say; parts that they import
from elsewhere (mmcv's ConvModule and deformable convolution) by their names and shapes. Commits: see
`tests/cli/test_weights_public.py` and the golden tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtdense.cli.lightning_cli import build_experiment
from mtdense.models.imported import public_code
from tests.models.bridgenet.manifest import read_manifest

HERE = Path(__file__).parent
DIFFUSION = "pascal_context/one-label/diffusion_mtl_feature-resnet18.yaml"
TASK_PROMPTER = "task_prompter-recipe_release.yaml"


@pytest.mark.parametrize(
    ("manifest", "configs", "options"),
    [
        (
            "diffusion_mtl/official_pascal_resnet18",
            ("pascal_context/one-label/diffusion_mtl_feature-resnet18.yaml",),
            {},
        ),
        ("mtpsl/official_nyud_segnet", ("nyud_mtan/one-label/mtpsl-segnet.yaml",), {}),
        ("demt/official_nyud_swin_t", ("nyud_atrc/full/demt-swin_t.yaml",), {}),
        ("demt/official_nyud_swin_s", ("nyud_atrc/full/demt-swin_t.yaml",), {"backbone": "swin_s"}),
        (
            "task_prompter/official_cityscapes_3d_swin_base",
            ("cityscapes_3d/full/task_prompter-swin_b.yaml", f"cityscapes_3d/full/{TASK_PROMPTER}"),
            {},
        ),
        (
            "task_prompter/official_pascal_vit_base",
            ("pascal_context/full/task_prompter-vit_base.yaml", f"pascal_context/full/{TASK_PROMPTER}"),
            {},
        ),
        pytest.param(
            "task_prompter/official_pascal_vit_large",
            ("pascal_context/full/task_prompter-vit_large.yaml", f"pascal_context/full/{TASK_PROMPTER}"),
            {},
            marks=pytest.mark.slow,
        ),
        (
            "task_prompter/official_nyud_vit_large",
            ("nyud_atrc/full/task_prompter-vit_large.yaml", f"nyud_atrc/full/{TASK_PROMPTER}"),
            {},
        ),
    ],
)
def test_whole_checkpoints(manifest: str, configs: tuple[str, ...], options: dict[str, str]) -> None:
    shapes = read_manifest(HERE / f"{manifest}.txt")
    code = public_code(manifest.split("/")[0])
    given = [word for name, value in options.items() for word in (f"--model.{name}", value)]
    with torch.device("meta"):
        model = build_experiment(configs, [*given, "--model.pretrained", "false"])[0]
        state = {f"module.{key}": torch.empty(shape) for key, shape in shapes.items()}
    # Values that are looked at, not only names and shapes.
    state |= {key: torch.tensor([0.001, 0.01]) for key in state if key.endswith("diffusion_model.betas")}
    code.check(model)
    found = code.from_official(model.network, state)
    own = model.network.state_dict()
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in own.items()}
