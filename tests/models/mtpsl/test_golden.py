"""Values of the public code (github.com/VICO-UoE/MTPSL, commit e9d8859f6b1af8007287fcca0018e9f955a8631e).

Its SegNet and its mapping network were run on the CPU in training mode, with the weights, batch and noise of `formula`
and the loss of its training script (weight 2), at our preset `tiny`: the list of the five stages' channels that it
writes as a constant was replaced. The second view is the first here. One norm of a gradient for each parameter.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
import torch

from mtdense.models import MTPSL, Outputs
from mtdense.models.mtpsl import module as mtpsl_module
from tests.models.mtpsl import formula

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> MTPSL:
    def noise(ids, shape, *purpose, device, generate_on):
        return formula.uniform(shape).expand(len(ids), *shape)

    monkeypatch.setattr(mtpsl_module, "uniform_noise", noise)
    built = MTPSL(
        tasks=formula.SPECS,
        backbone="segnet",
        preset="tiny",
        normalization="weights",
        view_scales=[1.0],
        legacy_value_scale=True,
    )
    formula.fill(built.network)
    return built


def supervised(model: MTPSL, outputs: Outputs, batch) -> dict[str, torch.Tensor]:
    values = {}
    for name, task in model.tasks.items():
        target = batch["targets"][name]
        valid = task.valid(target) & batch["labelled"][name][:, None, None]
        values[name] = task.loss_value(task.loss_terms(outputs.final[name], target, valid))
    return values


def test_segnet(model: MTPSL) -> None:
    batch = formula.batch()
    outputs = model.run_network(batch)
    # The public network's scores are log-probabilities, its normals unit vectors.
    final = {
        "semseg": outputs.final["semseg"].log_softmax(1),
        "depth": outputs.final["depth"],
        "normals": model.tasks["normals"].predict(outputs.final["normals"]),
    }
    assert formula.sampled(final) == pytest.approx(GOLDEN["full"]["outputs"], rel=1e-4, abs=1e-5)
    bottleneck = {"f": outputs.features["encoder"]}
    assert formula.sampled(bottleneck) == pytest.approx(GOLDEN["full"]["bottleneck"], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("setting", "labelled"), [("full", None), ("partial", formula.PARTIAL)])
def test_losses_and_gradients(model: MTPSL, setting: str, labelled: dict[str, list[bool]] | None) -> None:
    golden = GOLDEN[setting]
    batch = formula.batch(labelled)
    outputs = model.run_network(batch)
    values = supervised(model, outputs, batch)
    per_image = torch.stack(list(values.values()), dim=1)
    assert per_image.flatten().tolist() == pytest.approx(list(itertools.chain(*golden["supervised"])), rel=1e-5)
    per_pair, pairs = model.consistency(outputs, batch)
    for image, expected in enumerate(golden["consistency"]):
        of_image = [value for value, pair in zip(per_pair, pairs, strict=True) if pair.image == image]
        assert sum(of_image).item() == pytest.approx(expected, rel=1e-5)
    total = per_image.sum() / 2 + model.extra_losses(outputs, batch)["consistency"]
    assert total.item() == pytest.approx(golden["total"], rel=1e-5)
    total.backward()
    norms = {name: p.grad.norm().item() for name, p in model.network.named_parameters()}
    assert norms.keys() == golden["gradients"].keys()
    idle = {name for name in norms if re.search(r"backbone.*\.[036]\.bias$|conv\.bias$", name)}
    assert len(idle) == 26 + 13 + 3, "a bias before a normalisation has no gradient but rounding"
    assert all(norms[name] < 1e-3 * norms[name.removesuffix("bias") + "weight"] for name in idle)
    ours, theirs = ({name: n[name] for name in norms if name not in idle} for n in (norms, golden["gradients"]))
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-6)


def test_the_shared_step_gives_the_published_total_where_all_is_labelled(model: MTPSL) -> None:
    model.loss_weights = dict.fromkeys(model.tasks, 1.0)
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    assert model.training_step(formula.batch(), 0).item() == pytest.approx(GOLDEN["full"]["total"], rel=1e-5)
