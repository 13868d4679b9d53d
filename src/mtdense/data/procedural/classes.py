"""Names and numbers of the classes and of the human parts that procedural scenes are labelled with."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["NYUD13_CLASSES", "Part", "SceneClass", "StreetClass"]


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


class StreetClass(IntEnum):
    """What stands in streets, numbered as the label ids of Cityscapes."""

    ROAD = 7
    SIDEWALK = 8
    BUILDING = 11
    WALL = 12
    FENCE = 13
    POLE = 17
    TRAFFIC_LIGHT = 19
    TRAFFIC_SIGN = 20
    VEGETATION = 21
    TERRAIN = 22
    SKY = 23
    PERSON = 24
    CAR = 26
    TRUCK = 27
    BUS = 28
    CARAVAN = 29
    TRAILER = 30
    TRAIN = 31
    MOTORCYCLE = 32
    BICYCLE = 33


NYUD13_CLASSES: tuple[str, ...] = tuple(member.name.lower() for member in SceneClass)
"""Class names by class id."""
