"""Random tensors that belong to a sample: functions of its id and a purpose, never of batch, worker or rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtdense.core.seeds import derive_seed

__all__ = ["normal_noise", "sample_generator", "uniform_noise"]


def sample_generator(sample_id: str, *purpose: int | str) -> torch.Generator:
    """A CPU generator for one sample; the same for the same id and purpose on every machine.

    Args:
        sample_id: Id of the image.
        purpose: Whole numbers and strings: a seed, a name, and in training the step.
    """
    generator = torch.Generator()
    generator.manual_seed(derive_seed(*purpose, sample_id) % 2**63)
    return generator


def normal_noise(ids: Sequence[str], shape: Sequence[int], *purpose: int | str, device: torch.device | str) -> Tensor:
    """Standard normal values (B, *shape), float32; row i depends on `ids[i]` and `purpose` alone."""
    rows = [torch.randn(tuple(shape), generator=sample_generator(i, *purpose)) for i in ids]
    return torch.stack(rows).to(device)


def uniform_noise(ids: Sequence[str], shape: Sequence[int], *purpose: int | str, device: torch.device | str) -> Tensor:
    """Uniform values in [0, 1), (B, *shape), float32; row i depends on `ids[i]` and `purpose` alone."""
    rows = [torch.rand(tuple(shape), generator=sample_generator(i, *purpose)) for i in ids]
    return torch.stack(rows).to(device)
