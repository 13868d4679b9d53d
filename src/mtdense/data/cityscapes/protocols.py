"""What "the depth of Cityscapes" means, by paper: unit, invalid values, sky, cap and size of the score.

Scores in the other unit, metres of disparity and the reverse, count labels above 0 and below 80 of that unit, and need
the camera files.

Stored is p, 16 bits: 0 where stereo found nothing, else disparity d = (p - 1) / 256 in pixels of the image of 2048
columns. A distance in metres is baseline times focal length over d. Labels of a smaller image keep these numbers.

| protocol | unit | p = 1 | d of the sky | trained on | scored on | scored at |
|---|---|---|---|---|---|---|
| disparity | pixels | d = 0 | as stored | d >= 0 | d >= 0 | |
| taskprompter | pixels | d = 0 | 0 | d >= 0 | 0 < d < 80 | 512x1024 |
| taskprompter_legacy | pixels | invalid | as stored; 0 on rail tracks | d >= 0 | 0 < d < 80 | 512x1024 |
| mtmamba | pixels | d = 0 | 0 | d >= 0 | 0 < d < 80 | 1024x2048 |
| mtmamba_legacy | pixels | invalid | as stored; 0 on rail tracks | d >= 0 | 0 < d < 80 | 1024x2048 |
| metres | metres | invalid | as stored | below 80 m | below 80 m | |

* Ye and Xu. TaskPrompter: Spatial-Channel Multi-Task Prompting for Dense Scene Understanding. ICLR 2023. Their code
  scored metres below 80 until April 2023; since then the bound of 80, meant for metres, is one of disparity.
* Lin et al. MTMamba: Enhancing Multi-Task Dense Scene Understanding by Mamba-Based Decoders. ECCV 2024.

`_legacy` names what their public code does: the sky is sought under label 10, which is the rail track (the sky is 23),
and p = 1 falls to the test for 0 that comes after the conversion. MTMamba's code also trains on invalid pixels, as -1;
that is not offered. The sky rule reads the class labels: `disparity` and `metres` do not, so that in settings with
partial labels a depth label tells nothing about classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mtdense.core.errors import ConfigError, DataError
from mtdense.core.suggest import did_you_mean
from mtdense.data.cityscapes.facts import RAIL_TRACK, SKY
from mtdense.tasks.base import ArrayAny

__all__ = ["DEPTH_PROTOCOLS", "DepthProtocol", "decode_disparity", "depth_protocol", "encode_disparity"]

_STEPS = 256.0
_INVALID = np.float32(-1)
_CAP = (0.0, 80.0)


@dataclass(frozen=True)
class DepthProtocol:
    """How stored disparity becomes a label, and which of it is trained and scored.

    Args:
        unit: "disparity" (pixels of the stored image) or "metres".
        smallest: Smallest stored value that is a measurement: 1, or 2 as in public code.
        zero_label: Label id whose pixels get disparity 0, measured or not; None: none.
        max_depth: Values from this on are not even trained on; None: all are.
        score_range: Metrics count values above the first and below the second only; None: all that are trained on.
        score_size: Height and width that the publication scores at, predictions being scaled to it; None: not said.
    """

    unit: Literal["disparity", "metres"] = "disparity"
    smallest: int = 1
    zero_label: int | None = None
    max_depth: float | None = None
    score_range: tuple[float, float] | None = None
    score_size: tuple[int, int] | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """Specification of the depth task."""
        low, high = (None, None) if self.score_range is None else self.score_range
        return {
            "unit": self.unit,
            "max_depth": self.max_depth,
            "score_above": low,
            "score_below": high,
            "other_unit_below": _CAP[1],
        }


DEPTH_PROTOCOLS: Mapping[str, DepthProtocol] = {
    "disparity": DepthProtocol(),
    "taskprompter": DepthProtocol(zero_label=SKY, score_range=_CAP, score_size=(512, 1024)),
    "taskprompter_legacy": DepthProtocol(smallest=2, zero_label=RAIL_TRACK, score_range=_CAP, score_size=(512, 1024)),
    "mtmamba": DepthProtocol(zero_label=SKY, score_range=_CAP, score_size=(1024, 2048)),
    "mtmamba_legacy": DepthProtocol(smallest=2, zero_label=RAIL_TRACK, score_range=_CAP, score_size=(1024, 2048)),
    "metres": DepthProtocol(unit="metres", smallest=2, max_depth=80.0),
}
"""Protocols by name, see above."""


def depth_protocol(name: str) -> DepthProtocol:
    """A protocol by its name.

    Raises:
        ConfigError: Unknown name.
    """
    if name not in DEPTH_PROTOCOLS:
        raise ConfigError(
            f"unknown depth_protocol {name!r}",
            f"{did_you_mean(name, DEPTH_PROTOCOLS)}Use {', '.join(DEPTH_PROTOCOLS)}.",
        )
    return DEPTH_PROTOCOLS[name]


def decode_disparity(
    stored: ArrayAny,
    protocol: DepthProtocol,
    source: str,
    label_ids: ArrayAny | None = None,
    baseline_focal: float | None = None,
) -> npt.NDArray[np.float32]:
    """A stored map to a label.

    Args:
        stored: (H, W) uint16 as in `_disparity.png`.
        protocol: What the label is to mean.
        source: The file, for errors.
        label_ids: (H, W) label ids of gtFine, where `protocol.zero_label` is set.
        baseline_focal: Baseline in metres times focal length in pixels, where the unit is metres.

    Returns:
        (H, W) float32, -1 where nothing is known.

    Raises:
        DataError: Not a map of 16-bit numbers, or of another size than `label_ids`.
    """
    if stored.ndim != 2 or stored.dtype.kind not in "iu" or stored.dtype.itemsize < 2:
        raise DataError(
            f"{source} has shape {stored.shape} and {stored.dtype}, not 16 bits a pixel",
            "Unpack disparity_trainvaltest.zip again; tools that know 8 bits only spoil its files.",
        )
    if stored.min() < 0 or stored.max() > 65535:  # Pillow may hand 16 bits over as 32
        raise DataError(f"{source} holds values up to {stored.max()}", "Unpack disparity_trainvaltest.zip again.")
    known = stored >= protocol.smallest
    disparity = (stored.astype(np.float32) - 1) / np.float32(_STEPS)
    if protocol.unit == "metres":
        if baseline_focal is None:
            raise DataError(f"{source}: metres need the camera's baseline and focal length", "Unpack camera_*.zip.")
        return np.where(known, np.float32(baseline_focal) / np.where(known, disparity, 1), _INVALID).astype(np.float32)
    label = np.where(known, disparity, _INVALID).astype(np.float32)
    if protocol.zero_label is not None:
        if label_ids is None or label_ids.shape != stored.shape:
            found = "none" if label_ids is None else f"{label_ids.shape[0]}x{label_ids.shape[1]}"
            raise DataError(
                f"{source} has {stored.shape[0]}x{stored.shape[1]} pixels, its class labels {found}",
                "Copy both from one version of the data set.",
            )
        label[label_ids == protocol.zero_label] = 0
    return label


def encode_disparity(disparity: ArrayAny) -> npt.NDArray[np.uint16]:
    """Disparity in pixels (below 0: nothing known) to stored values, rounded to 1 / 256 pixel and at most 65535."""
    stored = np.clip(np.rint(disparity.astype(np.float64) * _STEPS) + 1, 1, 65535)
    return np.where(disparity >= 0, stored, 0).astype(np.uint16)
