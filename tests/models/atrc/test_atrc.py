"""ATRC: counts by part, genotypes, contexts worked out plainly, first predictions and their losses.

Golden numbers: github.com/brdav/atrc, commit 76d805514aea4fde2be5765edb6ce02091abafe6, its whole
`RelationalContextHead` and its auxiliary criteria, with the weights, maps,
image and functional of `tests.models.common`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtdense.core.errors import CheckpointError, ConfigError
from mtdense.models import ATRC, DenseModule, Outputs
from mtdense.models.atrc import PUBLISHED, ATRCNetwork, GlobalContext, LabelContext, read_genotype
from mtdense.models.atrc.auxiliary import DirectionClasses, ValueClasses
from mtdense.models.atrc.contexts import local_attention
from mtdense.models.atrc.directions import DIRECTIONS
from mtdense.models.atrc.network import first_predicted, place_weights
from mtdense.models.atrc.published import from_official
from mtdense.tasks import build_tasks
from mtdense.training import reducer
from tests.models.architecture_tester import ArchitectureTester
from tests.models.bridgenet.manifest import read_manifest
from tests.models.common import (
    GOLDEN_OUTPUTS,
    HRNET,
    HRNET_W18_PARAMS,
    NYUD,
    GivenMaps,
    check_golden,
    giga_macs,
    millions,
    on_meta,
    ptflops,
    read_golden,
    run_on_meta,
)
from tests.models.diffusion_mtl.formula import wave
from tests.models.helpers import ALL_SPECS, SPECS, make_batch

GOLDEN = read_golden(__file__)
GOLDEN_TABLE = {
    "semseg": {"semseg": 3, "depth": 1, "normals": 4, "edges": 0},
    "depth": {"semseg": 0, "depth": 0, "normals": 0, "edges": 0},
    "normals": {"semseg": 4, "depth": 3, "normals": 1, "edges": 4},
    "edges": {"semseg": 3, "depth": 4, "normals": 0, "edges": 3},
}
MIXED: dict[str, dict[str, str]] = {
    "semseg": {"semseg": "t_label", "depth": "global", "normals": "s_label"},
    "depth": {"semseg": "local", "depth": "none", "normals": "none"},
    "normals": {"semseg": "s_label", "depth": "t_label", "normals": "global"},
}


class TestATRC(ArchitectureTester):
    module_class = ATRC

    def build(self, **kwargs: Any) -> DenseModule:
        # Contexts that start multiplied by zero get no gradient in the first step.
        return super().build(genotype=MIXED, zero_init=False, **kwargs)


@pytest.mark.parametrize(
    ("genotype", "backbone", "specs", "head"),
    [
        ("baseline", "hrnet_w18", NYUD, 0.655),
        ("baseline", "hrnet_w48", NYUD, 4.675),
        ("baseline", "hrnet_w18", ALL_SPECS, 0.817),
        ("nyud_hrnet_w18", "hrnet_w18", NYUD, 1.200),
        ("nyud_hrnet_w48", "hrnet_w48", NYUD, 7.154),
        ("pascal_hrnet_w18", "hrnet_w18", ALL_SPECS, 1.522),
        ("global", "hrnet_w18", NYUD, 0.873),
        ("local", "hrnet_w18", NYUD, 0.873),
        ("t_label", "hrnet_w18", NYUD, 1.200),
        ("s_label", "hrnet_w18", NYUD, 1.200),
    ],
)
def test_heads_have_the_published_size(genotype: str, backbone: str, specs: dict[str, dict], head: float) -> None:
    network = on_meta(ATRC, HRNET[backbone], tasks=specs, genotype=genotype).network
    assert millions(network) == pytest.approx(head, abs=5e-4)


def test_whole_networks_have_the_published_size() -> None:
    """4.515556 M for the baseline; 4.73 with global context and 5.06 with the searched one, as TIF's tables print."""
    sizes = {}
    for genotype in ("baseline", "global", "nyud_hrnet_w18"):
        network = on_meta(ATRC, HRNET["hrnet_w18"], tasks=NYUD, genotype=genotype).network
        sizes[genotype] = HRNET_W18_PARAMS + sum(p.numel() for p in network.parameters())
    assert sizes["baseline"] == 4_515_556
    assert sizes["global"] / 1e6 == pytest.approx(4.73, abs=5e-3)
    assert sizes["nyud_hrnet_w18"] / 1e6 == pytest.approx(5.06, abs=5e-3)


