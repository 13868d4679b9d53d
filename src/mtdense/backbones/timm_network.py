"""Asking timm for a network, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm

from mtdense.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from mtdense.core.errors import ConfigError

__all__ = ["create_timm", "statistics_of"]


def statistics_of(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """RGB mean and standard deviation that timm's weights of this name (with its tag) were trained with."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return (IMAGENET_MEAN, IMAGENET_STD) if config is None else (tuple(config.mean), tuple(config.std))


def create_timm(name: str, pretrained: bool, options: Mapping[str, Any]) -> Any:
    """`timm.create_model(name, pretrained, **options)`.

    Raises:
        ConfigError: timm refuses the options, the network gives no features, or the weights cannot be had.
    """
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except (RuntimeError, OSError, ValueError, AttributeError, TypeError, AssertionError) as error:
        if pretrained:
            raise ConfigError(
                f"the pretrained weights of '{name}' could not be fetched: {error}",
                "train without network access by `pretrained: false`, or give a local file in `backbone_checkpoint`.",
            ) from error
        raise ConfigError(
            f"timm's '{name}' cannot be a backbone with these options: {error}",
            "take options that this network knows, or choose another backbone.",
        ) from error
