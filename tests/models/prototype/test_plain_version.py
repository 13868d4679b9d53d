"""The whole network and its losses against a plain version, written by another hand from the paper's equations alone.

Backbone, decoder blocks and the reconstruction decoder are taken from the network; all that the paper adds is written
out here, sample by sample and position by position.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mtdense.models.prototype import Prototype
from tests.models.helpers import SPECS, make_batch

HEADS = 2
TEMPERATURE = 0.1


def nearest_code(codebook: Tensor, vector: Tensor) -> Tensor:
    """Equation 1: the codebook's closest slot."""
    distances = torch.stack([(vector - code).square().sum().sqrt() for code in codebook])
    return codebook[int(distances.argmin())]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt())


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Tokens (L, E) head by head."""
    width = query.shape[1] // heads
    parts = []
    for h in range(heads):
        q, k, v = (t[:, h * width : (h + 1) * width] for t in (query, key, value))
        parts.append(torch.softmax(q @ k.T / math.sqrt(width), dim=1) @ v)
    return torch.cat(parts, dim=1)


def block(p: dict[str, Tensor], name: str, x: Tensor, affinity: Tensor, heads: int) -> Tensor:
    """Equations 8 and 9 on the tokens of one sample, (L, E), with its task-affinity feature (L, D)."""

    def linear(part: str, y: Tensor) -> Tensor:
        return y @ p[f"{name}.{part}.weight"].T + p[f"{name}.{part}.bias"]

    def norm(part: str, y: Tensor) -> Tensor:
        return layer_norm(y, p[f"{name}.{part}.weight"], p[f"{name}.{part}.bias"])

    q, k, v = linear("self_qkv", norm("self_norm", x)).chunk(3, dim=1)
    x = x + linear("self_out", attention(q, k, v, heads))
    key, value = linear("cross_key_value", affinity).chunk(2, dim=1)
    query = linear("cross_query", norm("cross_norm", x))
    x = x + linear("cross_out", attention(query, key, value, heads))
    hidden = linear("ffn.0", norm("ffn_norm", x))
    return x + linear("ffn.2", hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))))


def scores_of(projected: Tensor, slots: Tensor) -> Tensor:
    """Equations 3 and 4: positions (L, D) and slots (T, D) to task-affinity scores (L, T)."""
    rows = []
    for vector in projected:
        similarity = torch.stack([cosine(vector, slot) for slot in slots]) / TEMPERATURE
        rows.append(similarity.exp() / similarity.exp().sum())
    return torch.stack(rows)


def plain(
    network: Any, image: Tensor, labelled: dict[str, Tensor], gradient: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(logits, the losses of equations 2, 4 and 5); `gradient` says by which way the task losses move the slots."""
    p = dict(network.named_parameters())
    tasks = list(network.decoders)
    maps = network.backbone(image)
    height, width = maps[0].shape[-2] // 2, maps[0].shape[-1] // 2
    resized = [F.interpolate(m, size=(height, width), mode="bilinear", align_corners=False) for m in maps]
    shared = F.conv2d(torch.cat(resized, 1), p["neck.weight"], p["neck.bias"], padding=1)

    images = image.shape[0]
    codes = torch.stack(
        [torch.stack([nearest_code(p["quantizer.codebook"], v) for v in shared[b].flatten(1).T]) for b in range(images)]
    )
    integrated = shared + codes.transpose(1, 2).reshape(shared.shape)
    tae = (network.reconstruction(integrated, image.shape[-2:]) - image).square().mean()

    slots = p["prototype.slots"]
    logits, means, tke_terms = {}, [], []
    for t, name in enumerate(tasks):
        feature = network.decoders[name](integrated)
        projected = F.conv2d(feature, p[f"projections.{name}.weight"], p[f"projections.{name}.bias"])
        means.append(torch.stack([projected[b].flatten(1).mean(1) for b in range(images)]).mean(0))
        refined = []
        for b in range(images):
            positions = projected[b].flatten(1).T
            if bool(labelled[name][b]):
                tke_terms.append(-scores_of(positions, slots)[:, t].log().mean())
            scores = scores_of(positions, slots.detach() if gradient == "akg" else slots)
            affinity = scores @ (slots if gradient == "all" else slots.detach())  # equation 7
            tokens = feature[b].flatten(1).T
            for i in range(len(network.retrieval.blocks)):
                tokens = block(p, f"retrieval.blocks.{i}", tokens, affinity, HEADS)
            refined.append(tokens.T.reshape(feature[b].shape))
        lifted = F.conv2d(torch.stack(refined), p[f"lifts.{name}.weight"], p[f"lifts.{name}.bias"])
        logits[name] = F.conv2d(lifted, p[f"heads.{name}.weight"], p[f"heads.{name}.bias"])

    tke = torch.stack(tke_terms).mean()
    pull = [1 - cosine(means[t], slots[t]) for t in range(len(tasks))]
    push = [
        cosine(means[t], slots[other]).clamp(min=0)
        for t in range(len(tasks))
        for other in range(len(tasks))
        if other != t
    ]
    return logits, {"tae": tae, "tke": tke, "tc": torch.stack(pull).mean() + torch.stack(push).mean()}


@pytest.mark.parametrize(("seed", "gradient"), [(0, "akg"), (1, "affinity"), (2, "all")])
def test_forward_losses_and_gradients_equal_the_plain_version(seed: int, gradient: str) -> None:
    torch.manual_seed(seed)
    options = {"retrieval_heads": HEADS, "prototype_gradient": gradient}
    model = Prototype(tasks=SPECS, backbone="tiny", preset="tiny", **options).double().eval()
    batch = make_batch(SPECS, {"semseg": [True, False, False], "depth": [False, True, False], "normals": [False] * 3})
    batch["image"] = batch["image"].double()
    # Slots and codes away from where they start, so that nothing is zero by symmetry.
    with torch.no_grad():
        model.network.prototype.slots.add_(torch.randn_like(model.network.prototype.slots))
        model.network.quantizer.codebook.add_(torch.randn_like(model.network.quantizer.codebook))

    outputs = model.run_network(batch)
    losses = model.extra_losses(outputs, batch)
    image = model.normalise(batch["image"], batch["meta"]["content"])
    logits, expected = plain(model.network, image, batch["labelled"], gradient)
    for name in SPECS:
        assert torch.allclose(outputs.final[name], logits[name], atol=1e-6), name
    ours = sum(losses.values())
    theirs = expected["tae"] + expected["tke"] + expected["tc"]
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)

    generator = torch.Generator().manual_seed(seed)
    weights = {n: torch.randn(v.shape, generator=generator, dtype=torch.float64) for n, v in logits.items()}
    gradients = []
    for total, predicted in ((ours, outputs.final), (theirs, logits)):
        whole = total + sum((weights[name] * predicted[name]).mean() for name in SPECS)
        found = torch.autograd.grad(whole, list(model.network.parameters()), allow_unused=True, retain_graph=True)
        gradients.append([torch.zeros(1) if g is None else g for g in found])
    for (name, _), a, b in zip(model.network.named_parameters(), *gradients, strict=True):
        assert a.shape == b.shape and torch.allclose(a, b, atol=1e-6, rtol=1e-5), name
