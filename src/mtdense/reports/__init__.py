"""Evidence: run records, comparison tables, trivial predictors, contact sheets and written predictions."""

from mtdense.reports.access import array_of, tasks_of
from mtdense.reports.architecture_figures import ArchitectureFigures
from mtdense.reports.contact_sheet import ContactRow, contact_sheet, rows_from_batch
from mtdense.reports.metric_values import metric_unit, metric_value
from mtdense.reports.per_image import PerImageScores, scores_csv
from mtdense.reports.prediction_writer import PredictionWriter, safe_path
from mtdense.reports.recorder import RunRecorder
from mtdense.reports.restore import CanvasGeometry, restore_prediction
from mtdense.reports.run_record import MetricValue, RunRecord, weights_checksum
from mtdense.reports.table import Column, ComparisonTable, TableRow, build_table, load_records
from mtdense.reports.table_formats import FORMATS, print_table, render, to_rich
from mtdense.reports.trivial import TRIVIAL_METHODS, TrivialPredictor, fit_trivial, score_trivial

__all__ = [
    "FORMATS",
    "TRIVIAL_METHODS",
    "ArchitectureFigures",
    "CanvasGeometry",
    "Column",
    "ComparisonTable",
    "ContactRow",
    "MetricValue",
    "PerImageScores",
    "PredictionWriter",
    "RunRecord",
    "RunRecorder",
    "TableRow",
    "TrivialPredictor",
    "array_of",
    "build_table",
    "contact_sheet",
    "fit_trivial",
    "load_records",
    "metric_unit",
    "metric_value",
    "print_table",
    "render",
    "restore_prediction",
    "rows_from_batch",
    "safe_path",
    "score_trivial",
    "scores_csv",
    "tasks_of",
    "to_rich",
    "weights_checksum",
]
