"""Random tensors that belong to a sample: functions of its id and a purpose, never of batch, worker or rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mtdense.core.seeds import derive_seed

__all__ = ["normal_noise", "sample_generator", "uniform_noise"]


def sample_generator(sample_id: str, *purpose: int | str, generate_on: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one sample; on the CPU the same for the same id and purpose on every machine.

    Args:
        sample_id: Id of the image.
        purpose: Whole numbers and strings: a seed, a name, and in training the step.
        generate_on: Device of the generator. Each kind of device has a sequence of its own.
    """
    generator = torch.Generator(device=generate_on)
    generator.manual_seed(derive_seed(*purpose, sample_id) % 2**63)
    return generator


def normal_noise(
    ids: Sequence[str],
    shape: Sequence[int],
    *purpose: int | str,
    device: torch.device | str,
    generate_on: torch.device | str = "cpu",
) -> Tensor:
    """Standard normal values (B, *shape), float32; row i depends on `ids[i]`, `purpose` and `generate_on` alone.

    Args:
        ids: Ids of the images; may be empty.
        shape: Shape of a row.
        purpose: See `sample_generator`.
        device: Where the values are wanted.
        generate_on: Where they are made. The CPU gives the same values on every machine, but makes about 200 million a
            second only, which a network with large noisy maps feels.
    """
    return _noise(torch.randn, ids, shape, purpose, device, generate_on)


def uniform_noise(
    ids: Sequence[str],
    shape: Sequence[int],
    *purpose: int | str,
    device: torch.device | str,
    generate_on: torch.device | str = "cpu",
) -> Tensor:
    """Uniform values in [0, 1), (B, *shape), float32; see `normal_noise`."""
    return _noise(torch.rand, ids, shape, purpose, device, generate_on)


def _noise(
    draw: Callable[..., Tensor],
    ids: Sequence[str],
    shape: Sequence[int],
    purpose: Sequence[int | str],
    device: torch.device | str,
    generate_on: torch.device | str,
) -> Tensor:
    noise = torch.empty((len(ids), *shape), device=generate_on)
    for row, sample_id in zip(noise, ids, strict=True):
        draw(tuple(shape), generator=sample_generator(sample_id, *purpose, generate_on=generate_on), out=row)
    return noise.to(device)