def test_cost_of_the_baseline() -> None:
    """10.6 G at 448x576; at 425x560 by ptflops 17.594 G with the 7.781 G of the backbone."""
    module = on_meta(ATRC, HRNET["hrnet_w18"], tasks=NYUD, genotype="baseline")
    assert giga_macs(module, (448, 576)) == pytest.approx(10.55, abs=0.01)
    assert ptflops(module, (425, 560)) == pytest.approx(17.594 - 7.781, abs=0.01)


def test_golden_numbers() -> None:
    classes = {"semseg": 5, "depth": 40, "normals": 40, "edges": 2}
    genotype = read_genotype(GOLDEN_TABLE, list(GOLDEN_OUTPUTS))
    check_golden(ATRCNetwork(GivenMaps(), GOLDEN_OUTPUTS, genotype, classes), GOLDEN, "auxiliary")


# ---- genotypes -----------------------------------------------------------------------------------------------------
def test_published_genotypes() -> None:
    table = PUBLISHED["nyud_hrnet_w18"]
    assert list(table["edges"].values()) == ["t_label", "t_label", "global", "t_label"]
    assert PUBLISHED["pascal_hrnet_w18"]["semseg"]["normals"] == "none"
    assert PUBLISHED["nyud_hrnet_w48"]["depth"] == {
        "semseg": "s_label",
        "depth": "global",
        "normals": "global",
        "edges": "s_label",
    }


def test_a_file_of_the_search_is_read_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "genotype.json"
    rows = {t: {"depth": 3, "edge": 4, "semseg": 0} for t in ("depth", "edge", "semseg")}
    path.write_text(json.dumps({"data": rows, "step": 40000}))
    specs: dict[str, dict] = {"depth": {}, "edges": {}}
    model = ATRC(tasks=specs, backbone="tiny", preset="tiny", genotype=str(path))
    expected = {t: {"depth": "t_label", "edges": "s_label"} for t in specs}
    assert model.hparams["genotype"] == expected
    assert set(model.network.contexts["edges"].blocks) == {"depth", "edges"}


def test_first_predictions_are_made_only_where_asked_for() -> None:
    assert first_predicted(read_genotype(MIXED, list(SPECS))) == ["semseg", "normals"]
    assert first_predicted(read_genotype("global", list(SPECS))) == []


