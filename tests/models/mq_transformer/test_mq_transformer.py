"""MQTransformer: counts, what queries carry between tasks, and no way from image to image.

Golden numbers: github.com/yangyangxu0/MQTransformer, eb9e5c49cc52579cc5e59bd245b63c0adc303f4c: its `MQFormerHead`
without dropout and stochastic depth, its self-attention over tokens run on each image alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models import MQTransformer
from mtdense.models.mq_transformer import (
    MQTransformerNetwork,
    MQTransformerOptions,
    QueryAttention,
    QueryDecoder,
    QueryInteraction,
    TokenAttention,
)
from mtdense.models.outputs import Outputs
from tests.models.architecture_tester import ArchitectureTester
from tests.models.common import GOLDEN_OUTPUTS, HRNET, NYUD, GivenMaps, check_golden, on_meta, ptflops
from tests.models.helpers import SPECS

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden.json").read_text())
SWIN_T = (96, 192, 384, 768)
SWIN_L = (192, 384, 768, 1536)
NEVER: dict[str, Any] = {"drop_path": 0.0, "query_drop_path": 0.0, "query_dropout": 0.0}


def build(**options: Any) -> MQTransformer:
    torch.manual_seed(0)
    return MQTransformer(**{"tasks": SPECS, "backbone": "tiny", "preset": "tiny", **options})


class TestMQTransformer(ArchitectureTester):
    module_class = MQTransformer


class TestMap(ArchitectureTester):
    module_class = MQTransformer

    def build(self, **kwargs: Any) -> Any:
        return super().build(token_reach="map", local_residual="previous", rounds=2, **kwargs)


def test_golden_numbers() -> None:
    check_golden(MQTransformerNetwork(GivenMaps(), GOLDEN_OUTPUTS, MQTransformerOptions(**NEVER)), GOLDEN)


# ---- counts --------------------------------------------------------------------------------------------------------
def test_counts_on_swin_t_to_the_digit() -> None:
    network: Any = on_meta(MQTransformer, SWIN_T, tasks=NYUD).network
    stage = network.rounds[0]
    parts = {"reduce": network.reduce, "convolutions": network.task_convolutions, "heads": network.heads}
    parts |= dict(stage.named_children())
    assert {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()} == {
        "reduce": 4 * (1440 * 256 + 256),
        "queries": 4 * 64 * (256 + 2 * 64),
        "encoder": 461_824,
        "interaction": 395_776,
        "decoder": 1_316_352,
        "convolutions": 4 * (9 * 256 * 64 + 2 * 64),
        "heads": 45 * 64 + 45,
    }
    assert sum(p.numel() for p in network.parameters()) == 4_341_101


DEAD_IN_PUBLIC_CODE = 1_313_728
"""A second attention of the decoder, its relative positions and a patch embedding: nothing reads what they make."""
KEY_BIASES = 2 * 256
"""Biases of the keys' norms, which no softmax sees, are left out here."""
DEAD_GIGA_MACS = 4 * 27 * 35 * (16 * 256**2 + 256) / 1e9
"""The patch embedding runs, though nothing reads it."""


@pytest.mark.parametrize(
    ("channels", "public_params", "public_giga_macs"),
    [(SWIN_T, 5_655_341, 113.950), (SWIN_L, 7_129_901, 136.039), (HRNET["hrnet_w18"], 4_457_261, 96.003)],
)
def test_counts_are_those_of_the_public_code_less_what_is_dead(
    channels: tuple[int, ...], public_params: int, public_giga_macs: float
) -> None:
    """Decoders for NYUD-v2 at 425x560."""
    module = on_meta(MQTransformer, channels, tasks=NYUD)
    params = sum(p.numel() for p in module.network.parameters())
    assert params == public_params - DEAD_IN_PUBLIC_CODE - KEY_BIASES
    assert ptflops(module, (425, 560)) == pytest.approx(public_giga_macs - DEAD_GIGA_MACS, abs=0.001)


