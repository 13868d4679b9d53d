"""The whole network against a plain version, written by another hand from the paper's equations and our notes on them.

The backbone's maps are taken from the network; all behind them is written out: interpolation as explicit matrices,
pooling cell by cell, convolutions tap by tap, attention head by head and image by image. Equations are the paper's.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mtdense.models import TIF
from tests.models.helpers import SPECS

Size = tuple[int, int]


def line(old: int, new: int) -> Tensor:
    """(new, old) weights of linear interpolation between pixel centres, ends repeated."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        place = min(max((i + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        left = int(place)
        matrix[i, left] += 1 - (place - left)
        matrix[i, min(left + 1, old - 1)] += place - left
    return matrix


def grid(old: Size, new: Size) -> Tensor:
    """U, the (new positions, old positions) matrix of bilinear interpolation of a row-major grid."""
    return torch.kron(line(old[0], new[0]), line(old[1], new[1]))


def resize(x: Tensor, size: Size) -> Tensor:
    old = (x.shape[2], x.shape[3])
    return (x.flatten(2) @ grid(old, size).T).reshape(*x.shape[:2], *size)


def pool(x: Tensor, size: Size) -> Tensor:
    """Mean over the cell of each new pixel: from the floor of its start to the ceiling of its end."""
    height, width = x.shape[2:]
    rows = []
    for i in range(size[0]):
        top, bottom = i * height // size[0], -(-(i + 1) * height // size[0])
        row = []
        for j in range(size[1]):
            start, end = j * width // size[1], -(-(j + 1) * width // size[1])
            row.append(x[:, :, top:bottom, start:end].mean((2, 3)))
        rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2)


