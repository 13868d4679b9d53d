"""Weights, a batch and noise by formulas of name and place, for values computed by other people's code."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtdense.data.sample import Batch
from tests.models.helpers import make_batch

SPECS: dict[str, dict] = {"semseg": {"num_classes": 5}, "depth": {}, "normals": {"loss": "cosine"}}
SIZE = (64, 96)
PARTIAL = {"semseg": [True, False], "depth": [False, True], "normals": [False, True]}


def wave(name: str, shape: Sequence[int]) -> Tensor:
    """Values in [-1, 1), even and without a pattern, that depend on the name and the place alone."""
    place = torch.arange(int(torch.Size(shape).numel()), dtype=torch.float64)
    steep = torch.sin(place * 12.9898 + zlib.crc32(name.encode()) % 10_000) * 43758.5453
    return (2 * (steep - steep.floor()) - 1).float().reshape(tuple(shape))


def fill(network: nn.Module) -> None:
    """Fills parameters in place; running statistics keep their initial values."""
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            values = wave(name, tensor.shape)
            if name.endswith(("gamma", "weight")) and tensor.ndim < 4:
                values = 1 + 0.2 * values
            elif tensor.ndim == 4:
                values = values * (4 / tensor[0].numel()) ** 0.5
            else:
                values = 0.1 * values
            tensor.copy_(values)


def batch(labelled: Mapping[str, list[bool]] | None = None) -> Batch:
    """Two images whose targets have invalid pixels, too."""
    made = make_batch(SPECS, None, SIZE)
    made["image"] = (wave("image", (2, 3, *SIZE)) + 1) / 2
    classes = ((wave("semseg", (2, *SIZE)) + 1) * 2.5).long()
    depth = 0.2 + 3 * (wave("depth", (2, *SIZE)) + 1)
    normals = nn.functional.normalize(wave("normals", (2, 3, *SIZE)), dim=1)
    classes[:, :9, :5] = 255
    depth[:, 20:30, 30:50] = -1
    normals[:, :, 40:, 70:] = 0
    made["targets"] = {"semseg": classes, "depth": depth, "normals": normals}
    if labelled is not None:
        made["labelled"] = {name: torch.tensor(flags) for name, flags in labelled.items()}
    return made


def uniform(shape: Sequence[int]) -> Tensor:
    """Noise of one image."""
    return ((wave("gumbel", shape) + 1) / 2).clamp(1e-6, 1 - 1e-6)


def sampled(outputs: Mapping[str, Tensor]) -> list[float]:
    """64 values, evenly over all outputs."""
    flat = torch.cat([x.detach().flatten() for x in outputs.values()])
    return flat[torch.linspace(0, len(flat) - 1, 64).long()].tolist()