@pytest.mark.parametrize(
    ("genotype", "words"),
    [
        ("nyud_hrnet_w32", "unknown genotype"),
        ("missing.json", "cannot read the genotype"),
        ({"depth": {"depth": "far"}}, "unknown context 'far'"),
        ({"depth": {"depth": 5}}, "unknown context 5"),
        ({"depth": {}}, "depth from depth"),
        ({"depth": "global"}, "no table"),
    ],
)
def test_bad_genotypes(genotype: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_genotype(genotype, ["depth"])


# ---- contexts ------------------------------------------------------------------------------------------------------
def plain_local(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Place by place; places outside the map have score 0 and value 0."""
    out, reach = torch.zeros_like(value), window // 2
    batch, channels, height, width = query.shape
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                around = [(i + p, j + q) for p in range(-reach, reach + 1) for q in range(-reach, reach + 1)]
                within = [0 <= r < height and 0 <= c < width for r, c in around]
                scores = [
                    query[b, :, i, j] @ key[b, :, r, c] if ok else torch.tensor(0.0)
                    for (r, c), ok in zip(around, within, strict=True)
                ]
                weights = (torch.stack(scores) / channels**0.5).softmax(0)
                for weight, (r, c), ok in zip(weights, around, within, strict=True):
                    if ok:
                        out[b, :, i, j] += weight * value[b, :, r, c]
    return out


def test_local_attention_equals_its_plain_version() -> None:
    query, key, value = (wave(name, (1, 3, 4, 5)) for name in ("q", "k", "v"))
    torch.testing.assert_close(local_attention(query, key, value, 9), plain_local(query, key, value, 9))
    torch.testing.assert_close(local_attention(query, key, value, 3), plain_local(query, key, value, 3))
    torch.testing.assert_close(local_attention(query, key, value, 1), value)


def test_local_attention_passes_gradients() -> None:
    tensors = [wave(name, (1, 2, 3, 3)).double().requires_grad_() for name in ("q", "k", "v")]
    assert torch.autograd.gradcheck(lambda q, k, v: local_attention(q, k, v, 3), tensors)


def test_global_context_is_a_weighted_mean_of_values() -> None:
    torch.manual_seed(0)
    block = GlobalContext(6, 4).eval()
    target, source = torch.randn(2, 6, 3, 4), torch.randn(2, 6, 3, 4)
    query, key, value = (x.flatten(2) for x in (block.query(target), block.key(source), block.value(source)))
    weights = torch.einsum("bcn,bcm->bnm", query, key)
    weights = weights / weights.sum(2, keepdim=True)
    expected = torch.einsum("bnm,bcm->bcn", weights, value).view(2, 4, 3, 4)
    torch.testing.assert_close(block(target, source), expected)


def test_label_context_attends_to_class_means() -> None:
    torch.manual_seed(0)
    block = LabelContext(6, 4).eval()
    target, source = torch.randn(2, 6, 3, 4), torch.randn(2, 6, 3, 4)
    # Class 0 stands at one place only, class 1 everywhere.
    places = torch.zeros(2, 2, 12)
    places[:, 0, 5] = 1.0
    places[:, 1] = 1 / 12
    means = torch.stack([source.flatten(2)[..., 5], source.flatten(2).mean(2)], dim=2)[..., None]
    query = block.query(target).flatten(2)
    scores = torch.einsum("bcn,bck->bnk", query, block.key(means)[..., 0]) / 4**0.5
    expected = torch.einsum("bnk,bck->bcn", scores.softmax(2), block.value(means)[..., 0]).view(2, 4, 3, 4)
    torch.testing.assert_close(block(target, source, places), expected)


def test_places_outside_the_image_weigh_nothing() -> None:
    shown = torch.zeros(2, 8, 8)
    shown[0, :, :4] = 1
    weights = place_weights(torch.zeros(2, 3, 4, 4), shown).unflatten(2, (4, 4))
    torch.testing.assert_close(weights[0, :, :, :2], torch.full((3, 4, 2), 1 / 8))
    assert not weights[0, :, :, 2:].any()
    assert not weights[1].any()
    torch.testing.assert_close(place_weights(torch.zeros(1, 2, 2, 2)), torch.full((1, 2, 4), 0.25))


def test_mask_padding_shuts_the_padding_out() -> None:
    batch = make_batch(SPECS)
    content = torch.tensor([[4, 8, 20, 24]] * 2)
    seen = {}
    for mask in (False, True):
        torch.manual_seed(0)
        options = {"genotype": "t_label", "zero_init": False, "mask_padding": mask}
        model = ATRC(tasks=SPECS, backbone="tiny", preset="tiny", **options).eval()
        with torch.no_grad():
            seen[mask] = [model(batch["image"], content).final["depth"], model(batch["image"]).final["depth"]]
    assert not torch.equal(seen[False][0], seen[True][0])
    assert torch.equal(seen[False][1], seen[True][1])


# ---- what learns from what -----------------------------------------------------------------------------------------
def test_training_starts_without_contexts() -> None:
    """The norm behind the contexts starts at zero: no other task's feature changes a prediction, then it learns."""
    torch.manual_seed(0)
    model = ATRC(tasks=SPECS, backbone="tiny", preset="tiny", genotype="global", dropout=0.0)
    outputs = model.network(torch.randn(2, 3, 32, 40))
    norm = model.network.contexts["depth"].projection[1]
    other = model.network.task_convolutions["semseg"][0].weight
    grads = torch.autograd.grad(outputs.final["depth"].square().sum(), [norm.weight, other])
    assert grads[0].any()
    assert not grads[1].any()


def test_first_predictions_do_not_teach_the_backbone() -> None:
    torch.manual_seed(0)
    model = ATRC(tasks=SPECS, backbone="tiny", preset="tiny", genotype="t_label")
    outputs = model.network(torch.randn(2, 3, 32, 40))
    total = sum(x.square().sum() for x in outputs.features["auxiliary"].values())
    parts = [next(model.network.backbone.parameters()), next(model.network.auxiliary.parameters())]
    backbone, own = torch.autograd.grad(total, parts, allow_unused=True)
    assert backbone is None
    assert own.any()


# ---- first predictions -----------------------------------------------------------------------------------------------
LOSS_SPECS: dict[str, dict] = {
    "semseg": {"num_classes": 5},
    "depth": {},
    "normals": {},
    "edges": {"positive_weight": 0.8},
    "saliency": {},
}
LOSS_CLASSES = {"semseg": 5, "depth": 40, "normals": 40, "edges": 2, "saliency": 2}


def first_logits(images: int = 2) -> dict[str, Tensor]:
    return {name: 3 * wave(f"aux/{name}", (images, n, 32, 40)) for name, n in LOSS_CLASSES.items()}


def loss_model(**options: Any) -> ATRC:
    options = {"loss_family": "atrc", "directions": "nyud", "genotype": "t_label", **options}
    return ATRC(tasks=LOSS_SPECS, backbone="tiny", preset="tiny", **options)


def test_losses_are_those_of_the_public_code() -> None:
    """Its criteria on the same logits and labels; its cluster centres have more digits than ours."""
    batch = make_batch(LOSS_SPECS)
    for name, target in batch["targets"].items():
        if name == "normals":
            target[0, :, :7] = 0
        elif name == "depth":
            target[:] = target * 3 - 1
            target[1, :, :9] = -1
        else:
            target[0, 5:9] = 255
    model = loss_model()
    losses = model.extra_losses(Outputs(final={}, features={"auxiliary": first_logits()}), batch)
    for name, expected in GOLDEN["auxiliary_losses"].items():
        value = losses[f"{name}_auxiliary"].item() / model.loss_weights[name]
        assert value == pytest.approx(expected, rel=2e-4), name


def test_two_ranks_give_the_losses_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels divided unevenly; the mean over ranks is the loss of all four images."""
    flags = {name: [i == 0, True, i == 1, False] for i, name in enumerate(LOSS_SPECS)}
    batch, logits = make_batch(LOSS_SPECS, flags), first_logits(4)
    for scale in ("labelled_count", "task_count_ratio"):
        model = loss_model(scale=scale, genotype={t: dict.fromkeys(LOSS_SPECS, "t_label") for t in LOSS_SPECS})

        def losses(rows: slice, model: ATRC = model) -> dict[str, Tensor]:
            part: Any = {
                "targets": {name: x[rows] for name, x in batch["targets"].items()},
                "labelled": {name: x[rows] for name, x in batch["labelled"].items()},
            }
            features = {"auxiliary": {name: x[rows] for name, x in logits.items()}}
            return model.extra_losses(Outputs(final={}, features=features), part)

        whole = losses(slice(0, 4))
        local: list[Tensor] = []
        halves = [slice(0, 2), slice(2, 4)]
        with monkeypatch.context() as patch:
            patch.setattr(reducer, "sum_over_ranks", lambda x, kept=local: kept.append(x) or x)
            for half in halves:
                losses(half)
            patch.setattr(reducer, "sum_over_ranks", lambda x, kept=local: kept[0] + kept[1])
            patch.setattr(reducer, "world_size", lambda: 2)
            ranks = [losses(half) for half in halves]
        for name, value in whole.items():
            torch.testing.assert_close((ranks[0][name] + ranks[1][name]) / 2, value)


def test_images_count_by_all_their_labels() -> None:
    """With `task_count_ratio` an image of two labels counts half as much as one of one, predicted first or not."""
    table = {t: dict.fromkeys(LOSS_SPECS, "none") for t in LOSS_SPECS}
    table["depth"]["depth"] = "t_label"
    model = loss_model(genotype=table, loss_family="diffusion_mtl")
    logits = {"depth": first_logits()["depth"]}
    values = []
    for edges in (False, True):
        flags = {name: [name == "depth" or (edges and name == "edges"), False] for name in LOSS_SPECS}
        batch = make_batch(LOSS_SPECS, flags)
        losses = model.extra_losses(Outputs(final={}, features={"auxiliary": logits}), batch)
        assert list(losses) == ["depth_auxiliary"]
        values.append(losses["depth_auxiliary"].item())
    assert values[1] == pytest.approx(values[0] / 2)


def test_tasks_that_the_data_lacks_give_zeros_in_the_graph() -> None:
    model = loss_model()
    batch = make_batch({name: LOSS_SPECS[name] for name in ("depth", "edges")})
    logits = {name: x.requires_grad_() for name, x in first_logits().items()}
    losses = model.extra_losses(Outputs(final={}, features={"auxiliary": logits}), batch)
    assert losses["semseg_auxiliary"].item() == 0.0
    sum(losses.values()).backward()
    assert all(x.grad is not None for x in logits.values())


def test_auxiliary_weight() -> None:
    batch, outputs = make_batch(LOSS_SPECS), Outputs(final={}, features={"auxiliary": first_logits()})
    once, twice = (loss_model(auxiliary_weight=w).extra_losses(outputs, batch) for w in (1.0, 2.0))
    assert all(twice[name].item() == pytest.approx(2 * value.item()) for name, value in once.items())


def test_bins_are_logarithmic() -> None:
    bins = ValueClasses(2, 1.0, 100.0)
    values = torch.tensor([[[0.0, 1.0, 9.9, 10.1, 100.0, 1e9]]])
    assert bins.classes(values, torch.ones(1, 1, 6, dtype=torch.bool)).flatten().tolist() == [0, 0, 0, 1, 1, 1]
    assert bins.classes(-values, torch.zeros(1, 1, 6, dtype=torch.bool)).max() < 2


def test_directions_are_unit_vectors_that_face_the_camera() -> None:
    for found in DIRECTIONS.values():
        vectors = torch.tensor(found, dtype=torch.float64)
        assert vectors.shape == (40, 3)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(40, dtype=torch.float64), atol=2e-4, rtol=0)
        assert vectors[:, 2].max() < 0.07
        nearest = DirectionClasses(found).classes(vectors.T[None, :, None], torch.ones(1, 1, 40, dtype=torch.bool))
        assert nearest.flatten().tolist() == list(range(40))


def test_every_task_has_first_classes() -> None:
    model = loss_model()
    assert {name: form.num_outputs for name, form in model.auxiliary_forms.items()} == LOSS_CLASSES
    assert set(build_tasks(LOSS_SPECS)) == set(model.auxiliary_forms)


def test_odd_sizes() -> None:
    module = on_meta(ATRC, HRNET["hrnet_w18"], tasks=NYUD, genotype="nyud_hrnet_w18", mask_padding=True)
    assert run_on_meta(module, (425, 560)).final["semseg"].shape == (1, 40, 107, 140)


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "huge"},
        {"genotype": "far"},
        {"auxiliary_weight": -1.0},
        {"value_bins": 1},
        {"value_range": (3.0, 2.0)},
        {"directions": "kitti"},
        {"dropout": 1.0},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        ATRC(tasks=SPECS, backbone="tiny", **options)


def test_whole_checkpoint() -> None:
    """Names and shapes of the public `MultiTaskModel` on HRNet-W18 with its genotype for NYUD-v2."""
    shapes = read_manifest(Path(__file__).parent / "official_nyud_hrnet_w18.txt")
    with torch.device("meta"):
        network = ATRC(tasks=NYUD, backbone="hrnet_w18", genotype="nyud_hrnet_w18").network
        state = {f"module.{key}": torch.empty(shape) for key, shape in shapes.items()}
        found = from_official(network, state)
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in network.state_dict().items()}
    weights = sum(math.prod(shape) for key, shape in shapes.items() if not key.startswith("criterion."))
    assert sum(value.numel() for value in found.values()) == weights
    for key, words in (("head.aux_conv.depth.conv.weight", "lacks"), ("head.bottleneck.sal.conv.weight", "too many")):
        changed = {k: v for k, v in state.items() if k != f"module.{key}"}
        if len(changed) == len(state):
            changed[key] = torch.empty(1)
        with pytest.raises(CheckpointError, match=words):
            from_official(network, changed)
