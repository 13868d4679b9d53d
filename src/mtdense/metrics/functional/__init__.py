"""The maths of the metrics as pure functions: `*_update` gives a batch's sums, `*_compute` the score of sums."""

from mtdense.metrics.functional.absolute_error import absolute_error_update
from mtdense.metrics.functional.delta_m import delta_m
from mtdense.metrics.functional.detection_boxes import BoxPredictions, BoxTargets
from mtdense.metrics.functional.detection_score import (
    SIMILARITIES,
    DetectionScores,
    DetectionSums,
    Matching,
    detection_score_compute,
    detection_score_update,
)
from mtdense.metrics.functional.edge_nms import suppress_non_maxima
from mtdense.metrics.functional.exact_sum import exact_sum, exact_value
from mtdense.metrics.functional.label_boundaries import label_boundaries
from mtdense.metrics.functional.max_f import (
    Convention,
    image_precision_recall,
    max_f_compute,
    max_f_thresholds,
    max_f_update,
    pooled_precision_recall,
)
from mtdense.metrics.functional.mean_angular_error import (
    ANGLE_LIMITS,
    AngularSums,
    angular_error,
    mean_angular_error_update,
)
from mtdense.metrics.functional.mean_iou import Absent, iou_per_class, mean_iou_compute, mean_iou_update
from mtdense.metrics.functional.odsf import (
    average_precision,
    best_counts,
    edge_counts,
    ods,
    ois,
    precision_recall,
    seism_target,
    seism_thresholds,
)
from mtdense.metrics.functional.root_mean_squared_error import rmse_update
from mtdense.metrics.functional.thinning import thin

__all__ = [
    "ANGLE_LIMITS",
    "SIMILARITIES",
    "Absent",
    "AngularSums",
    "BoxPredictions",
    "BoxTargets",
    "Convention",
    "DetectionScores",
    "DetectionSums",
    "Matching",
    "absolute_error_update",
    "angular_error",
    "average_precision",
    "best_counts",
    "delta_m",
    "detection_score_compute",
    "detection_score_update",
    "edge_counts",
    "exact_sum",
    "exact_value",
    "image_precision_recall",
    "iou_per_class",
    "label_boundaries",
    "max_f_compute",
    "max_f_thresholds",
    "max_f_update",
    "mean_angular_error_update",
    "mean_iou_compute",
    "mean_iou_update",
    "ods",
    "ois",
    "pooled_precision_recall",
    "precision_recall",
    "rmse_update",
    "seism_target",
    "seism_thresholds",
    "suppress_non_maxima",
    "thin",
]
