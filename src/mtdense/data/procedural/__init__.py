"""Procedural scenes: furnished rooms with exact labels for every task, made up on demand, without files."""

from __future__ import annotations

from mtdense.data.procedural.classes import NYUD13_CLASSES, Part, SceneClass
from mtdense.data.procedural.scenes import PROCEDURAL_VERSION, ProceduralScenes, Scene

__all__ = ["NYUD13_CLASSES", "PROCEDURAL_VERSION", "Part", "ProceduralScenes", "Scene", "SceneClass"]