# ---- parts ---------------------------------------------------------------------------------------------------------
def test_query_attention_by_loops() -> None:
    torch.manual_seed(0)
    layer = QueryAttention(8, 2).double()
    x, read = torch.randn(2, 3, 8, dtype=torch.float64), torch.randn(2, 5, 8, dtype=torch.float64)
    place, read_place = torch.randn(3, 8, dtype=torch.float64), torch.randn(5, 8, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for b in range(2):
        query = layer.query(layer.query_norm(x[b] + place))
        key = layer.key(layer.key_norm(read[b] + read_place))
        value = layer.value(layer.value_norm(read[b]))
        for n in range(3):
            for part in (slice(0, 4), slice(4, 8)):
                shares = torch.softmax(torch.stack([query[n, part] @ k[part] / 2 for k in key]), dim=0)
                expected[b, n, part] = sum(s * v[part] for s, v in zip(shares, value, strict=True))
    assert torch.allclose(layer(x, read, place, read_place), layer.out(expected))


def test_token_attention_of_the_map_is_pytorchs_and_of_the_own_token_its_case_of_one() -> None:
    torch.manual_seed(0)
    own, whole = TokenAttention(8, 2, "own_token"), TokenAttention(8, 2, "map")
    original = nn.MultiheadAttention(8, 2, batch_first=True)
    for layer in (own, whole):
        layer.load_state_dict(original.state_dict())
    x = torch.randn(2, 5, 8)
    assert torch.allclose(whole(x, x, x), original(x, x, x)[0], atol=1e-6)
    alone = x.flatten(0, 1)[:, None]
    assert torch.allclose(own(x, x, x), original(alone, alone, alone)[0].view(2, 5, 8), atol=1e-6)
    assert not torch.allclose(own(x, x, x), whole(x, x, x), atol=1e-3)


@pytest.mark.parametrize("residual", ["input", "previous"])
def test_decoder_step_by_step(residual: Any) -> None:
    torch.manual_seed(0)
    decoder = QueryDecoder(MQTransformerOptions(width=8, num_heads=2, local_residual=residual)).eval()
    tokens, queries, place = torch.randn(2, 6, 8), torch.randn(2, 3, 8), torch.randn(3, 8)
    first = tokens + decoder.attention(tokens, queries, None, place)
    first = first + decoder.ffn(first)
    second = (tokens if residual == "input" else first) + decoder.local_attention(first, first, first)
    expected = F.gelu(second + decoder.local_ffn(second))
    assert torch.allclose(decoder(tokens, queries, place), expected, atol=1e-6)


def test_interaction_drops_each_query_on_its_own() -> None:
    torch.manual_seed(0)
    layer = QueryInteraction(MQTransformerOptions(width=8, num_heads=2, query_dropout=0.0))
    x = torch.randn(3, 40, 8)
    with torch.no_grad():
        for p in layer.ffn[-1].parameters():
            p.zero_()
        added = layer.attention(x, x, x)[0]
        step = layer.train()(x) - x
    dropped = (step == 0).all(-1)
    assert torch.allclose(step[~dropped], 2 * added[~dropped], atol=1e-5)
    assert 0.3 < dropped.float().mean() < 0.7
    assert not torch.equal(dropped[0], dropped[1])


# ---- who reaches whom ----------------------------------------------------------------------------------------------
def test_images_do_not_see_each_other() -> None:
    model = build().eval()
    image = torch.rand(3, 3, 32, 40)
    with torch.no_grad():
        together: Outputs = model(image)
        alone: Outputs = model(image[1:2])
    for name in SPECS:
        assert torch.allclose(together.final[name][1:2], alone.final[name], atol=1e-6), name


def test_tasks_meet_in_the_queries_alone() -> None:
    """A task's output depends on another's map; with the interaction silenced it does not."""
    for silent in (False, True):
        network: Any = build(**NEVER).network.eval()
        with torch.no_grad():
            network.heads["depth"].weight.mul_(100)
            if silent:
                for name, p in network.rounds[0].interaction.named_parameters():
                    if "out_proj" in name or name.startswith("ffn.3"):
                        p.zero_()
        network(torch.rand(1, 3, 32, 40)).final["depth"].sum().backward()
        assert bool(network.reduce["semseg"].weight.grad.any()) is not silent
        assert network.task_convolutions["semseg"][0].weight.grad is None


# ---- options -------------------------------------------------------------------------------------------------------
def test_options_reach_the_network() -> None:
    network: Any = build(preset="small", rounds=2, num_queries=6, num_heads=2, encoder_ffn_ratio=2).network
    stage = network.rounds[1]
    assert stage.queries["depth"].tokens.shape == (6, 128)
    assert stage.queries["depth"].reading_positions.shape == (6, 64)
    assert stage.encoder.ffn[1].out_features == 256
    assert stage.interaction.ffn[1].out_features == 128
    assert stage.decoder.local_ffn[1].out_features == 384
    assert network.heads["depth"].in_channels == 32
    narrow: Any = build(fusion_width=5).network
    assert narrow.heads["depth"].in_channels == 5
    outputs = network.eval()(torch.rand(2, 3, 32, 40))
    assert {name: x.shape for name, x in outputs.features["queries"].items()} == dict.fromkeys(SPECS, (2, 6, 128))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "huge"}, "preset"),
        ({"token_reach": "window"}, "token_reach"),
        ({"local_residual": "none"}, "local_residual"),
        ({"num_heads": 3}, "do not divide a width of 16"),
        ({"num_queries": 0}, "num_queries"),
        ({"fusion_width": 1.5}, "fusion_width"),
        ({"query_drop_path": 1.0}, "query_drop_path"),
        ({"query_dropout": float("nan")}, "query_dropout"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(**options)
