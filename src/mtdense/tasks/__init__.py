"""Tasks: everything about one prediction target in one room (coding, geometry, loss, metrics, drawing)."""

from mtdense.tasks.base import ArrayAny, LossTerms, Task
from mtdense.tasks.class_map import ClassMap
from mtdense.tasks.depth import Depth
from mtdense.tasks.detection_3d import BoxLabels, Detection3D
from mtdense.tasks.edges import Edges
from mtdense.tasks.human_parts import HumanParts
from mtdense.tasks.label_kind import LabelKind
from mtdense.tasks.normals import SurfaceNormals
from mtdense.tasks.registry import build_label_kinds, build_tasks, label_names, spec_options, task_names
from mtdense.tasks.saliency import Saliency
from mtdense.tasks.semseg import SemanticSegmentation

__all__ = [
    "ArrayAny",
    "BoxLabels",
    "ClassMap",
    "Depth",
    "Detection3D",
    "Edges",
    "HumanParts",
    "LabelKind",
    "LossTerms",
    "Saliency",
    "SemanticSegmentation",
    "SurfaceNormals",
    "Task",
    "build_label_kinds",
    "build_tasks",
    "label_names",
    "spec_options",
    "task_names",
]
