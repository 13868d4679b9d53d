"""What every backbone is: an image in, a feature pyramid out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtdense.backbones.recompute import recompute

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Backbone", "pad_to_multiple"]

_Result = TypeVar("_Result")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def pad_to_multiple(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Zeros below and to the right of (B, C, H, W) until H and W are multiples of `size`."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % size[1], 0, -height % size[0]))


class Backbone(nn.Module, ABC):
    """A network that turns images into a pyramid of feature maps, finest first.

    A map of stride s of an image (H, W) is ceil(H / s) by ceil(W / s), in every family.

    Args:
        channels: Channels of each map.
        strides: Input pixels per map pixel of each map, never decreasing.
        mean: RGB mean that the weights were trained with, on [0, 1] images.
        std: RGB standard deviation that the weights were trained with.
    """

    # Weights that a file may lack, all of them or none: they then keep their initial values.
    optional_weights: ClassVar[tuple[str, ...]] = ()
    checkpointing: bool = False
    """Whether training computes blocks again in the backward pass, rather than keep what is in them."""

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.mean = tuple(mean)
        self.std = tuple(std)

    @abstractmethod
    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) to maps [(B, channels[i], ceil(H / strides[i]), ceil(W / strides[i]))]."""

    def set_checkpointing(self, enabled: bool = True) -> None:
        """Sets `checkpointing`.

        Raises:
            ConfigError: There are no blocks that could be told apart.
        """
        self.checkpointing = enabled

    def run_part(self, part: Callable[..., _Result], *inputs: Any, norms_of: nn.Module | None = None) -> _Result:
        """`part(*inputs)`, one block of this network, as `checkpointing` says; see `recompute`."""
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return recompute(part, *inputs, norms_of=norms_of)
        return part(*inputs)

    def run_stage(self, stage: nn.Module, x: Tensor) -> Tensor:
        """One of the stages that run one after another, in the blocks that `checkpointing` is about."""
        out: Tensor = self.run_part(stage, x)
        return out

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A published state dict in this backbone's names; weights it has no use for by design are left out.

        Anything unknown keeps its name, so that loading can refuse it.
        """
        return dict(state)
