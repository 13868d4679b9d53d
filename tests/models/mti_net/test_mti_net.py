"""MTI-Net: counts by part, the softmax groups of its code and of its paper, and what learns from what.

Golden numbers: github.com/SimonVandenhende/Multi-Task-Learning-PyTorch, ed3d9ac1c35493d8d22c4e33574919c326d77b6d:
its whole `MTINet` with `HighResolutionHead`, with the weights, maps, image and functional of `tests.models.common`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtdense.core.errors import ConfigError
from mtdense.models import DenseModule, MTINet
from mtdense.models.mti_net import FeaturePropagation, MTINetNetwork
from tests.models.architecture_tester import ArchitectureTester
from tests.models.common import (
    GOLDEN_OUTPUTS,
    HRNET,
    NYUD,
    GivenMaps,
    check_golden,
    giga_macs,
    millions,
    on_meta,
    read_golden,
    run_on_meta,
)
from tests.models.helpers import ALL_SPECS, SPECS, make_batch

GOLDEN = read_golden(__file__)
TWO = {name: NYUD[name] for name in ("semseg", "depth")}


class TestMTINet(ArchitectureTester):
    module_class = MTINet

    def build(self, **kwargs: Any) -> DenseModule:
        model = super().build(**kwargs)
        # In so narrow a network the one hidden unit of an excitation may start switched off.
        for layer in model.network.propagation:
            for excitation in layer.excitation.values():
                torch.nn.init.ones_(excitation.layers[0].bias)
        return model


@pytest.mark.parametrize(
    ("backbone", "specs", "decoder"),
    [
        ("hrnet_w18", NYUD, 14.10),
        ("hrnet_w48", NYUD, 100.08),
        ("hrnet_w18", ALL_SPECS, 20.63),
        ("hrnet_w48", ALL_SPECS, 146.55),
        ("hrnet_w18", TWO, 4.72),
    ],
)
def test_decoders_have_the_published_size(backbone: str, specs: dict[str, dict], decoder: float) -> None:
    assert millions(on_meta(MTINet, HRNET[backbone], tasks=specs).network) == pytest.approx(decoder, abs=5e-3)


@pytest.mark.parametrize(
    ("backbone", "specs", "macs"),
    [
        ("hrnet_w18", TWO, 6.2),
        ("hrnet_w18", NYUD, 15.6),
        pytest.param("hrnet_w48", NYUD, 110.3, marks=pytest.mark.slow),
        pytest.param("hrnet_w18", ALL_SPECS, 22.0, marks=pytest.mark.slow),
        pytest.param("hrnet_w48", ALL_SPECS, 155.6, marks=pytest.mark.slow),
    ],
)
def test_decoders_have_the_published_cost(backbone: str, specs: dict[str, dict], macs: float) -> None:
    size = (448, 576) if "depth" in specs else (512, 512)
    assert giga_macs(on_meta(MTINet, HRNET[backbone], tasks=specs), size) == pytest.approx(macs, abs=0.06)


def test_heads_are_those_of_the_plain_baseline() -> None:
    """V-MTL's HRNet head: 0.307 million for four tasks on W18, 2.115 on W48."""
    for backbone, expected in (("hrnet_w18", 0.307), ("hrnet_w48", 2.115)):
        network = on_meta(MTINet, HRNET[backbone], tasks=NYUD).network
        assert millions(network.fusion) + millions(network.heads) == pytest.approx(expected, abs=5e-4)


def test_odd_sizes() -> None:
    outputs = run_on_meta(on_meta(MTINet, HRNET["hrnet_w18"], tasks=TWO), (425, 560))
    shapes = [tuple(logits["depth"].shape[-2:]) for logits in (outputs.final, *outputs.preliminary)]
    assert shapes == [(107, 140), (107, 140), (54, 70), (27, 35), (14, 18)]


def test_golden_numbers() -> None:
    check_golden(MTINetNetwork(GivenMaps(), GOLDEN_OUTPUTS), GOLDEN)


