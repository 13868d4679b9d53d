"""3-D detection of vehicles: labels as data sets have them, and the task that networks learn."""

from __future__ import annotations

from mtdense.tasks.detection_3d.detections import Detections
from mtdense.tasks.detection_3d.kind import BoxLabels
from mtdense.tasks.detection_3d.label import VEHICLES, BoxLabel
from mtdense.tasks.detection_3d.target import CanvasBoxes
from mtdense.tasks.detection_3d.task import Detection3D

__all__ = ["VEHICLES", "BoxLabel", "BoxLabels", "CanvasBoxes", "Detection3D", "Detections"]
