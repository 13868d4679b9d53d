"""Random tensors that belong to a sample: functions of its id and a purpose, never of batch, worker or rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mtdense.core.seeds import derive_seed

__all__ = ["KeptNoise", "keep_noise", "normal_noise", "sample_generator", "uniform_noise"]

_kept: ContextVar[KeptNoise | None] = ContextVar("kept noise", default=None)


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
    kept = _kept.get()
    if kept is not None and kept.full:
        return kept.next().expand(len(ids), *shape).to(device)
    noise = torch.empty((len(ids), *shape), device=generate_on)
    for row, sample_id in zip(noise, ids, strict=True):
        draw(tuple(shape), generator=sample_generator(sample_id, *purpose, generate_on=generate_on), out=row)
    if kept is not None:
        kept.tensors.append(noise[:1].clone())
    return noise.to(device)


@dataclass
class KeptNoise:
    """Noise of one evaluation step, drawn once and then given back as constants, in the same order.

    A tracer that turns a network into a file cannot follow a generator. The first `with keep_noise(kept)` goes around a
    step on one image; every further step in such a block gets that image's noise.
    """

    tensors: list[Tensor] = field(default_factory=list)
    full: bool = False
    _place: int = 0

    def next(self) -> Tensor:
        """The next one, (1, *shape)."""
        self._place += 1
        return self.tensors[self._place - 1]


@contextmanager
def keep_noise(kept: KeptNoise) -> Iterator[None]:
    """Fills `kept`, or gives back what it holds; see `KeptNoise`."""
    token = _kept.set(kept)
    kept._place = 0
    try:
        yield
    finally:
        _kept.reset(token)
        kept.full = True
