"""Streaming metrics: one torchmetrics.Metric per file, the pure maths in `mtdense.metrics.functional`."""

from mtdense.metrics.absolute_error import AbsoluteError
from mtdense.metrics.base import StreamingMetric
from mtdense.metrics.delta_m import DeltaM
from mtdense.metrics.detection_score import DetectionScore
from mtdense.metrics.max_f import MaxF
from mtdense.metrics.mean_angular_error import MeanAngularError
from mtdense.metrics.mean_iou import MeanIoU
from mtdense.metrics.odsf import OdsF
from mtdense.metrics.root_mean_squared_error import RootMeanSquaredError

__all__ = [
    "AbsoluteError",
    "DeltaM",
    "DetectionScore",
    "MaxF",
    "MeanAngularError",
    "MeanIoU",
    "OdsF",
    "RootMeanSquaredError",
    "StreamingMetric",
]