def test_groups_of_the_softmax() -> None:
    """Two tasks of two channels: the code weighs channels (0, 1) and (2, 3), the paper (0, 2) and (1, 3)."""
    scores = torch.log(torch.tensor([1.0, 3.0, 1.0, 4.0])).view(1, 4, 1, 1)
    code = FeaturePropagation(["a", "b"], 8, "consecutive").weights(scores).flatten()
    paper = FeaturePropagation(["a", "b"], 8, "tasks").weights(scores).flatten()
    torch.testing.assert_close(code, torch.tensor([0.25, 0.75, 0.2, 0.8]))
    torch.testing.assert_close(paper, torch.tensor([0.5, 3 / 7, 0.5, 4 / 7]))


def test_propagation_keeps_each_tasks_own_feature() -> None:
    """With a reduction that gives zero, what is propagated is the feature itself."""
    block = FeaturePropagation(["a", "b"], 8).eval()
    with torch.no_grad():
        for layer in (block.reduction.layers[1][1], block.reduction.shortcut[1]):
            layer.weight.zero_()
    features = {name: torch.randn(1, 8, 3, 4) for name in "ab"}
    out = block(features)
    assert all(torch.equal(out[name], features[name]) for name in "ab")


def test_who_learns_from_whom() -> None:
    """The coarsest prediction of a task teaches its own branch; the finest those of all tasks at all scales."""
    torch.manual_seed(0)
    network = MTINet(tasks=SPECS, backbone="tiny", preset="tiny").network
    outputs = network(torch.randn(2, 3, 32, 40))
    other = list(network.scales[3].refinement["semseg"].parameters())
    coarse = torch.autograd.grad(outputs.preliminary[3]["depth"].sum(), other, retain_graph=True, allow_unused=True)
    assert all(g is None for g in coarse)
    fine = torch.autograd.grad(outputs.preliminary[0]["depth"].square().sum(), other)
    assert all(g.any() for g in fine)


def test_all_five_predictions_are_supervised() -> None:
    batch = make_batch(SPECS)
    torch.manual_seed(0)
    model = MTINet(tasks=SPECS, backbone="tiny", preset="tiny")
    outputs = model.run_network(batch)
    losses = model.losses(outputs, batch)
    for name in SPECS:
        parts = [model._task_losses(logits, batch, True)[name] for logits in (outputs.final, *outputs.preliminary)]
        assert len(parts) == 5
        torch.testing.assert_close(losses[name], torch.stack(parts).sum())


@pytest.mark.parametrize(
    "options", [{"preset": "huge"}, {"attention_groups": "all"}, {"initial_weight": -1.0}, {"widths": [8, 8]}]
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        MTINet(tasks=SPECS, backbone="tiny", **options)


def test_figure_shows_where_a_task_has_a_strong_feature() -> None:
    """What the heads read, a picture per task: bright where a feature is long, for the batch's first image."""
    torch.manual_seed(0)
    model = MTINet(tasks=SPECS, backbone="tiny", preset="tiny").eval()
    batch = make_batch(size=(64, 96))
    with torch.no_grad():
        read: dict[str, torch.Tensor] = {}
        for name, head in model.network.heads.items():
            head.register_forward_pre_hook(lambda _, x, n=name: read.__setitem__(n, x[0][0]))
        outputs = model.run_network(batch)
        pictures = model.figures(batch, outputs)
    # Three tasks of 112 x 168, and a white line between them.
    assert set(pictures) == {"refined"} and pictures["refined"].shape == (112, 3 * 168 + 4, 3)
    for place, name in enumerate(SPECS):
        strength = read[name].norm(dim=0)
        height, width = strength.shape
        tile = pictures["refined"][:, place * 170 : place * 170 + 168].astype(int).sum(-1)
        at = [((2 * i + 1) * 56 // height, (2 * j + 1) * 84 // width) for i, j in divmods(strength)]
        assert tile[at[0]] == tile.max() and tile[at[1]] == tile.min()


def divmods(x: torch.Tensor) -> list[tuple[int, int]]:
    """Places of the largest and the smallest value."""
    return [divmod(int(place), x.shape[1]) for place in (x.argmax(), x.argmin())]
