"""Names and numbers of the classes and of the human parts that procedural scenes are labelled with."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["NYUD13_CLASSES", "Part", "SceneClass"]


class SceneClass(IntEnum):
    """The 13 NYUD classes, in their usual alphabetical order."""

    BED = 0
    BOOKS = 1
    CEILING = 2
    CHAIR = 3
    FLOOR = 4
    FURNITURE = 5
    OBJECTS = 6
    PICTURE = 7
    SOFA = 8
    TABLE = 9
    TV = 10
    WALL = 11
    WINDOW = 12


class Part(IntEnum):
    """The six PASCAL parts; a neck belongs to the torso, a hand to the lower arm, a foot to the lower leg."""

    NONE = 0
    HEAD = 1
    TORSO = 2
    UPPER_ARM = 3
    LOWER_ARM = 4
    UPPER_LEG = 5
    LOWER_LEG = 6


NYUD13_CLASSES: tuple[str, ...] = tuple(member.name.lower() for member in SceneClass)
"""Class names by class id."""
