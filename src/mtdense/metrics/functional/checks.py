"""Checks and conversions that all metrics share."""

from __future__ import annotations

import torch
from torch import Tensor

from mtdense.core.errors import DataError

__all__ = ["check_same_shape", "check_valid", "count_per_image", "to_double"]


def check_same_shape(preds: Tensor, target: Tensor) -> None:
    """Raises unless predictions and targets have one shape.

    Raises:
        DataError: The shapes differ.
    """
    if preds.shape != target.shape:
        raise DataError(
            f"predictions of shape {tuple(preds.shape)} cannot be scored against targets of shape "
            f"{tuple(target.shape)}",
            "Resize the predictions to the targets and drop a channel axis that only one of them has.",
        )


def check_valid(valid: Tensor | None, shape: torch.Size, device: torch.device) -> Tensor:
    """The mask itself, or an all-True one where there is none.

    Args:
        valid: Bool mask of `shape`, or None for "every pixel counts".
        shape: Shape that the mask must have.
        device: Where a new mask is made.

    Raises:
        DataError: The mask has another shape or is not boolean.
    """
    if valid is None:
        return torch.ones(shape, dtype=torch.bool, device=device)
    if valid.dtype != torch.bool:
        raise DataError(f"a validity mask must be boolean, not {valid.dtype}", "Compare it, such as `mask > 0`.")
    if valid.shape != shape:
        raise DataError(
            f"a validity mask of shape {tuple(valid.shape)} does not fit targets of shape {tuple(shape)}",
            "Give one mask value per target pixel.",
        )
    return valid


def count_per_image(valid: Tensor) -> Tensor:
    """(B,) int64 number of True in each image of (B, ...)."""
    return valid.sum(tuple(range(1, valid.ndim))) if valid.ndim > 1 else valid.long()


def to_double(values: Tensor) -> Tensor:
    """Float64, on the CPU where the device has no float64 (MPS)."""
    return values.cpu().double() if values.device.type == "mps" else values.double()
