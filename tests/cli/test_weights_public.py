"""`mtdense weights import` on small networks of the public classes, with the outputs of these classes.

The values were computed by the public code in double precision, in evaluation mode, on `manifest.image` with tensors
filled by `manifest.formula` of their public names (convolutions times 0.6 and 0.7 for the first two):

* DiffusionMTL (github.com/prismformore/DiffusionMTL, 65b84e7): `DiffusionNet` on its ResNet-18 of 8, 12, 12 and 16
  channels (64 in its stem), 16 wide, noise from `diffusion_mtl.formula`;
* MTPSL (github.com/VICO-UoE/MTPSL, e9d8859): `SegNet` and `Mapfns` of 4, 4, 8, 16 and 16 channels;
* DeMT (github.com/yangyangxu0/DeMT, b638e14): its Swin of 8 channels and `DemtHead` of 32, one image after the other,
  with the reshapes of PyTorch 1.7 in its attention, its deformable convolution by the definition;
* TaskPrompter: see `tests/models/task_prompter/test_golden.py`; here with the detection head (`FPN`, `FCOS3DHead`) 64
  wide, mmcv's layers written by their definitions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import mtdense
import mtdense.models
from mtdense.core.errors import CheckpointError
from mtdense.data.label_coding import parse_axes
from mtdense.models import DenseModule, TaskPrompter
from mtdense.models.imported import imported_state, public_code
from mtdense.models.mtpsl import MTPSLNetwork
from tests.cli.test_weights import check, save_like_invpt, values_of, write_config
from tests.models.bridgenet.manifest import formula, image, read_manifest
from tests.models.diffusion_mtl.formula import noise
from tests.models.task_prompter.test_golden import GOLDEN, public_state, vit

Main = Callable[..., tuple[int, str]]
MODELS = Path(__file__).parents[1] / "models"

DIFFUSION: dict[str, Any] = {
    "backbone": "resnet18",
    "backbone_options": {"overrides": {"channels": [8, 12, 12, 16]}},
    "preset": "tiny",
}
SEGNET: dict[str, Any] = {"backbone": "segnet", "normalization": "weights", "preset": "tiny"}
SMALL_SWIN = {"embed_dim": 8, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4], "window_size": 4}
DEMT: dict[str, Any] = {"backbone": "swin_t", "backbone_options": {"overrides": SMALL_SWIN}, "width": 32}
SMALL_VIT = {"embed_dim": 32, "depth": 4, "num_heads": 4}
PROMPTED_VIT: dict[str, Any] = {
    **{"backbone": "vit_base", "backbone_options": {"overrides": SMALL_VIT}, "input_size": [64, 128]},
    **{"level_width": 12, "width": 20, "unused_parts": True, "cross_task": True, "channel_heads": 4},
    **{"channel_attention": "pixels", "channel_output": "discarded"},
}
PUBLISHED = {"diffusion_mtl": "DiffusionMTL", "mtpsl": "MTPSL", "demt": "DeMT", "task_prompter": "TaskPrompter"}
OPTIONS = {"diffusion_mtl": DIFFUSION, "mtpsl": SEGNET, "demt": DEMT, "task_prompter": PROMPTED_VIT}


def read_golden(name: str) -> dict[str, Any]:
    golden: dict[str, Any] = json.loads((MODELS / name).read_text())
    return golden


def gentle(state: Mapping[str, Tensor], gain: float) -> dict[str, Tensor]:
    return {name: value * gain if value.dim() == 4 else value for name, value in state.items()}


def public_file(source: str, path: Path) -> dict[str, Tensor]:
    """Writes a small checkpoint as the public code does; returns its state dict."""
    state = public_state(vit(4, True)) if source == "task_prompter" else values_of(f"{source}/golden_public.txt")
    if source == "diffusion_mtl":
        betas = torch.tensor(read_golden("diffusion_mtl/golden_public.json")["betas"])
        state = gentle(state, 0.6) | {"diffusion_model.betas": betas}
    if source == "mtpsl":
        state = gentle(state, 0.7)
        mapper = {name.removeprefix("mapfns."): value for name, value in state.items() if name.startswith("mapfns.")}
        main = {name: value for name, value in state.items() if not name.startswith("mapfns.")}
        # Scores are arrays there.
        scores = {"avg_cost": np.zeros((2, 24), np.float32), "best_performance": np.float64(0.5)}
        torch.save({"epoch": 200, "state_dict": main, "mapfns": mapper, "optimizer": {}, **scores}, path)
    elif source == "demt":
        # As Lightning writes it.
        constants = {"criterion.loss_dict.depth.final.x": torch.ones(1), "metrics_dict.semseg.hist": torch.ones(2, 2)}
        torch.save({"epoch": 7, "state_dict": state | constants}, path)
    else:
        save_like_invpt(path, state)
    return state


def imported(main: Main, folder: Path, source: str, size: list[int], *more: str, model: str = "") -> DenseModule:
    file, out = folder / "official.pth.tar", folder / f"{source}.ckpt"
    public_file(source, file)
    config = write_config(folder / "config.yaml", model or PUBLISHED[source], size, OPTIONS[source])
    code, err = main("weights", "import", source, file, "--config", config, "--out", out, *more)
    assert code == 0, err
    return mtdense.load(out).double()


def at_size(final: Mapping[str, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
    return {task: F.interpolate(x, size, mode="bilinear") for task, x in final.items()}


def test_diffusion_mtl(mtdense_main: Main, tmp_path: Path) -> None:
    model = imported(mtdense_main, tmp_path, "diffusion_mtl", [64, 96])
    with torch.no_grad():
        outputs = model.network(image(2, 64, 96), lambda *given: noise(*given).double())
    check(at_size(outputs.final, (64, 96)), read_golden("diffusion_mtl/golden_public.json")["final"])
    # The preliminary normals, which the condition reads, are turned, too.
    assert len(outputs.preliminary[0]) == 4


def test_mtpsl(mtdense_main: Main, tmp_path: Path) -> None:
    tasks = ("--data.tasks", "[semseg, depth, normals]")
    golden = read_golden("mtpsl/golden_public.json")
    model = imported(mtdense_main, tmp_path, "mtpsl", [64, 96], *tasks)
    network = model.network
    assert isinstance(network, MTPSLNetwork)
    with torch.no_grad():
        outputs = network(image(2, 64, 96))
        mapped = network.mapper(network.mapper.embed("depth", image(1, 64, 96)[:, :1]), torch.tensor([1]))
    # Stored channels are right, forward and up.
    stored = F.normalize(outputs.final["normals"], dim=1)[:, [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0])[:, None, None]
    found = {
        "log_probabilities": outputs.final["semseg"].log_softmax(1),
        "depth": outputs.final["depth"],
        "unit_normals": stored,
        "bottleneck": outputs.features["encoder"],
        "mapped": mapped,
    }
    check(found, golden)
    # The public file of a baseline has no mapping network, and the baseline's experiment no place for one.
    out, config = tmp_path / "baseline.ckpt", write_config(tmp_path / "b.yaml", "MTLBaseline", [64, 96], SEGNET)
    given = ("--config", config, "--out", out, *tasks)
    code, err = mtdense_main("weights", "import", "mtpsl", tmp_path / "official.pth.tar", *given)
    assert code == 1 and "has mapping network" in err
    content = torch.load(tmp_path / "official.pth.tar", weights_only=False)
    torch.save({"state_dict": content["state_dict"]}, tmp_path / "baseline.pth.tar")
    code, err = mtdense_main("weights", "import", "mtpsl", tmp_path / "baseline.pth.tar", *given)
    assert code == 0, err
    with torch.no_grad():
        alone = mtdense.load(out).double().network(image(2, 64, 96)).final
    assert all(torch.equal(x, outputs.final[task]) for task, x in alone.items())


def test_demt(mtdense_main: Main, tmp_path: Path) -> None:
    model = imported(mtdense_main, tmp_path, "demt", [76, 104])
    with torch.no_grad():
        outputs = model.network(image(2, 76, 104))
    check(at_size(outputs.final, (76, 104)), read_golden("demt/golden_public.json")["final"])


def test_task_prompter_on_vit(mtdense_main: Main, tmp_path: Path) -> None:
    model = imported(mtdense_main, tmp_path, "task_prompter", [64, 128])
    with torch.no_grad():
        outputs = model.network(image(2, 64, 128))
    check(at_size(outputs.final, (64, 128)), GOLDEN["vit_cross_task"]["eval"]["final"])


BOXES: dict[str, Any] = {
    **{"angle_coding": "taskprompter", "cell_points": "taskprompter", "box_relu": True, "learn_from_empty": False}
}


def streets(boxes: Mapping[str, Any] = BOXES) -> TaskPrompter:
    small = {"embed_dim": 16, "depths": [2, 2, 3, 2], "num_heads": [1, 2, 4, 4], "window_size": 2}
    return TaskPrompter(
        tasks={"semseg": {"num_classes": 5}, "depth": {}, "detection_3d": dict(boxes)},
        backbone="swin_base_patch4_window12_384.ms_in22k_ft_in1k",
        backbone_options={"overrides": small},
        input_size=[96, 192],
        preset="small",
        level_width=12,
        width=20,
        channel_width=16,
        channel_attention="pixels",
        unused_parts=True,
    )


def test_task_prompter_on_swin_with_boxes() -> None:
    shapes = read_manifest(MODELS / "task_prompter/golden_boxes.txt")
    state = {name: formula(name, shape) for name, shape in shapes.items()}
    for name in (name for name in state if name.endswith(".scale")):
        *_, level, kind, _ = name.split(".")
        state[name] = torch.tensor(1 + 0.1 * int(kind) + 0.01 * int(level))
    golden, model, code = read_golden("task_prompter/golden_boxes.json"), streets().eval(), public_code("task_prompter")
    model.load_state_dict(imported_state(model, code, state, [(0, 1.0), (1, 1.0), (2, 1.0)]))
    with torch.no_grad():
        final = model.double().network(image(2, 96, 192)).final
    levels = final.pop("detection_3d")
    check(at_size(final, (96, 192)), golden["final"])
    channels = model.tasks["detection_3d"].channels  # type: ignore[attr-defined]
    for level, wanted in zip(levels, golden["channels"], strict=True):
        parts = channels.split(level.permute(0, 2, 3, 1))
        found = torch.cat([parts["classes"], channels.code(parts), parts["direction"], parts["centerness"]], dim=-1)
        torch.testing.assert_close(
            found.mean((0, 1, 2)), torch.tensor(wanted, dtype=torch.float64), rtol=1e-4, atol=1e-5
        )
    with pytest.raises(CheckpointError, match=r"box_relu is False[\s\S]*detection_3d[\s\S]*box_relu: True"):
        imported_state(streets({**BOXES, "box_relu": False}), code, state, [(0, 1.0), (1, 1.0), (2, 1.0)])


SWAPPED = ("depth", "semseg", "normals", "edges")
REFUSALS: dict[str, list[tuple[dict[str, Tensor | None], dict[str, Any], str]]] = {
    "diffusion_mtl": [
        ({"diffusion_model.denoiser.crossblocks.0.attn.kv.weight": None}, {}, r"lacks \S+attn\.kv\.weight"),
        ({"diffusion_model.betas": torch.ones(3)}, {}, "have the variances"),
        ({"diffusion_model.betas": None}, {}, r"lacks diffusion_model\.betas"),
        ({}, {"num_heads": 2}, "num_heads: 4"),
        ({}, {"tasks": SWAPPED}, "name them in its order"),
    ],
    "mtpsl": [
        ({"conv_block_dec.4.1.1.bias": None}, {}, r"lacks conv_block_dec\.4\.1\.1\.bias"),
        ({"pred_task4.0.bias": torch.ones(1)}, {}, r"has pred_task4\.0\.bias too many"),
        ({}, {"normalization": "imagenet"}, "--model.normalization weights"),
        ({}, {"tasks": ("depth", "semseg", "normals")}, "name them in its order"),
        ({}, {"backbone": "tiny"}, "no such network"),
    ],
    "demt": [
        ({"head.smlp2.1.0.bias": None, "head.extra": torch.ones(1)}, {}, r"lacks head\.smlp2\S+ and has head\.extra"),
        ({}, {"interaction": "tasks"}, "interaction: 'own_token'"),
        ({}, {"offset_places": "relative"}, "offset_places: 'absolute'"),
    ],
    "task_prompter": [
        ({"backbone.task_prompts": None}, {}, r"lacks backbone\.task_prompts"),
        ({"heads.depth.linear_pred.bias": torch.ones(2)}, {}, r"does not fit heads\.depth"),
        ({}, {"channel_output": "used"}, "channel_output: 'discarded'"),
        ({}, {"tasks": SWAPPED}, "name them in its order"),
    ],
}


@pytest.mark.parametrize("source", list(REFUSALS))
def test_what_does_not_fit_is_refused(tmp_path: Path, source: str) -> None:
    whole, code = public_file(source, tmp_path / "official.pth.tar"), public_code(source)
    tasks = ("semseg", "depth", "normals") if source == "mtpsl" else ("semseg", "depth", "normals", "edges")
    for changes, options, message in REFUSALS[source]:
        given = {**OPTIONS[source], "tasks": tasks, **options}
        given["tasks"] = {name: {"num_classes": 5} if name == "semseg" else {} for name in given["tasks"]}
        with torch.device("meta"):
            model: DenseModule = getattr(mtdense.models, PUBLISHED[source])(**given)
        state = {name: value for name, value in (whole | changes).items() if value is not None}
        with pytest.raises(CheckpointError, match=message):
            imported_state(model, code, state, parse_axes(code.normals_axes))


def test_the_other_variant_was_never_published(mtdense_main: Main, tmp_path: Path) -> None:
    public_file("diffusion_mtl", tmp_path / "official.pth.tar")
    config = write_config(tmp_path / "c.yaml", "DiffusionMTL", [64, 96], {**DIFFUSION, "variant": "prediction"})
    given = ("--config", config, "--out", tmp_path / "ours.ckpt")
    code, err = mtdense_main("weights", "import", "diffusion_mtl", tmp_path / "official.pth.tar", *given)
    assert code == 1 and "is of diffusion_mtl_prediction" in err
