"""Contact sheets of the networks behind a table's rows, side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdense.core.errors import DataError
from mtdense.core.words import counted

if TYPE_CHECKING:
    from data_modules import DenseDataModule
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

    from mtdense.reports import contact_sheet
    from mtdense.reports.paper_tables.pictures import embedded
    from mtdense.tasks import build_tasks

    networks = [(name, source, _checkpoint(source)) for name, source in _first_seed(block)]
    drafts: dict[str, _Draft] = {}
    pictures = []
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name, source, checkpoint in networks:
            _predict(
                drafts, [task for task in block.block.tasks if task in source.record.tasks], name, source, checkpoint
            )
        for task in block.block.tasks:
            if task not in drafts:
                continue
            draft = drafts[task]
            rows = draft.rows(task)
            path = contact_sheet(rows, build_tasks({task: draft.data.task_specs[task]}), Path(folder) / f"{task}.png")
            caption = (
                f"{task.replace('_', ' ')}: test images, labels, and predictions by the networks of the first seed"
            )
            names = ", ".join(draft.peers[0])
            pictures.append(
                embedded(path, caption, f"{task} of {counted(len(rows), 'test image')}: image, label, {names}")
            )
    return pictures


@dataclass
class _Draft:
    """A sheet in the making: batches of the first test images, and of each {row: {task: prediction}}."""

    data: DenseDataModule
    batches: list[Any]
    peers: list[dict[str, dict[str, Any]]]

    def rows(self, task: str) -> list[ContactRow]:
        from mtdense.reports import rows_from_batch

        rows: list[ContactRow] = []
        cut: Any
        for batch, peers in zip(self.batches, self.peers, strict=True):
            cut = {**batch, "targets": {task: batch["targets"][task]}} if task in batch["targets"] else batch
            rows += rows_from_batch(cut, {}, IMAGES - len(rows), peers=peers)
        return rows


def _predict(drafts: dict[str, _Draft], tasks: Sequence[str], name: str, source: Source, checkpoint: Path) -> None:
    """Adds a network's predictions; only this one is in memory, for those of a whole table may not fit together."""
    from mtdense.models.checkpoint import load

    model = load(checkpoint)
    for task in tasks:
        if task not in drafts:
            data = _data(source)
            batches = _first_batches(data)
            drafts[task] = _Draft(data, batches, [{} for _ in batches])
        for batch, peers in zip(drafts[task].batches, drafts[task].peers, strict=True):
            peers[name] = {task: model.predict_batch(batch)[task]}


def _first_batches(data: DenseDataModule) -> list[Any]:
    """As few as have the images of a sheet, or all there are."""
    batches: list[Any] = []
    loader: Any = data.test_dataloader()
    for batch in loader:
        batches.append(batch)
        if sum(len(each["id"]) for each in batches) >= IMAGES:
            break
    return batches


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
