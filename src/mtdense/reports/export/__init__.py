"""Networks for other runtimes: ONNX and torch.export files that are compared with the original before they are kept."""

from __future__ import annotations

from mtdense.reports.export.check import ExportCheck, check_export
from mtdense.reports.export.module import FORMS, ExportedModel, export_description
from mtdense.reports.export.write import FORMATS, write_export

__all__ = ["FORMATS", "FORMS", "ExportCheck", "ExportedModel", "check_export", "export_description", "write_export"]
