"""Values of the public code (github.com/Evergreen0929/EEMTL, commit 3eb43ecb4f41dc862bd62c5be609d054442068a7).

Its `TransformerNet` was run on the CPU in double precision with batch norm in place of SyncBatchNorm, without
stochastic depth, at a small size: four tasks, width 20 + 4, a ViT of four blocks and 32 channels with six TFR blocks a
stage, and an InternImage of four blocks (its plain PyTorch operator) with three. Weights and image are formulas of
public names.
"""

from __future__ import annotations

import json

import pytest
import torch

from mtdense.backbones import Backbone, InternImage, create_backbone
from mtdense.models.bridgenet import BridgeNetwork, BridgePlan
from mtdense.models.bridgenet.published import from_official
from tests.models.bridgenet.golden_checks import SIZE, check_golden
from tests.models.bridgenet.manifest import HERE, formula, read_manifest

GOLDEN = json.loads((HERE / "golden.json").read_text())
OUTPUTS = {"semseg": 5, "depth": 1, "normals": 3, "edges": 1}
GROUPS = {
    "backbone": ("backbone.",),
    "preliminary_decoder": ("preliminary.",),
    "atten_fusion": ("tpp.mix", "tpp.out", "tpp.mlp_norm", "tpp.fc"),
    "intermediate_head": ("preliminary_heads.",),
    "scale_embed": ("scale_embed.",),
    "trfl.trfl_stages": ("stages.",),
    "trfl.mix_proj": ("mix.",),
    "trfl.norm_mts": ("collect.norms.",),
    "trfl.redu_chan": ("collect.projections.",),
    "heads": ("final.heads.",),
}


def plan(hidden: int, layers: int) -> BridgePlan:
    return BridgePlan(
        width=20,
        preliminary_width=hidden,
        widths=(24, 12, 6),
        refine_layers=layers,
        refinement="tfr",
        concat_form="conv1x1",
        tpp=True,
        bfe=True,
        tpp_feature_to_bridge=False,
        drop_path_rate=0.15,
        unused_parts=True,
    )


def small_vit() -> Backbone:
    return create_backbone("vit_base", img_size=SIZE, overrides={"depth": 4, "embed_dim": 32, "num_heads": 2})


def small_internimage() -> Backbone:
    return InternImage(channels=16, depths=(1, 1, 1, 1), groups=(1, 2, 4, 8), dcn_backend="torch")


@pytest.mark.parametrize("kind", ["vit", "internimage"])
def test_whole_network(kind: str) -> None:
    backbone, hidden, layers = (small_vit(), 32, 2) if kind == "vit" else (small_internimage(), 128, 1)
    network = BridgeNetwork(backbone, OUTPUTS, plan(hidden, layers)).double()
    state = {name: formula(name, shape) for name, shape in read_manifest(HERE / f"golden_{kind}.txt").items()}
    network.load_state_dict(from_official(network, state))
    # The deformable convolution works in single precision whatever its input.
    check_golden(network, GOLDEN[kind], GROUPS, rtol=1e-6 if kind == "vit" else 1e-4)
    # The second batch norm of a final decoder hides its convolution's bias: the whole group is checked by its values.
    assert set(GOLDEN[kind]["train"]["gradients"]) - GROUPS.keys() == {"atten_production", "trfl.mt_proj"}
    assert torch.isfinite(network.final.heads["depth"].weight.grad).all()
