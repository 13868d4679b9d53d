"""Deformable convolution, the detection head, and the MTL baseline with one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_utilities.core.apply_func import apply_to_collection

from mtdense.core.errors import ConfigError
from mtdense.models import MTPSL, MTLBaseline, SingleTask
from mtdense.models.layers.deformable_conv import ModulatedDeformableConv2d, deformable_conv2d
from mtdense.models.layers.detection_head import DetectionBranch, DetectionHead, DetectionPyramid
from mtdense.tasks import Detection3D
from tests.models.detection_worker import SPECS, build, detection_batch, gradients, run
from tests.ranks import run_ranks


# ---- deformable convolution ------------------------------------------------------------------------------------------
def tap_by_tap(
    image: torch.Tensor,
    offset: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    steps: tuple[int, int, int],
    mask: torch.Tensor,
) -> torch.Tensor:
    """The definition (and torchvision's order of channels), one place and one tap after the other."""
    (stride, padding, dilation), kernel = steps, weight.shape[2]
    batch, _, height, width = image.shape
    rows: list[torch.Tensor] = []
    for b in range(batch):
        for i in range(offset.shape[2]):
            for j in range(offset.shape[3]):
                total = bias
                for tap in range(kernel * kernel):
                    y = i * stride - padding + tap // kernel * dilation + offset[b, 2 * tap, i, j]
                    x = j * stride - padding + tap % kernel * dilation + offset[b, 2 * tap + 1, i, j]
                    top, left = math.floor(y.item()), math.floor(x.item())
                    read = torch.zeros_like(image[b, :, 0, 0])
                    for row, share in ((top, top + 1 - y), (top + 1, y - top)):
                        for column, part in ((left, left + 1 - x), (left + 1, x - left)):
                            if 0 <= row < height and 0 <= column < width:
                                read = read + share * part * image[b, :, row, column]
                    total = total + weight[:, :, tap // kernel, tap % kernel] @ read * mask[b, tap, i, j]
                rows.append(total)
    return torch.stack(rows).view(batch, *offset.shape[2:], -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "kernel"), [(1, 1, 1, 3), (2, 0, 1, 3), (1, 2, 2, 3), (1, 0, 1, 1)]
)
def test_deformable_convolution_is_its_definition(stride: int, padding: int, dilation: int, kernel: int) -> None:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    image, weight, bias = random(2, 3, 5, 6), random(4, 3, kernel, kernel), random(4)
    out = torch.nn.functional.conv2d(image, weight, bias, stride, padding, dilation)
    taps = kernel * kernel
    offset, mask = random(2, 2 * taps, *out.shape[2:]), random(2, taps, *out.shape[2:])
    # Some taps far out of the image.
    moved = offset * 3
    ours = deformable_conv2d(image, moved, weight, bias, stride, padding, dilation, mask)
    theirs = tap_by_tap(image, moved, weight, bias, (stride, padding, dilation), mask)
    torch.testing.assert_close(ours, theirs)
    inputs = (image, offset, weight, bias, mask)
    for a, b in zip(torch.autograd.grad(ours.sin().sum(), inputs, retain_graph=True),
                    torch.autograd.grad(theirs.sin().sum(), inputs), strict=True):  # fmt: skip
        torch.testing.assert_close(a, b)


def test_deformable_convolution_begins_as_half_a_plain_one() -> None:
    conv, image = ModulatedDeformableConv2d(4, 6), torch.randn(2, 4, 5, 7)
    plain = torch.nn.functional.conv2d(image, conv.weight / 2, conv.bias, padding=1)
    torch.testing.assert_close(conv(image), plain, atol=1e-5, rtol=1e-4)
    conv(image).square().sum().backward()
    assert conv.offset.weight.grad is not None and conv.offset.weight.grad.any()
    with pytest.raises(ValueError, match="do not fit"):
        deformable_conv2d(image, torch.zeros(2, 18, 5, 6), conv.weight, padding=1)


# ---- counts ----------------------------------------------------------------------------------------------------------
def test_counts_of_the_published_head() -> None:
    groups = Detection3D(angle_coding="taskprompter").output_groups
    with torch.device("meta"):
        head, pyramid = DetectionHead(groups, 5, kind="task_prompter"), DetectionPyramid([450] * 4)
    assert sum(p.numel() for p in head.parameters()) == 8_693_988
    assert sum(p.numel() for p in pyramid.parameters()) == 3_412_224


@pytest.mark.parametrize("kind", ["plain", "task_prompter"])
def test_shapes_priors_and_gradients(kind: Any) -> None:
    torch.manual_seed(0)
    groups = Detection3D().output_groups
    branch = DetectionBranch([4, 6, 8, 8], groups, 16, 1, 2, kind)
    maps = [torch.randn(2, c, h, w) for c, h, w in ((4, 12, 24), (6, 6, 12), (8, 3, 6), (8, 3, 6))]
    levels = branch(maps)
    assert [tuple(level.shape) for level in levels] == [
        (2, 22, h, w) for h, w in ((12, 24), (6, 12), (3, 6), (3, 6), (2, 3))
    ]
    assert levels[0][:, :6].sigmoid().mean().item() == pytest.approx(0.01, rel=0.2)
    sum(level.square().sum() for level in levels).backward()
    dead = [name for name, p in branch.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_heads_that_make_no_sense() -> None:
    groups = Detection3D().output_groups
    for options in ({"tower_convs": 0}, {"channels": 20, "norm_groups": 8}, {"kind": "dense"}):
        with pytest.raises(ConfigError, match="detection head"):
            DetectionHead(groups, 5, **options)  # type: ignore[arg-type]


# ---- the MTL baseline ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("head", ["plain", "task_prompter"])
def test_the_baseline_trains_with_boxes(head: str) -> None:
    model, batch = build(detection_head=head), detection_batch()
    outputs = model.run_network(batch)
    assert [level.shape[1] for level in outputs.final["detection_3d"]] == [22] * 5
    losses = model.losses(outputs, batch)
    assert set(losses) == set(SPECS) and all(torch.isfinite(value) and value > 0 for value in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    still = {name for name, p in model.named_parameters() if not p.grad.any()}
    assert {name for name in still if "factors" not in name} == set()


def test_unlabelled_boxes_change_nothing_in_the_baseline() -> None:
    flags = {"semseg": [True, True], "detection_3d": [True, False]}
    results = []
    for rubbish in (False, True):
        model, batch = build(), detection_batch(flags)
        if rubbish:
            batch["targets"]["detection_3d"][1].table[:] = float("nan")
        losses = model.losses(model.run_network(batch), batch)
        sum(losses.values()).backward()
        results.append((losses, [p.grad for p in model.parameters()]))
    (clean, grads), (dirty, dirty_grads) = results
    assert all(torch.equal(clean[name], dirty[name]) for name in clean)
    assert all(torch.equal(a, b) for a, b in zip(grads, dirty_grads, strict=True))


def test_no_label_of_boxes_keeps_the_graph() -> None:
    for missing in (False, True):
        model, batch = build(), detection_batch({"semseg": [True, True], "detection_3d": [False, False]})
        if missing:
            del batch["targets"]["detection_3d"], batch["labelled"]["detection_3d"]
        losses = model.losses(model.run_network(batch), batch)
        assert losses["detection_3d"].item() == 0
        sum(losses.values()).backward()
        branch = model.network.branches
        assert all(p.grad is not None and not p.grad.any() for p in branch.parameters())


def test_predictions_and_metrics_in_the_shared_step() -> None:
    model, batch = build().eval(), detection_batch()
    with torch.no_grad():
        predictions = model.predict_batch(batch)
        model.test_step(batch, 0)
    assert predictions["semseg"].shape == (2, 64, 128) and len(predictions["detection_3d"]) == 2
    metric = model.stage_metrics("test")["detection_3d"]["mDS"]
    assert metric.per_class()["car"]["targets"] == 3  # type: ignore[operator]


def test_who_takes_boxes() -> None:
    assert "branches" in dict(
        SingleTask(tasks={"detection_3d": {}}, backbone="tiny", preset="tiny").network.named_children()
    )
    with pytest.raises(ConfigError, match="'mtpsl' predicts maps, and detection_3d is none"):
        MTPSL(tasks=SPECS, backbone="tiny", preset="tiny")
    with pytest.raises(ConfigError, match="no pyramid"):
        MTLBaseline(tasks=SPECS, backbone="segnet", preset="tiny")


# ---- ranks -----------------------------------------------------------------------------------------------------------
def test_two_ranks_give_the_gradient_of_one(tmp_path: Path) -> None:
    first, second = run_ranks(run, tmp_path)
    expected = gradients(0, 1)
    assert max(grad.abs().max() for grad in expected.values()) > 1e-3
    for name, grad in expected.items():
        torch.testing.assert_close(first["gradients"][name], grad, rtol=1e-3, atol=1e-5)
        assert torch.equal(first["gradients"][name], second["gradients"][name])
    # Both ranks see the score of all images.
    assert first["targets"] == second["targets"] == 5 and first["mDS"] == second["mDS"] > 0


def test_initial_weights_of_the_published_head() -> None:
    """As its code has them: Kaiming's in the pyramid, and in deformable convolutions what mmcv draws (uniform)."""
    torch.manual_seed(0)
    bounds = {}
    for kind in ("plain", "task_prompter"):
        branch = DetectionBranch([64] * 4, Detection3D().output_groups, 64, 1, 2, kind)  # type: ignore[arg-type]
        weight = branch.pyramid.outputs[0].weight
        bounds[kind] = weight.std().item()
    # Of 64 channels and 3x3: sqrt(2 / (9 * 128)), and sqrt(2 / (9 * 64)).
    assert bounds == pytest.approx({"plain": 0.0417, "task_prompter": 0.0589}, rel=0.02)
    deformable = branch.head.class_tower[1][0].weight
    assert deformable.abs().max().item() == pytest.approx(1 / 24, rel=0.01)
    assert deformable.std().item() == pytest.approx(1 / 24 / 3**0.5, rel=0.02)
    assert branch.head.class_tower[0][0].weight.std().item() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_true_half_precision_is_refused(dtype: torch.dtype) -> None:
    """What `--trainer.precision bf16-true` makes of a batch: pixels would be rounded to multiples of 4."""
    model, batch = build(), detection_batch()
    halved = apply_to_collection(batch, torch.Tensor, lambda x: x.to(dtype) if x.is_floating_point() else x)
    outputs = model.run_network(batch)
    with pytest.raises(ConfigError, match=r"true half precision.*\n?.*bf16-mixed"):
        model.losses(outputs, halved)
    with pytest.raises(ConfigError, match="true half precision"):
        model.predictions(outputs, (64, 128), halved)
