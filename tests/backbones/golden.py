"""Networks and pictures made by formula, and figures that published code gives for them.

`golden.json` holds them. They come from OpenGVLab/InternImage (31c962d: its plain PyTorch operator and the
segmentation backbone), Evergreen0929/EEMTL (3eb43ec: BridgeNet's ViT), brdav/atrc (76d8055: HRNet) and yangyangxu0/DeMT
(b638e14: Swin), run with the weights of `formula` on `picture`; the loss is the sum of all maps times `upper`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))


def formula(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by place in the sorted list of names, and place in the tensor."""
    filled: dict[str, Tensor] = {}
    for i, name in enumerate(sorted(key for key in state if state[key].is_floating_point())):
        shape = state[name].shape
        steps = torch.arange(state[name].numel(), dtype=torch.float64)
        wave = torch.sin(steps * (0.37 + 0.01 * (i % 17)) + i).reshape(shape)
        if len(shape) > 1:
            wave = wave * 1.5 / math.sqrt(shape[1:].numel())
        elif name.endswith(("weight", "gamma1", "gamma2")):
            wave = 0.7 + 0.2 * wave
        elif name.endswith("running_var"):
            wave = 1 + 0.3 * wave
        else:
            wave = 0.2 * wave
        filled[name] = wave.float()
    return filled


def picture(batch: int, height: int, width: int) -> Tensor:
    """Normalised images (batch, 3, height, width)."""
    steps = torch.arange(batch * 3 * height * width, dtype=torch.float64)
    return (torch.sin(steps * 0.05) + torch.cos(steps * 0.0031)).reshape(batch, 3, height, width).float()


def upper(x: Tensor) -> Tensor:
    """The gradient that comes from above."""
    return torch.cos(torch.arange(x.numel(), dtype=torch.float64) * 0.7).reshape(x.shape).float()


def sixteen(x: Tensor) -> list[float]:
    """Sixteen values, evenly from the whole map."""
    return x.detach().contiguous().flatten()[:: max(1, x.numel() // 16)][:16].tolist()


def assert_golden(name: str, network: nn.Module, image: Tensor, prefix: str, tolerance: float) -> None:
    """Maps within `tolerance`, gradient norms within 1e-4 of themselves."""
    maps: Sequence[Tensor] = network(image)
    torch.stack([(x * upper(x)).sum() for x in maps]).sum().backward()
    expected = GOLDEN[name]
    for x, values in zip(maps, expected["maps"], strict=True):
        torch.testing.assert_close(torch.tensor(sixteen(x)), torch.tensor(values), atol=tolerance, rtol=0.0)
    parameters = dict(network.named_parameters())
    for key, norm in expected["gradients"].items():
        gradient = parameters[prefix + key if not key.startswith(("network.", "norms.")) else key].grad
        assert gradient is not None, key
        assert math.isclose(gradient.norm().item(), norm, rel_tol=1e-4), key
