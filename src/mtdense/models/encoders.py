"""What the encoders inside a network are told, and tell."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mtdense.backbones import Backbone
from mtdense.core.errors import ConfigError

__all__ = ["checkpoint_encoders", "image_statistics"]


def checkpoint_encoders(network: nn.Module) -> None:
    """Has the blocks of all encoders computed again in the backward pass; see `Backbone.set_checkpointing`.

    Raises:
        ConfigError: There is no encoder, or one that does not show its blocks.
    """
    encoders = [module for module in network.modules() if isinstance(module, Backbone)]
    if not encoders:
        raise ConfigError("`checkpoint_encoder` on a network without a backbone", "leave it out.")
    for encoder in encoders:
        encoder.set_checkpointing()


def image_statistics(network: nn.Module) -> tuple[Sequence[float], Sequence[float]]:
    """RGB mean and deviation that the weights of the first encoder were trained with.

    Raises:
        ConfigError: There is no encoder.
    """
    for module in network.modules():
        if isinstance(module, Backbone):
            return module.mean, module.std
    raise ConfigError("`normalization: weights` on a network without a backbone", "use `imagenet`.")