class Plain:
    """TIF behind the backbone: `p` is the weights under the names used here, `o` what of the network is there."""

    def __init__(self, p: dict[str, Tensor], o: dict[str, Any], tasks: list[str], training: bool) -> None:
        self.p, self.o, self.tasks, self.training = p, o, tasks, training

    def conv(self, name: str, x: Tensor) -> Tensor:
        """Convolution of stride 1 and same size; depthwise where the weight has one input channel."""
        weight = self.p[f"{name}.weight"]
        size = weight.shape[2]
        border = size // 2
        padded = torch.zeros(*x.shape[:2], x.shape[2] + 2 * border, x.shape[3] + 2 * border, dtype=x.dtype)
        padded[:, :, border : border + x.shape[2], border : border + x.shape[3]] = x
        out = torch.zeros((), dtype=x.dtype)
        for i in range(size):
            for j in range(size):
                part = padded[:, :, i : i + x.shape[2], j : j + x.shape[3]]
                tap = weight[:, :, i, j]
                depthwise = weight.shape[1] == 1 and x.shape[1] > 1
                out = out + (part * tap.view(1, -1, 1, 1) if depthwise else torch.einsum("oc,bchw->bohw", tap, part))
        bias = self.p.get(f"{name}.bias")
        return out if bias is None else out + bias.view(1, -1, 1, 1)

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        if self.training:
            mean = x.mean((0, 2, 3))
            variance = (x - mean.view(1, -1, 1, 1)).square().mean((0, 2, 3))
        else:
            mean, variance = self.p[f"{name}.running_mean"], self.p[f"{name}.running_var"]
        scale = self.p[f"{name}.weight"] / (variance + 1e-5).sqrt()
        return (x - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1) + self.p[f"{name}.bias"].view(1, -1, 1, 1)

    def linear(self, name: str, x: Tensor) -> Tensor:
        bias = self.p.get(f"{name}.bias")
        out = x @ self.p[f"{name}.weight"].T
        return out if bias is None else out + bias

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def ffn(self, name: str, x: Tensor) -> Tensor:
        hidden = self.linear(f"{name}.first", self.layer_norm(f"{name}.norm", x))
        return self.linear(f"{name}.second", hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)

    def reduce(self, i: int, x: Tensor) -> Tensor:
        return self.batch_norm(f"reduce{i}.norm", self.conv(f"reduce{i}.conv", x))

    def saff(self, i: int, maps: list[Tensor], reduced: list[Tensor]) -> Tensor:
        """Equations 2 to 5."""
        target = reduced[i]
        sources = maps if self.o["sa_input"] == "raw" else reduced
        size = (target.shape[2], target.shape[3])
        aligned = torch.cat([resize(source, size) for j, source in enumerate(sources) if j != i], dim=1)
        y = self.batch_norm(f"saff{i}.sa_norm", self.conv(f"saff{i}.sa", aligned))
        hidden = torch.relu(self.conv(f"saff{i}.sff1", torch.cat([target, y], dim=1)))
        sfx = self.conv(f"saff{i}.sff2", hidden) + target
        return self.conv(f"saff{i}.channel", torch.relu(self.conv(f"saff{i}.spatial", sfx)))

    def sfd(self, t: str, i: int, features: dict[str, Tensor]) -> tuple[Tensor, list[list[Tensor]]]:
        """Equations 6 to 10; scores as [image][head], (positions, positions)."""
        name, shape, heads = f"{t}.sfd{i}", features[t].shape, int(self.o["heads"])
        width = shape[1] // heads
        refined, scores = [], []
        for b in range(shape[0]):
            tokens = {u: features[u][b].flatten(1).T for u in self.tasks}
            key = torch.zeros_like(tokens[t])
            for n, source in enumerate(self.tasks):
                read = tokens[t if self.o["distillation"] == "self" else source]
                key = key + self.linear(f"{name}.w{n}", self.layer_norm(f"{name}.norm", read))
            query = self.linear(f"{name}.query", self.layer_norm(f"{name}.norm", tokens[t]))
            per_head, mixed = [], []
            for h in range(heads):
                part = slice(h * width, (h + 1) * width)
                a = query[:, part] @ key[:, part].T / math.sqrt(width)
                per_head.append(a)
                mixed.append(torch.softmax(a, dim=1) @ key[:, part])
            r = torch.cat(mixed, dim=1) + tokens[t]
            refined.append((self.ffn(f"{name}.ffn", r) + r).T.reshape(shape[1:]))
            scores.append(per_head)
        return torch.stack(refined), scores

    def lthd(self, t: str, s: int, x: Tensor, scores: list[list[Tensor]], low: Size) -> Tensor:
        """Equations 12 and 13 with the scores of equation 11 on the grid `low`."""
        name, heads = f"{t}.lthd{s}", int(self.o["heads"])
        width = x.shape[1] // heads
        pooled = pool(x, low)
        out = []
        for b in range(x.shape[0]):
            value = self.linear(f"{name}.value", pooled[b].flatten(1).T)
            mixed = [torch.softmax(scores[b][h], dim=1) @ value[:, h * width : (h + 1) * width] for h in range(heads)]
            out.append(self.ffn(f"{name}.ffn", torch.cat(mixed, dim=1)).T.reshape(x.shape[1], *low))
        total = resize(torch.stack(out), (x.shape[2], x.shape[3])) + x
        return torch.relu(self.batch_norm(f"{name}.fuse_norm", self.conv(f"{name}.fuse", total)))

    def __call__(self, maps: list[Tensor]) -> dict[str, Tensor]:
        reduced = [self.reduce(i, x) for i, x in enumerate(maps)]
        shared = [self.saff(i, maps, reduced) if i in self.o["saff_scales"] else reduced[i] for i in range(4)]
        features: list[dict[str, Tensor]] = []
        for i in range(4):
            features.append({})
            for t in self.tasks:
                features[i][t] = shared[i]
                if self.o["task_proj"] == "conv1x1":
                    projected = self.batch_norm(f"{t}.proj{i}.norm", self.conv(f"{t}.proj{i}.conv", shared[i]))
                    features[i][t] = torch.relu(projected)
        sizes = [(x.shape[2], x.shape[3]) for x in maps]
        up = grid(sizes[3], sizes[2])
        logits = {}
        for t in self.tasks:
            rx = [features[i][t] for i in range(4)]
            a: dict[int, list[list[Tensor]]] = {}
            for i in self.o["sfd_scales"]:
                rx[i], a[i] = self.sfd(t, i, features[i])
            if self.o["lthd"] == "on":
                # Equation 11, as the one product U A U^T.
                total = [[up @ m @ up.T for m in image] for image in a[3]]
                if 2 in a:
                    total = [
                        [m + own for m, own in zip(raised, image, strict=True)]
                        for raised, image in zip(total, a[2], strict=True)
                    ]
                for s in (0, 1):
                    rx[s] = self.lthd(t, s, rx[s], total, sizes[2])
            kept = rx[1:] if self.o["lthd"] == "drop" else rx
            fused = torch.cat([resize(x, sizes[0]) for x in kept], dim=1)
            fx = torch.relu(self.batch_norm(f"{t}.fusion.norm", self.conv(f"{t}.fusion.conv", fused)))
            logits[t] = self.conv(f"{t}.head", fx)
        return logits


