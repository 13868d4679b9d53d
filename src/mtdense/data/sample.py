"""The one form in which images and labels travel: raw images, samples and batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtdense.tasks.base import ArrayAny

__all__ = ["Batch", "BatchMeta", "RawImage", "Sample", "SampleKey", "SampleMeta", "whole_canvas"]


class SampleKey(NamedTuple):
    """What a sampler asks a dataset for: the image's index and the epoch that seeds its augmentation."""

    image_index: int
    epoch: int


@dataclass
class RawImage:
    """An image as stored, before any transform.

    Args:
        id: Unique in the dataset, usable as a file name.
        image: (H, W, 3) uint8 RGB.
        labels: {task: label} of the labels that exist *and* may be used; see `LabelKind` for codings.
        camera: (3, 3) float64 intrinsics in pixels (pixel centres at integers), or None where unknown.
        baseline: Metres between the two cameras whose disparity is a label, or None where unknown.
    """

    id: str
    image: npt.NDArray[np.uint8]
    labels: dict[str, ArrayAny] = field(default_factory=dict)
    camera: npt.NDArray[np.float64] | None = None
    baseline: float | None = None


class SampleMeta(TypedDict):
    """Geometry of one sample, enough to put a prediction back on the original image."""

    original_size: Tensor  # (2,) int64: height, width of the stored image
    content: Tensor  # (4,) int64: top, left, height, width of the image's pixels on the canvas; the rest is padding
    window: Tensor  # (4,) float32: top, left, height, width of the original image's region that content shows
    zoom: Tensor  # () float32: canvas pixels per original pixel
    flip: Tensor  # () bool: mirrored left to right
    camera: Tensor  # (3, 3) float32 intrinsics of the canvas; zeros where unknown
    baseline: Tensor  # () float32 metres between the two cameras of disparity; 0 where unknown
    mount: Tensor  # (3, 4) float32 takes points of the (mirrored) vehicle to the camera; zeros where unknown
    data_version: str


class Sample(TypedDict):
    """One image with targets of all tasks of the data module (all-invalid where unlabelled)."""

    image: Tensor  # (3, H, W) float32 RGB in [0, 1]
    targets: dict[str, Any]  # a tensor for maps; what `LabelKind.to_target` gives for other labels
    labelled: dict[str, bool]
    id: str
    meta: SampleMeta


class BatchMeta(TypedDict):
    """`SampleMeta`, stacked."""

    original_size: Tensor  # (B, 2)
    content: Tensor  # (B, 4)
    window: Tensor  # (B, 4)
    zoom: Tensor  # (B,)
    flip: Tensor  # (B,)
    camera: Tensor  # (B, 3, 3)
    baseline: Tensor  # (B,)
    mount: Tensor  # (B, 3, 4)
    data_version: list[str]


class Batch(TypedDict):
    """Samples of one size, stacked."""

    image: Tensor  # (B, 3, H, W) float32 RGB in [0, 1]
    targets: dict[str, Any]  # (B, H, W) or (B, 3, H, W); of labels that are no maps a list, one for each image
    labelled: dict[str, Tensor]  # (B,) bool
    id: list[str]
    meta: BatchMeta


def whole_canvas(images: int, size: Sequence[int], data_version: str, device: torch.device | str = "cpu") -> BatchMeta:
    """Geometry of images that fill their canvas as they are: no padding, zoom or mirror, and no camera.

    Args:
        images: Number of images.
        size: Height and width of all.
        data_version: Where they are from.
        device: Of the tensors.
    """
    height, width = size
    return BatchMeta(
        original_size=torch.tensor([[height, width]] * images, device=device),
        content=torch.tensor([[0, 0, height, width]] * images, device=device),
        window=torch.tensor([[0.0, 0.0, height, width]] * images, device=device),
        zoom=torch.ones(images, device=device),
        flip=torch.zeros(images, dtype=torch.bool, device=device),
        camera=torch.zeros(images, 3, 3, device=device),
        baseline=torch.zeros(images, device=device),
        mount=torch.zeros(images, 3, 4, device=device),
        data_version=[data_version] * images,
    )
