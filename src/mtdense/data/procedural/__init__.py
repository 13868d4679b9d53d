"""Procedural scenes: furnished rooms with exact labels for every task, and streets; on demand, without files."""

from __future__ import annotations

from mtdense.data.procedural.classes import NYUD13_CLASSES, Part, SceneClass, StreetClass
from mtdense.data.procedural.scenes import PROCEDURAL_VERSION, ProceduralScenes, Scene
from mtdense.data.procedural.streets import STREETS_VERSION, ProceduralStreets, StreetScene, StreetVehicle

__all__ = [
    "NYUD13_CLASSES",
    "PROCEDURAL_VERSION",
    "STREETS_VERSION",
    "Part",
    "ProceduralScenes",
    "ProceduralStreets",
    "Scene",
    "SceneClass",
    "StreetClass",
    "StreetScene",
    "StreetVehicle",
]
