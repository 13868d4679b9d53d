"""Contact sheets of the networks behind a table."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_modules import ProceduralDataModule
from mtdense.cli import table_sheet
from mtdense.models import DenseModule, MTLBaseline, checkpoint


def test_one_network_at_a_time_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of twenty large ones would not fit."""
    data = ProceduralDataModule(tasks=["semseg", "depth"], test_images=4, size=(32, 40), eval_batch_size=2)
    data.setup("test")
    alive: weakref.WeakSet[DenseModule] = weakref.WeakSet()

    def load(path: Path) -> DenseModule:
        gc.collect()
        assert not alive
        alive.add(model := MTLBaseline(tasks=data.task_specs, backbone="tiny", preset="tiny").eval())
        return model

    found = [("one", ["semseg", "depth"]), ("two", ["depth"]), ("three", ["semseg", "depth"])]
    sources = [(name, SimpleNamespace(record=SimpleNamespace(tasks=tasks))) for name, tasks in found]
    monkeypatch.setattr(checkpoint, "load", load)
    monkeypatch.setattr(table_sheet, "_first_seed", lambda block: iter(sources))
    monkeypatch.setattr(table_sheet, "_checkpoint", lambda source: tmp_path)
    monkeypatch.setattr(table_sheet, "_data", lambda source: data)
    block: Any = SimpleNamespace(block=SimpleNamespace(tasks=["semseg", "normals", "depth"]))
    assert [picture.alt for picture in table_sheet.block_sheets(block)] == [
        "semseg of 3 test images: image, label, one, three",
        "depth of 3 test images: image, label, one, two, three",
    ]
