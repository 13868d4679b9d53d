"""Which architectures can be exported, tried out at preset tiny."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import Any

import torch

import mtdense.models
from mtdense.core.errors import MTDenseError
from mtdense.core.progress import track
from mtdense.models import DenseModule
from mtdense.reports.export.check import check_export
from mtdense.reports.export.module import ExportedModel
from mtdense.reports.export.write import FORMATS, Dynamic, Format, write_export

__all__ = ["architectures", "export_table", "tiny_model", "try_export"]

SIZE = (64, 96)
TASKS: dict[str, dict[str, Any]] = {"semseg": {"num_classes": 5}, "depth": {}, "normals": {}}
# Prompts live in a transformer's blocks: here of a few channels.
_SWIN = {"embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 2, "drop_path_rate": 0.0}
_VIT = {"embed_dim": 16, "depth": 4, "num_heads": 2}
_OWN_BACKBONES = {
    "TaskPrompter": {"backbone": "swin_t", "backbone_options": {"overrides": _SWIN}},
    "TSPTransformer": {"backbone": "vit_base", "backbone_options": {"overrides": _VIT}},
}
COLUMNS: tuple[tuple[Format, Dynamic], ...] = (("onnx", "none"), ("torch_export", "none"), ("torch_export", "batch"))


def architectures() -> dict[str, type[DenseModule]]:
    """{class name: class} of all architectures of the suite."""
    named = {name: getattr(mtdense.models, name) for name in mtdense.models.__all__}
    return {
        name: found
        for name, found in sorted(named.items())
        if inspect.isclass(found) and issubclass(found, DenseModule) and not inspect.isabstract(found)
    }


def tiny_model(name: str) -> DenseModule:
    """A network of preset tiny with weights of seed 0, for three tasks where it may have several."""
    make: Any = architectures()[name]
    tasks = {"semseg": TASKS["semseg"]} if name == "SingleTask" else TASKS
    backbone = _OWN_BACKBONES.get(name, {"backbone": "tiny"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: DenseModule = make(tasks=tasks, preset="tiny", input_size=list(SIZE), **backbone)
    return model.eval()


def try_export(model: DenseModule, fmt: Format, dynamic: Dynamic) -> float:
    """The largest difference between what the exported network and the original give, probabilities for classes.

    Raises:
        MTDenseError: It cannot be exported, or differs.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"network{FORMATS[fmt]}"
        exported = ExportedModel(model, "soft")
        write_export(exported, path, fmt, SIZE, dynamic)
        return check_export(exported, path, fmt, SIZE, dynamic).largest


def export_table() -> str:
    """A Markdown table: for each architecture and form of file the largest difference, or a note with the reason."""
    reasons: list[str] = []
    head = ["architecture", *(fmt + ("" if dynamic == "none" else f", any {dynamic}") for fmt, dynamic in COLUMNS)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in track(list(architectures()), "Exporting"):
        lines.append(_row(name, reasons))
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, start=1)]
    return "\n".join([*lines, "", *notes]).rstrip() + "\n"


def _row(name: str, reasons: list[str]) -> str:
    """A line of the table; new reasons are appended."""
    model = tiny_model(name)
    cells = [f"`{name}`"]
    for fmt, dynamic in COLUMNS:
        try:
            difference = try_export(model, fmt, dynamic)
            cells.append(f"{difference:.0e}" if difference else "0")
        except MTDenseError as error:
            text = error.problem.replace("|", "\\|")
            if text not in reasons:
                reasons.append(text)
            cells.append(f"no ({reasons.index(text) + 1})")
    return "| " + " | ".join(cells) + " |"
