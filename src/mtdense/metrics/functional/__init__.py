"""The maths of the metrics as pure functions: `*_update` gives a batch's sums, `*_compute` the score of sums."""

from mtdense.metrics.functional.absolute_error import absolute_error_compute, absolute_error_update
from mtdense.metrics.functional.delta_m import delta_m
from mtdense.metrics.functional.mean_angular_error import (
    ANGLE_LIMITS,
    AngularSums,
    angular_error,
    mean_angular_error_compute,
    mean_angular_error_update,
)
from mtdense.metrics.functional.mean_iou import Absent, iou_per_class, mean_iou_compute, mean_iou_update
from mtdense.metrics.functional.root_mean_squared_error import rmse_compute, rmse_update

__all__ = [
    "ANGLE_LIMITS",
    "Absent",
    "AngularSums",
    "absolute_error_compute",
    "absolute_error_update",
    "angular_error",
    "delta_m",
    "iou_per_class",
    "mean_angular_error_compute",
    "mean_angular_error_update",
    "mean_iou_compute",
    "mean_iou_update",
    "rmse_compute",
    "rmse_update",
]
