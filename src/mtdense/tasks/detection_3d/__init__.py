"""3-D detection of vehicles: the label side. There is no network side yet, so that no model takes the task."""

from __future__ import annotations

from mtdense.tasks.detection_3d.kind import BoxLabels
from mtdense.tasks.detection_3d.label import VEHICLES, BoxLabel
from mtdense.tasks.detection_3d.target import BoxTarget

__all__ = ["VEHICLES", "BoxLabel", "BoxLabels", "BoxTarget"]
