"""Pictures of feature maps (figure 7 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtdense.tasks.colours import beside, draw_scale

__all__ = ["draw_maps", "principal_colours"]

Picture = npt.NDArray[np.uint8]

_MIN_HEIGHT = 64


def draw_maps(rows: Sequence[Mapping[str, Sequence[Tensor]]]) -> Picture:
    """Figure 7: maps as a table of pictures.

    Args:
        rows: For each row {how: maps (C, h, w)}: `norm` draws the length of the features over the largest of the map,
            `share` the first channel likewise, `pca` the three main directions as red, green and blue.
    """
    drawn = []
    for row in rows:
        pictures = [_draw_map(x.float().cpu(), how) for how, maps in row.items() for x in maps]
        drawn.append(beside(pictures).transpose(1, 0, 2))
    return beside(drawn).transpose(1, 0, 2)


def _draw_map(x: Tensor, how: str) -> Picture:
    if how == "pca":
        picture = principal_colours(x)
    else:
        values = (x.norm(dim=0) if how == "norm" else x[0]).numpy()
        picture = draw_scale(values / max(float(values.max()), 1e-12), np.isfinite(values))
    grow = -(-_MIN_HEIGHT // picture.shape[0])
    return picture.repeat(grow, axis=0).repeat(grow, axis=1)


def principal_colours(x: Tensor) -> Picture:
    """(h, w, 3): projections of a map (C, h, w) on its three main directions, each from its least to its largest.

    The sign of a direction is such that its largest element is positive.
    """
    tokens = x.flatten(1).T.double()
    tokens = tokens - tokens.mean(0)
    _, directions = torch.linalg.eigh(tokens.T @ tokens)
    main = directions.flip(1)[:, :3]
    main = main * main.gather(0, main.abs().argmax(0, keepdim=True)).sign()
    values = torch.zeros(len(tokens), 3, dtype=torch.float64)
    values[:, : main.shape[1]] = tokens @ main
    low, high = values.amin(0), values.amax(0)
    shares = (values - low) / (high - low).clamp(min=1e-12)
    picture: Picture = (shares * 255).round().to(torch.uint8).unflatten(0, x.shape[1:]).numpy()
    return picture
