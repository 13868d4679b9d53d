"""Names and shapes of a public network's tensors, one pattern a line, and values for them made by a formula."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import torch
from torch import Tensor

HERE = Path(__file__).parent


def read_manifest(path: Path) -> dict[str, tuple[int, ...]]:
    """{name: shape}; `a.{0-2,5}.{b,c} 3x4` stands for eight names."""
    shapes: dict[str, tuple[int, ...]] = {}
    for line in path.read_text().splitlines():
        pattern, form = line.split(" ")
        shape = () if form == "1-number" else tuple(int(side) for side in form.split("x"))
        parts = [_choices(part) for part in re.split(r"(\{[^}]*\})", pattern)]
        for name in map("".join, itertools.product(*parts)):
            assert name not in shapes
            shapes[name] = shape
    return shapes


def _choices(part: str) -> list[str]:
    if not part.startswith("{"):
        return [part]
    choices: list[str] = []
    for item in part[1:-1].split(","):
        first, _, last = item.partition("-")
        choices += [str(i) for i in range(int(first), int(last or first) + 1)] if first.isdigit() else [item]
    return choices


def formula(name: str, shape: tuple[int, ...]) -> Tensor:
    """The value of a tensor of that public name, in double precision."""
    if not shape:
        return torch.zeros((), dtype=torch.long)
    size = math.prod(shape)
    key = sum((i + 1) * ord(c) for i, c in enumerate(name)) % 997
    wave = torch.sin(torch.arange(size, dtype=torch.float64) * 0.7 + key).reshape(shape)
    if name.endswith("running_var"):
        return 1 + 0.3 * wave
    if name.endswith(("running_mean", "bias")):
        return 0.1 * wave
    if len(shape) == 1:
        return 1 + 0.2 * wave
    return wave * 1.4 * (shape[0] / size) ** 0.5


def image(images: int, height: int, width: int) -> Tensor:
    """The input of the golden numbers."""
    numbers = torch.arange(images * 3 * height * width, dtype=torch.float64)
    return torch.sin(numbers * 0.013).reshape(images, 3, height, width)


def pick(x: Tensor) -> Tensor:
    """Eight values spread over a tensor."""
    flat = x.detach().flatten()
    return flat[:: max(1, len(flat) // 8)][:8]
