"""Which precisions a run may have."""

from __future__ import annotations

from typing import Any

from mtdense.core.errors import ConfigError

__all__ = ["check_precision"]

_TRUE_HALF = ("bf16-true", "16-true")


def check_precision(precision: Any) -> None:
    """Refuses true half precision, under which Lightning rounds batches as well: labels, cameras and boxes.

    Raises:
        ConfigError: It is asked for.
    """
    if precision in _TRUE_HALF:
        mixed = precision.replace("true", "mixed")
        raise ConfigError(
            f"trainer.precision is {precision}, which rounds labels and cameras, too: bfloat16 does not tell "
            "1001 pixels from 1002",
            f"use `--trainer.precision {mixed}`, which computes in half precision and keeps these as they are.",
        )
