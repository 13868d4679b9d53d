"""Contact sheets of the networks behind a table's rows, side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdense.core.errors import DataError
from mtdense.core.words import counted

if TYPE_CHECKING:
    from data_modules import DenseDataModule
    from mtdense.models import DenseModule
    from mtdense.reports import ContactRow
    from mtdense.reports.paper_tables.pictures import Picture
    from mtdense.reports.paper_tables.shown import ShownBlock, Source

__all__ = ["IMAGES", "block_sheets"]

IMAGES = 3
"""Test images of a sheet."""


def block_sheets(block: ShownBlock) -> list[Picture]:
    """One picture for each task: the first test images, their labels, and each row's predictions by its first seed.

    Rows without a checkpoint are left out.

    Raises:
        DataError: A checkpoint of other bytes than those that were tested, or data that cannot be read.
        CheckpointError: A checkpoint that is damaged or of untrusted classes.
    """
    import torch

    from mtdense.models.checkpoint import load
    from mtdense.reports import contact_sheet
    from mtdense.reports.paper_tables.pictures import embedded
    from mtdense.tasks import build_tasks

    networks = [(name, source, load(_checkpoint(source))) for name, source in _first_seed(block)]
    pictures = []
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for task in block.block.tasks:
            shown = [each for each in networks if task in each[1].record.tasks]
            if not shown:
                continue
            data = _data(shown[0][1])
            rows = _rows(data, task, [(name, model) for name, _, model in shown])
            path = contact_sheet(rows, build_tasks({task: data.task_specs[task]}), Path(folder) / f"{task}.png")
            caption = (
                f"{task.replace('_', ' ')}: test images, labels, and predictions by the networks of the first seed"
            )
            names = ", ".join(name for name, _, _ in shown)
            pictures.append(
                embedded(path, caption, f"{task} of {counted(len(rows), 'test image')}: image, label, {names}")
            )
    return pictures


def _first_seed(block: ShownBlock) -> Iterator[tuple[str, Source]]:
    """(name of the row, one of the tests of its first seed that have a checkpoint)."""
    labels = [row.row.label for row in block.rows]
    for row in block.rows:
        name = row.row.label if labels.count(row.row.label) == 1 else row.row.id
        for source in row.sources:
            if source.run.seed == row.sources[0].run.seed and _place(source).is_file():
                yield name, source


def _place(source: Source) -> Path:
    return source.run.folder / "checkpoints" / "last.ckpt"


def _checkpoint(source: Source) -> Path:
    from mtdense.reports.canonical import file_checksum

    path = _place(source)
    if file_checksum(path) != source.record.checkpoint_sha256:
        raise DataError(
            f"{path} is not the checkpoint that {source.path} is the test of: its checksum is another",
            "run `mtdense table run` again, or leave out --sheet.",
        )
    return path


def _data(source: Source) -> DenseDataModule:
    from mtdense.cli.building import build_data
    from mtdense.models.checkpoint import read_checkpoint

    options = getattr(source.run, "place_options", ())
    data = build_data(read_checkpoint(_place(source)), (), list(options))
    data.setup("test")
    return data


def _rows(data: DenseDataModule, task: str, models: Sequence[tuple[str, DenseModule]]) -> list[ContactRow]:
    from mtdense.reports import rows_from_batch

    rows: list[ContactRow] = []
    cut: Any
    loader: Any = data.test_dataloader()
    for batch in loader:
        peers = {name: {task: model.predict_batch(batch)[task]} for name, model in models}
        cut = {**batch, "targets": {task: batch["targets"][task]}} if task in batch["targets"] else batch
        rows += rows_from_batch(cut, {}, IMAGES - len(rows), peers=peers)
        if len(rows) >= IMAGES:
            break
    return rows
