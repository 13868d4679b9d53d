"""Prototype: what each switch changes, and which options are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtdense.core.errors import ConfigError
from mtdense.models import Prototype
from tests.models.helpers import SPECS, make_batch
from tests.models.prototype.common import BASELINE, build, run


def state(model: Prototype, like: Prototype) -> Prototype:
    """`model` with the weights of `like` wherever both have one of the same shape."""
    own = model.state_dict()
    same = {k: v for k, v in like.state_dict().items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(same, strict=False)
    return model


def changes(options: dict[str, Any]) -> set[str]:
    """Which results differ between the default network and one with these options and the same weights."""
    default = build()
    with torch.no_grad():
        # A codebook of the features' size, else the choice of slot hardly shows.
        default.network.quantizer.codebook.normal_(std=0.3)
    other = state(build(**options), default)
    results = []
    for model in (default, other):
        outputs, losses = run(model, {"semseg": [True, True], "depth": [True, False], "normals": [False, False]})
        results.append({"final": torch.cat([x.flatten() for x in outputs.final.values()]), **losses})
    a, b = results
    names = (a.keys() | b.keys()) - {"semseg", "depth", "normals"}
    shared = {n for n in names if n in a and n in b and a[n].shape == b[n].shape}
    return (names - shared) | {n for n in shared if not torch.allclose(a[n], b[n], rtol=1e-5, atol=1e-7)}


EVERYTHING = {"final", "tae", "tke", "tc"}


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"decoder": "conv"}, {"final", "tke", "tc"}),
        ({"decoder_stride": 16}, EVERYTHING),
        ({"vq": False}, EVERYTHING),
        ({"retrieval": False}, {"final"}),
        ({"loss_tae": False}, {"tae"}),
        ({"loss_tke": False}, {"tke"}),
        ({"loss_tc": False}, {"tc"}),
        ({"lambda_tae": 2.0}, {"tae", "tke", "tc"}),
        ({"lambda_tae": 2.0, "lambda_akg": 1.0}, {"tae"}),
        ({"lambda_akg": 2.0}, {"tke", "tc"}),
        ({"codebook_size": 3}, EVERYTHING),
        ({"vq_distance": "cosine"}, EVERYTHING),
        ({"vq_gradient": "both"}, set()),
        ({"commitment_weight": 0.25}, {"commitment"}),
        ({"codebook_weight": 0.25}, {"codebook"}),
        ({"dead_code_steps": 5}, set()),
        ({"reconstruction_target": "raw"}, {"tae"}),
        ({"reconstruction_distance": "l1"}, {"tae"}),
        ({"slot_dim": 8}, {"final", "tke", "tc"}),
        ({"prototype_init": "orthogonal"}, set()),
        ({"affinity": "pooled"}, {"final", "tke"}),
        ({"affinity": "tokens"}, {"final", "tke"}),
        ({"similarity": "dot"}, {"final", "tke"}),
        ({"temperature": 1.0}, {"final", "tke"}),
        ({"prototype_gradient": "all"}, set()),
        ({"tke_images": "all"}, {"tke"}),
        ({"tke_average": "tasks"}, {"tke"}),
        ({"tke_average": "images"}, {"tke"}),
        ({"tc_form": "infonce"}, {"tc"}),
        ({"tc_form": "anchor"}, {"tc"}),
        ({"tc_mean": "image"}, {"tc"}),
        ({"loss_region": "canvas"}, set()),
        ({"retrieval_blocks": 1}, {"final"}),
        ({"retrieval_heads": 4}, {"final"}),
        ({"retrieval_norm": "post"}, {"final"}),
        ({"cross_residual": False}, {"final"}),
        ({"attention_scaling": False}, {"final"}),
        # Of 4 x 5 positions the last column stands alone in its cell, so that the mean over cells is another, too.
        ({"attention_downsample": 2}, {"final", "tke", "tc"}),
        ({"positional_encoding": "sincos"}, {"final"}),
        ({"head_input": "sum"}, {"final"}),
        ({"preliminary_supervision": 0.5}, set()),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_switches_change_what_they_say(options: dict[str, Any], changed: set[str]) -> None:
    assert changes(options) == changed


def test_contrast_has_a_temperature() -> None:
    model = build(tc_form="infonce")
    hot = state(build(tc_form="infonce", tc_temperature=1.0), model)
    assert run(model)[1]["tc"].item() != pytest.approx(run(hot)[1]["tc"].item(), rel=1e-3)


def test_preliminary_supervision_weighs_its_loss() -> None:
    model = build(preliminary_supervision=0.5)
    batch = make_batch(SPECS)
    outputs = model.run_network(batch)
    total = model.losses(outputs, batch)
    final = model._task_losses(outputs.final, batch, True)
    preliminary = model._task_losses(outputs.preliminary[0], batch, True)
    for name in SPECS:
        assert total[name].item() == pytest.approx(final[name].item() + 0.5 * preliminary[name].item(), rel=1e-6)


@pytest.mark.parametrize("size", [(32, 40), (40, 56), (72, 40)])
def test_downsampled_retrieval_of_odd_maps(size: tuple[int, int]) -> None:
    model = build(attention_downsample=2)
    batch = make_batch(SPECS, size=size)
    outputs = model.run_network(batch)
    grid = (-(-size[0] // 16), -(-size[1] // 16))
    assert outputs.features["grid"] == grid
    assert outputs.final["depth"].shape[-2:] == (size[0] // 8, size[1] // 8)


def test_raw_target_does_not_show_padding() -> None:
    for target in ("raw", "normalised"):
        model = build(reconstruction_target=target)
        values = []
        for shift in (0.0, 1.0):
            batch = make_batch(SPECS)
            batch["meta"]["content"] = torch.tensor([[4, 8, 20, 24]] * 2)
            outside = batch["image"] + shift
            outside[:, :, 4:24, 8:32] = batch["image"][:, :, 4:24, 8:32]
            batch["image"] = outside
            values.append(model.extra_losses(model.run_network(batch), batch)["tae"].item())
        assert values[0] == values[1]


# ---- options that make no sense ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "large"}, "preset is 'large'"),
        ({"decoder": "linear"}, "decoder is 'linear'"),
        ({"decoder_stride": 4}, "decoder_stride is 4"),
        ({"similarity": "l2"}, "similarity is 'l2'"),
        ({"slot_dim": 0}, "slot_dim is 0"),
        ({"codebook_size": 2.5}, "codebook_size is 2.5"),
        ({"dead_code_steps": -1}, "dead_code_steps is -1"),
        ({"attention_downsample": 0}, "attention_downsample is 0"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"lambda_akg": -1.0}, "lambda_akg is -1"),
        ({"lambda_tae": float("nan")}, "lambda_tae is nan"),
        ({"retrieval_heads": 3}, "3 attention heads"),
        ({"loss_region": "image"}, "loss_region is 'image'"),
        ({"vq": False, "dead_code_steps": 3}, "without a codebook"),
        ({"vq": False, "codebook_weight": 1.0}, "without a codebook"),
        ({"vq_gradient": "straight_through"}, "no loss reach the codebook"),
        ({"loss_tke": False, "loss_tc": False}, "no loss trains the prototype"),
        ({"loss_tke": False, "tc_form": "anchor"}, "no loss trains the prototype"),
        ({"loss_tke": False, "tc_form": "anchor", "retrieval": False}, "no use for the prototype"),
        ({"lambda_tae": 0.0}, "`loss_tae` with a weight of 0 .`lambda_tae`.\n  Mend: set `loss_tae: false`"),
        ({"lambda_tae": 0.0, "loss_tae": False}, "`loss_tke` with a weight of 0 .`lambda_tae`."),
        ({"lambda_akg": 0.0, "loss_tke": False}, "`loss_tc` with a weight of 0 .`lambda_akg`."),
    ],
)
def test_senseless_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**options)


NOTHING = {**BASELINE}
IDLE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"vq": False}, {"codebook_size": 9}),
    ({"vq": False}, {"codebook_init": "normal"}),
    ({"vq": False}, {"vq_distance": "cosine"}),
    ({"vq": False}, {"vq_gradient": "both"}),
    ({"vq": False}, {"commitment_weight": 0.25}),
    ({"vq": False}, {"codebook_weight": 0.25}),
    ({"vq": False}, {"dead_code_steps": 3}),
    ({"loss_tae": False}, {"reconstruction_target": "raw"}),
    ({"loss_tae": False}, {"reconstruction_distance": "l1"}),
    ({"loss_tae": False, "lambda_akg": 1.0}, {"lambda_tae": 2.0}),
    (NOTHING, {"lambda_akg": 2.0}),
    (NOTHING, {"slot_dim": 8}),
    (NOTHING, {"prototype_init": "orthogonal"}),
    (NOTHING, {"loss_region": "canvas"}),
    ({"retrieval": False, "loss_tke": False}, {"affinity": "pooled"}),
    ({"retrieval": False, "loss_tke": False}, {"similarity": "dot"}),
    ({"retrieval": False, "loss_tke": False}, {"temperature": 1.0}),
    ({"similarity": "dot"}, {"temperature": 5.0}),
    ({"loss_tke": False}, {"tke_images": "all"}),
    ({"loss_tke": False}, {"tke_average": "tasks"}),
    ({"loss_tc": False}, {"tc_form": "anchor"}),
    ({"loss_tc": False}, {"tc_mean": "image"}),
    ({"loss_tc": False}, {"tc_temperature": 1.0}),
    ({"tc_form": "anchor"}, {"tc_temperature": 1.0}),
    ({"retrieval": False}, {"prototype_gradient": "all"}),
    ({"retrieval": False}, {"retrieval_blocks": 5}),
    ({"retrieval": False}, {"retrieval_heads": 4}),
    ({"retrieval": False}, {"retrieval_norm": "post"}),
    ({"retrieval": False}, {"cross_residual": False}),
    ({"retrieval": False}, {"attention_scaling": False}),
    ({"retrieval": False}, {"attention_downsample": 2}),
    ({"retrieval": False}, {"positional_encoding": "sincos"}),
    ({"retrieval": False}, {"head_input": "sum"}),
    ({"retrieval": False}, {"preliminary_supervision": 0.5}),
]


@pytest.mark.parametrize(("setting", "idle"), IDLE, ids=str)
def test_options_without_effect_are_refused(setting: dict[str, Any], idle: dict[str, Any]) -> None:
    build(**setting)
    (name,) = idle
    with pytest.raises(ConfigError, match=rf"`{name}: .*` has no effect .*\n  Mend: leave out `{name}`"):
        build(**setting, **idle)