NAMES = [
    ("reduce.{i}.0", "reduce{i}.conv"),
    ("reduce.{i}.1", "reduce{i}.norm"),
    ("saff.{i}.align.0", "saff{i}.sa"),
    ("saff.{i}.align.1", "saff{i}.sa_norm"),
    ("saff.{i}.fuse.0", "saff{i}.sff1"),
    ("saff.{i}.fuse.2", "saff{i}.sff2"),
    ("saff.{i}.spatial.0", "saff{i}.spatial"),
    ("saff.{i}.mix", "saff{i}.channel"),
    ("decoders.{t}.project.{i}.0", "{t}.proj{i}.conv"),
    ("decoders.{t}.project.{i}.1", "{t}.proj{i}.norm"),
    ("decoders.{t}.sfd.{i}.norm", "{t}.sfd{i}.norm"),
    ("decoders.{t}.sfd.{i}.query", "{t}.sfd{i}.query"),
    ("decoders.{t}.sfd.{i}.key_values.{n}", "{t}.sfd{i}.w{n}"),
    ("decoders.{t}.sfd.{i}.ffn.before", "{t}.sfd{i}.ffn.norm"),
    ("decoders.{t}.sfd.{i}.ffn.layers.0", "{t}.sfd{i}.ffn.first"),
    ("decoders.{t}.sfd.{i}.ffn.layers.2", "{t}.sfd{i}.ffn.second"),
    ("decoders.{t}.lthd.{i}.value", "{t}.lthd{i}.value"),
    ("decoders.{t}.lthd.{i}.ffn.before", "{t}.lthd{i}.ffn.norm"),
    ("decoders.{t}.lthd.{i}.ffn.layers.0", "{t}.lthd{i}.ffn.first"),
    ("decoders.{t}.lthd.{i}.ffn.layers.2", "{t}.lthd{i}.ffn.second"),
    ("decoders.{t}.lthd.{i}.fuse.0", "{t}.lthd{i}.fuse"),
    ("decoders.{t}.lthd.{i}.fuse.1", "{t}.lthd{i}.fuse_norm"),
    ("decoders.{t}.fusion.0", "{t}.fusion.conv"),
    ("decoders.{t}.fusion.1", "{t}.fusion.norm"),
    ("decoders.{t}.head", "{t}.head"),
]
"""(network's name, name here) with scale i, task t and source n left open."""


def plain_names(tasks: list[str]) -> dict[str, str]:
    places = [{"i": i, "t": t, "n": n} for i in range(4) for t in tasks for n in range(len(tasks))]
    return {theirs.format(**place): ours.format(**place) for theirs, ours in NAMES for place in places}


