"""Weights, images and noise by formulas of name and place, for values computed by other people's code."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

TASKS = {"semseg": 5, "depth": 1, "normals": 3}
ROWS = {"semseg": [0, 1], "depth": [1], "normals": [0]}


def wave(name: str, shape: Sequence[int]) -> Tensor:
    """Values in [-1, 1], even and without a pattern, that depend on the name and the place alone."""
    place = torch.arange(int(torch.Size(shape).numel()), dtype=torch.float64)
    steep = torch.sin(place * 12.9898 + zlib.crc32(name.encode()) % 10_000) * 43758.5453
    return (2 * (steep - steep.floor()) - 1).float().reshape(tuple(shape))


def fill(named: Mapping[str, Tensor]) -> None:
    """Fills parameters and running statistics in place."""
    with torch.no_grad():
        for name, tensor in named.items():
            values = wave(name, tensor.shape)
            if name.endswith("num_batches_tracked"):
                continue
            if tensor.ndim > 1:
                values = values * (4 / tensor[0].numel()) ** 0.5
            elif name.endswith(("running_var", "weight")):
                values = 1 + 0.2 * values
            else:
                values = 0.1 * values
            tensor.copy_(values)


def fill_network(network: nn.Module) -> None:
    fill({**dict(network.named_parameters()), **dict(network.named_buffers())})


def noise(task: str, rows: Sequence[int], level: int, shape: Sequence[int]) -> Tensor:
    """Noise of unit variance for (image, task, level); see `NoiseSource`."""
    drawn = [1.7321 * wave(f"noise/{task}/{row}/{level}", shape) for row in rows]
    return torch.stack(drawn) if drawn else torch.empty((0, *shape))


def functional(final: Mapping[str, Tensor], first: Mapping[str, Tensor]) -> Tensor:
    """A number made of predictions of labelled rows at the size of the image, for its gradients."""
    total = torch.zeros(())
    for name, rows in ROWS.items():
        for row in rows:
            weight = wave(f"loss/{name}/{row}", first[name].shape[1:])
            total = total + (weight * (final[name][row] + 0.5 * first[name][row])).sum() / 100
    return total


def sampled(outputs: Mapping[str, Tensor]) -> list[float]:
    """64 values, evenly over all outputs."""
    flat = torch.cat([x.detach().flatten() for x in outputs.values()])
    return flat[torch.linspace(0, len(flat) - 1, 64).long()].tolist()
