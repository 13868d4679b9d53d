"""Directions that normals are sorted into for ATRC's first predictions."""

from __future__ import annotations

import math
from typing import Literal

from mtdense.core.errors import ConfigError

__all__ = ["DIRECTIONS", "DirectionSet", "directions"]

DirectionSet = Literal["nyud", "pascal_context", "even"]
Direction = tuple[float, float, float]

# Cluster centres of each data set's normals that ATRC was published with (github.com/brdav/atrc, MIT licence), to four
# digits and in the suite's coding: x right, y down, z forward, facing the camera.
_NYUD: tuple[Direction, ...] = (
    (0.2826, -0.0122, -0.9592),
    (-0.9980, -0.0529, 0.0348),
    (-0.0192, 0.9985, -0.0509),
    (0.9942, -0.0902, 0.0582),
    (0.0504, -0.9968, -0.0621),
    (-0.3678, 0.3082, -0.8774),
    (-0.6421, -0.3903, -0.6598),
    (0.6914, 0.1475, -0.7072),
    (0.8233, -0.3237, -0.4662),
    (-0.2165, -0.9574, -0.1910),
    (0.2704, 0.2283, -0.9353),
    (0.2754, -0.8873, -0.3699),
    (-0.8091, 0.1800, -0.5594),
    (-0.1388, -0.0645, -0.9882),
    (-0.7601, 0.5277, -0.3793),
    (0.5832, -0.1754, -0.7932),
    (0.0041, 0.3830, -0.9237),
    (-0.0433, -0.9174, -0.3955),
    (0.7114, -0.6891, -0.1379),
    (0.4936, 0.1039, -0.8635),
    (0.1604, -0.3501, -0.9229),
    (-0.6864, 0.0135, -0.7271),
    (-0.7760, -0.6065, -0.1731),
    (0.2510, 0.7900, -0.5594),
    (0.8406, 0.0667, -0.5375),
    (0.4811, 0.3563, -0.8010),
    (0.4491, -0.6029, -0.6594),
    (0.9645, 0.0239, -0.2629),
    (0.0431, 0.0891, -0.9951),
    (-0.0016, -0.9684, -0.2493),
    (-0.1941, 0.1716, -0.9659),
    (0.0045, -0.7201, -0.6939),
    (0.7934, 0.5079, -0.3355),
    (-0.6081, 0.2668, -0.7476),
    (-0.3918, -0.7534, -0.5280),
    (-0.2944, 0.7101, -0.6397),
    (-0.2759, -0.4021, -0.8730),
    (-0.8850, -0.0834, -0.4580),
    (-0.9587, 0.0999, -0.2662),
    (-0.4308, 0.0344, -0.9018),
)
_PASCAL: tuple[Direction, ...] = (
    (0.0220, -0.0344, -0.9992),
    (-0.0081, 0.9758, -0.2185),
    (0.0042, -0.9647, -0.2632),
    (0.9344, -0.0144, -0.3560),
    (-0.9435, -0.0191, -0.3308),
    (0.2882, -0.4149, -0.8630),
    (-0.2573, -0.5437, -0.7989),
    (-0.5370, 0.2069, -0.8178),
    (-0.0310, 0.3131, -0.9492),
    (0.3485, 0.0810, -0.9338),
    (-0.0218, 0.6430, -0.7656),
    (0.0111, -0.8133, -0.5817),
    (-0.0064, -0.4828, -0.8757),
    (-0.7029, -0.2297, -0.6731),
    (-0.1760, 0.1896, -0.9660),
    (0.6665, -0.3421, -0.6623),
    (0.2220, -0.1339, -0.9658),
    (-0.3202, -0.1097, -0.9410),
    (0.4544, 0.2917, -0.8417),
    (-0.0036, 0.1373, -0.9905),
    (-0.2173, -0.7845, -0.5808),
    (0.4529, -0.1700, -0.8752),
    (0.1445, -0.6372, -0.7570),
    (0.3820, -0.7168, -0.5833),
    (-0.7467, 0.1044, -0.6569),
    (0.1574, 0.0755, -0.9846),
    (-0.4395, -0.3086, -0.8436),
    (-0.0086, -0.9065, -0.4221),
    (-0.5408, -0.5822, -0.6071),
    (0.7583, 0.1071, -0.6431),
    (-0.3160, 0.3202, -0.8931),
    (-0.0613, -0.6726, -0.7374),
    (0.0535, -0.2773, -0.9593),
    (-0.3556, 0.0972, -0.9296),
    (-0.1148, -0.1548, -0.9813),
    (-0.1565, 0.0314, -0.9872),
    (-0.1839, -0.3370, -0.9234),
    (0.1921, 0.2571, -0.9471),
    (-0.5389, -0.0352, -0.8417),
    (0.5692, 0.0681, -0.8194),
)


def _even(number: int = 40) -> tuple[Direction, ...]:
    """Directions spread over the half sphere that faces the camera, along a spiral of golden angles."""
    golden = math.pi * (3 - math.sqrt(5))
    found = []
    for i in range(number):
        forward = -(i + 0.5) / number
        radius = math.sqrt(1 - forward * forward)
        found.append((radius * math.cos(i * golden), radius * math.sin(i * golden), forward))
    return tuple(found)


DIRECTIONS: dict[DirectionSet, tuple[Direction, ...]] = {"nyud": _NYUD, "pascal_context": _PASCAL, "even": _even()}
"""40 unit vectors each."""


def directions(name: DirectionSet) -> tuple[Direction, ...]:
    """The set of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in DIRECTIONS:
        raise ConfigError(f"unknown directions '{name}'", f"use one of {', '.join(DIRECTIONS)}.")
    return DIRECTIONS[name]