FULL: dict[str, Any] = {
    "sa_input": "reduced",
    "saff_scales": [0, 1, 2, 3],
    "task_proj": "none",
    "heads": 4,
    "sfd_scales": [2, 3],
    "distillation": "self",
    "lthd": "on",
}
B: dict[str, Any] = {"preset": "config_b", "width": 8}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({"preset": "paper", "width": 8}, {}),
    "config_a": ({"preset": "config_a", "width": 8}, {"sa_input": "raw"}),
    "config_b": (B, {"task_proj": "conv1x1"}),
    "cross": ({**B, "distillation": "cross"}, {"task_proj": "conv1x1", "distillation": "cross"}),
    "two_saff_one_sfd": (
        {"width": 8, "num_heads": 1, "saff_scales": [2, 3], "sfd_scales": [3]},
        {"heads": 1, "saff_scales": [2, 3], "sfd_scales": [3]},
    ),
    "no_saff_no_lthd": ({"width": 8, "saff_scales": [], "lthd": "keep"}, {"saff_scales": [], "lthd": "keep"}),
    "dropped": ({"width": 8, "lthd": "drop"}, {"lthd": "drop"}),
    "nothing": (
        {"width": 8, "saff_scales": [], "sfd_scales": [], "lthd": "keep"},
        {"saff_scales": [], "sfd_scales": [], "lthd": "keep"},
    ),
}


@pytest.mark.parametrize(
    ("case", "training"), [*((case, False) for case in CASES), ("default", True), ("config_b", True), ("dropped", True)]
)
def test_outputs_and_gradients_equal_the_plain_version(case: str, training: bool) -> None:
    own, present = CASES[case]
    torch.manual_seed(len(case))
    network: Any = TIF(tasks=SPECS, backbone="tiny", **own).network.double().train(training)
    with torch.no_grad():  # away from where training starts: attention uneven, statistics and biases of their own
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif name.endswith("running_mean") or tensor.dim() == 1:
                tensor.add_(0.3 * torch.randn_like(tensor))
            elif "query" in name or "key_values" in name:
                tensor.mul_(4.0)
            elif "head" in name:
                tensor.mul_(100.0)
    tasks = list(SPECS)
    image = torch.randn(2, 3, 40, 72, dtype=torch.float64)  # maps of 10x18, 5x9, 3x5 and 2x3

    outputs = network(image)
    names, p = plain_names(tasks), {}
    for name, tensor in dict(network.named_parameters(), **{n: b.clone() for n, b in network.named_buffers()}).items():
        owner, leaf = name.rsplit(".", 1)
        if owner in names:
            p[f"{names[owner]}.{leaf}"] = tensor
    expected = Plain(p, {**FULL, **present}, tasks, training)(network.backbone(image))

    weights = {t: torch.randn_like(expected[t]) for t in tasks}
    for t in tasks:
        assert torch.allclose(outputs.final[t], expected[t], rtol=1e-9, atol=1e-9), t
        assert expected[t].std() > 0.05
    ours = torch.stack([(weights[t] * outputs.final[t]).sum() for t in tasks]).sum()
    theirs = torch.stack([(weights[t] * expected[t]).sum() for t in tasks]).sum()
    parameters = dict(network.named_parameters())
    read = {id(tensor) for tensor in p.values()}
    assert [n for n, q in parameters.items() if id(q) not in read and not n.startswith("backbone.")] == []
    found = torch.autograd.grad(ours, list(parameters.values()), retain_graph=True, allow_unused=True)
    wanted = torch.autograd.grad(theirs, list(parameters.values()), retain_graph=True, allow_unused=True)
    for name, a, b in zip(parameters, found, wanted, strict=True):
        a, b = (torch.zeros(1, dtype=image.dtype) if g is None else g for g in (a, b))
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9 * max(1.0, float(b.abs().max()))), name
