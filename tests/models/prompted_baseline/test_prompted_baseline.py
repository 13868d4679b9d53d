"""The prompted MTL baseline: counts of each part, attention worked out by hand, and which prompt reaches which task."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models import DenseModule, MTLBaseline, PromptedBaseline
from mtdense.models.prompted_baseline import PrompterOptions, TaskPrompter, TSPPrompter
from mtdense.models.prompted_baseline.layers import PromptLayer
from tests.models.architecture_tester import ArchitectureTester

NYUD = {"semseg": {"num_classes": 13}, "depth": {}, "normals": {}}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class PromptedTester(ArchitectureTester):
    module_class = PromptedBaseline
    options: ClassVar[dict[str, Any]]

    def build(self, **kwargs: Any) -> DenseModule:
        return super().build(**self.options, **kwargs)


class TestTaskPrompter(PromptedTester):
    options: ClassVar[dict[str, Any]] = {"prompting": "task_prompter"}


class TestTaskPrompterOptions(PromptedTester):
    options: ClassVar[dict[str, Any]] = {
        "prompting": "task_prompter",
        "num_prompts": 3,
        "num_layers": 3,
        "num_heads": 4,
        "spatial_attention": False,
        "gate": "sigmoid",
    }


class TestTSP(PromptedTester):
    options: ClassVar[dict[str, Any]] = {"prompting": "tsp"}


@pytest.mark.parametrize(
    ("prompting", "prompts", "extra", "total"),
    # Extra: channel queries 512 * 512 and three 1x1 convolutions 1024 -> 512 of TaskPrompter's manner.
    [("task_prompter", 1_536, 1_836_544, 52_074_065), ("tsp", 15_360, 0, 50_251_345)],
)
def test_counts(prompting: str, prompts: int, extra: int, total: int) -> None:
    """Our own counts: the MTL baseline of 13 classes, two layers of 3,150,848, their norm of 1,024, the prompts."""
    with torch.device("meta"):
        network = PromptedBaseline(tasks=NYUD, prompting=prompting, backbone="resnet18", preset="paper").network
        baseline = MTLBaseline(tasks=NYUD, backbone="resnet18", preset="paper").network
    prompter = network.prompter
    assert [count(layer) for layer in prompter.layers] == [3_150_848, 3_150_848]
    assert count(prompter.norm) == 1_024
    assert prompter.prompts.numel() == prompts
    assert count(prompter) == 2 * 3_150_848 + 1_024 + prompts + extra
    assert count(network) - count(prompter) == count(baseline) == 43_933_265
    assert count(network) == total


def plain_layer(width: int) -> PromptLayer:
    """A layer whose queries, keys, values and projection are the normalised tokens themselves, without a perceptron."""
    layer = PromptLayer(width, 1)
    with torch.no_grad():
        layer.qkv.weight.copy_(torch.eye(width).repeat(3, 1))
        layer.proj.weight.copy_(torch.eye(width))
        layer.proj.bias.zero_()
        layer.mlp[2].weight.zero_()
        layer.mlp[2].bias.zero_()
    layer.norm1 = nn.Identity()
    return layer


def test_layer_by_hand() -> None:
    """A prompt (2, 0) and two positions (2, 0) and (0, 2).

    Products over the root of 2: the prompt with itself and with the first position 4 / 1.4142 = 2.8284, with the
    second 0. Its attention is (e, e, 1) / (2 e + 1) with e = exp(2.8284) = 16.9188: (0.48565, 0.48565, 0.02871), so it
    gathers (2 * 0.97129, 2 * 0.02871) and becomes (3.94259, 0.05741). The second position has (1, 1, e) / (e + 2) =
    (0.05286, 0.05286, 0.89429), gathers (0.21142, 1.78858) and becomes (0.21142, 3.78858).
    """
    tokens = torch.tensor([[[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]])
    out, scores = plain_layer(2)(tokens, 1)
    assert scores.shape == (1, 1, 1, 2)
    assert torch.allclose(scores.flatten(), torch.tensor([2.8284, 0.0]), atol=1e-4)
    expected = torch.tensor([[3.94259, 0.05741], [3.94259, 0.05741], [0.21142, 3.78858]])
    assert torch.allclose(out[0], expected, atol=1e-4)


def prompter_by_hand(gate: str) -> TaskPrompter:
    """Two channels, tasks a and b with the prompts (1, 0) and (0, 1), and a layer that only gives scores."""
    options = PrompterOptions(num_prompts=1, num_layers=1, num_heads=1, gate=gate)  # type: ignore[arg-type]
    prompter = TaskPrompter(["a", "b"], 2, options)
    layer = plain_layer(2)
    prompter.layers[0] = layer
    prompter.norm = nn.Identity()
    with torch.no_grad():
        layer.proj.weight.zero_()
        prompter.prompts.copy_(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
        prompter.channel_query.weight.copy_(torch.eye(2))
        for fuse in prompter.fuse.values():
            # Shows the spatial half in the first channel of the output and the channel half in the second, both of x's
            # first channel.
            fuse.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 0, 1.0, 0]])[:, :, None, None])
            fuse.bias.zero_()
    return prompter


def test_spatial_and_channel_attention_by_hand() -> None:
    """Positions (3, 1) and (1, 2).

    Scores of a's prompt (1, 0): 3 and 1 over 1.41421: 2.12132 and 0.70711. Spatial part of x's first channel:
    3 + 3 * 2.12132 = 9.36396 and 1 + 0.70711 = 1.70711. Attention of the channel read-out: softmax(2.12132, 0.70711) =
    (0.80444, 0.19556), first channel 3 * 0.80444 + 0.19556 = 2.60888; channel part 3 * 3.60888 = 10.82664 and 3.60888.
    For b, (0, 1): scores 0.70711 and 1.41421, spatial 3 + 2.12132 = 5.12132 and 2.41421; softmax (0.33024, 0.66976),
    first channel 0.99072 + 0.66976 = 1.66048, channel part 7.98143 and 2.66048.
    """
    x = torch.tensor([[[[3.0, 1.0]], [[1.0, 2.0]]]])
    maps = prompter_by_hand("scores")(x)
    assert torch.allclose(maps["a"][0, :, 0], torch.tensor([[9.36396, 1.70711], [10.82664, 3.60888]]), atol=1e-4)
    assert torch.allclose(maps["b"][0, :, 0], torch.tensor([[5.12132, 2.41421], [7.98143, 2.66048]]), atol=1e-4)
    # sigmoid(2.12132) = 0.89298, sigmoid(2.60888) = 0.93143
    maps = prompter_by_hand("sigmoid")(x)
    assert torch.allclose(maps["a"][0, :, 0, 0], torch.tensor([3 * 1.89298, 3 * 1.93143]), atol=1e-4)


def test_groups_of_channels_follow_heads_and_prompts() -> None:
    """Head 0's two prompts weigh the first two quarters of the channels, head 1's the others, of their own task."""
    torch.manual_seed(0)
    prompter = TaskPrompter(["a", "b"], 8, PrompterOptions(num_prompts=2, num_layers=1, num_heads=2)).eval()
    prompter.norm = nn.Identity()
    shared = torch.randn(1, 8, 2, 3)
    tokens = torch.cat([prompter.prompts.flatten(0, 1)[None], shared.flatten(2).transpose(1, 2)], dim=1)
    out, scores = prompter.layers[0](tokens, 4)
    x = out[0, 4:].T.reshape(8, 2, 3)
    with torch.no_grad():
        for fuse in prompter.fuse.values():
            fuse.weight.zero_()
            fuse.weight[:, :8, 0, 0] = torch.eye(8)
            fuse.bias.zero_()
    maps = prompter(shared)
    for i, task in enumerate("ab"):
        for head in range(2):
            for prompt in range(2):
                weight = scores[0, head, 2 * i + prompt].reshape(2, 3)
                channels = slice(4 * head + 2 * prompt, 4 * head + 2 * prompt + 2)
                assert torch.allclose(maps[task][0, channels], x[channels] * (1 + weight), atol=1e-5)


def influence(prompter: nn.Module, width: int) -> torch.Tensor:
    """(tasks, tasks): whether the prompts of one (column) get a gradient from the map of another (row)."""
    shared = torch.randn(2, width, 2, 3)
    rows = []
    for task in ("a", "b", "c"):
        prompter.zero_grad()
        (prompter(shared)[task] * torch.randn(2, width, 2, 3)).sum().backward()
        gradient = prompter.prompts.grad
        by_task = gradient.transpose(0, 1) if gradient.ndim == 4 else gradient
        rows.append(by_task.flatten(1).abs().sum(1) > 0)
    return torch.stack(rows)


def test_prompts_of_one_task_reach_the_others_only_in_one_pass() -> None:
    torch.manual_seed(0)
    options = PrompterOptions(num_prompts=2, num_layers=2, num_heads=2)
    assert torch.equal(influence(TSPPrompter(["a", "b", "c"], 8, options), 8), torch.eye(3, dtype=torch.bool))
    assert influence(TaskPrompter(["a", "b", "c"], 8, options), 8).all()


def test_tsp_passes_at_once_are_passes_one_by_one() -> None:
    torch.manual_seed(0)
    options = PrompterOptions(num_prompts=2, num_layers=2, num_heads=2)
    prompter = TSPPrompter(["a", "b", "c"], 8, options).eval()
    shared = torch.randn(2, 8, 2, 3)
    together = prompter(shared)
    for i, task in enumerate("abc"):
        alone = TSPPrompter([task], 8, options).eval()
        state = copy.deepcopy(prompter.state_dict())
        state["prompts"] = state["prompts"][:, i : i + 1]
        alone.load_state_dict(state)
        assert torch.allclose(alone(shared)[task], together[task], atol=1e-6)


def test_method_names_the_manner() -> None:
    models = {p: PromptedBaseline(tasks=NYUD, prompting=p, backbone="tiny", preset="tiny") for p in ("tsp",)}
    assert models["tsp"].method == "prompted_tsp"
    assert PromptedBaseline(tasks=NYUD, backbone="tiny", preset="tiny").method == "prompted_task_prompter"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 7}, "7 attention heads on a feature of 24 channels"),
        ({"num_prompts": 5}, "8 heads of 5 prompts on a feature of 24 channels"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"gate": "tanh"}, "unknown gate 'tanh'"),
        ({"prompting": "vpt"}, "unknown prompting 'vpt'"),
        ({"spatial_attention": False, "channel_attention": False}, "change no task's feature"),
        ({"prompting": "tsp", "gate": "sigmoid"}, "with `prompting: tsp`"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PromptedBaseline(tasks=NYUD, backbone="tiny", preset="tiny", **options)
