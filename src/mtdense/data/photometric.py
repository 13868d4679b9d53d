"""Colour augmentation of the photograph alone, by albumentations."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError

__all__ = ["PHOTOMETRIC", "Photometric"]

PHOTOMETRIC = ("none", "mild", "strong")
"""Names of the strengths."""


def _compose(strength: str) -> Any:
    # The library looks for a newer release on the network when imported; nothing of ours goes out unasked.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A

    def jitter(**ranges: tuple[float, float]) -> Any:
        still: dict[str, Any] = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}
        return A.ColorJitter(**(still | ranges), p=0.5)

    if strength == "mild":
        return A.Compose(
            [
                A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.2, p=0.8),
                A.ColorJitter(brightness=(1, 1), contrast=(1, 1), saturation=(0.8, 1.2), hue=(-0.02, 0.02), p=0.5),
            ]
        )
    brightness = A.RandomBrightnessContrast(brightness_limit=32 / 255, contrast_limit=0, brightness_by_max=True, p=0.5)
    contrast = A.RandomBrightnessContrast(brightness_limit=0, contrast_limit=0.5, p=0.5)
    colour = [
        jitter(saturation=(0.5, 1.5)),
        A.HueSaturationValue(hue_shift_limit=18, sat_shift_limit=0, val_shift_limit=0, p=0.5),
    ]
    order = A.OneOf([A.Sequential([contrast, *colour]), A.Sequential([*colour, contrast])], p=1.0)
    return A.Compose([brightness, order])


class Photometric:
    """Random brightness, contrast, saturation and hue.

    `strong` has the order and strengths of the distortion that the ATRC and InvPT recipes use: brightness ±32, contrast
    and saturation times 0.5 to 1.5, hue ±18 of 180, each with probability 0.5, contrast placed before or after the
    colours at random. One difference: saturation blends with the grey picture instead of scaling HSV's S. `mild` is for
    small images and short trainings.

    Args:
        strength: "none", "mild" or "strong".

    Raises:
        ConfigError: Unknown strength.
    """

    def __init__(self, strength: str = "none") -> None:
        if strength not in PHOTOMETRIC:
            raise ConfigError(f"unknown photometric strength {strength!r}", f"Use one of {', '.join(PHOTOMETRIC)}.")
        self.strength = strength
        # Now, not in a worker: W&B's import hook fails in forked processes.
        self._compose: Any = None if strength == "none" else _compose(strength)

    def __call__(self, image: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.uint8]:
        """Distorts an image (H, W, 3); the result depends on image and seed alone."""
        if self._compose is None:
            return image
        # Left alone, two workers draw identical distortions and a run cannot be repeated; so each sample seeds anew.
        # `set_random_seed` would start every step with the same draws: all distortions at once, or none.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return np.asarray(self._compose(image=image)["image"], dtype=np.uint8)
