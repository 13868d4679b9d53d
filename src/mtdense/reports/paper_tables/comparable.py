"""Which records may stand in a table, and which beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mtdense.core.errors import DataError
from mtdense.reports.paper_tables.shown import Run, Source
from mtdense.reports.paper_tables.structure import Block, Row
from mtdense.reports.run_record import RunRecord
from mtdense.reports.same_data import DATA_KEYS, first_difference

__all__ = ["check_block", "check_pair", "read_source", "single_backbone"]

_FOREIGN = "it is of another run: remove its folder, and the run is done again."


def read_source(block: Block, row: Row, run: Run) -> Source | None:
    """The test of a run, or None while there is none.

    Raises:
        DataError: A damaged or edited record, or one of something else than this run.
    """
    path = run.folder / "records" / "test.json"
    record = run.tested()
    if record is None:
        return None
    for what, found, expected in _claims(block, row, run, record):
        if found != expected:
            raise DataError(f"{path} has {what} {found!r}, but {row.id} is of {expected!r}", _FOREIGN)
    return Source(run, path, record, str(record.to_dict()["record_sha256"]))


def _claims(block: Block, row: Row, run: Run, record: RunRecord) -> Iterator[tuple[str, Any, Any]]:
    """(what, value in the record, value that the row must have); the run itself compares its configuration."""
    yield "kind", record.kind, "test"
    yield "seed", record.seed, run.seed
    expected = [run.task] if run.task is not None else list(row.tasks)
    yield "tasks", sorted(record.tasks), sorted(expected)
    name = record.data.get("name")
    if name != "procedural":
        yield "data", name, block.dataset
    yield "label setting", record.data.get("label_setting"), block.setting


def check_block(sources: Sequence[Source]) -> None:
    """Refuses scores of different data or metrics in one block.

    Raises:
        DataError: Two records differ in data version, label setting, mask or list of test images, or in the unit,
            direction or protocol of a metric; the message names both files and what differs.
    """
    _check_data(sources, DATA_KEYS)
    metrics: dict[tuple[str, str], tuple[Any, Source]] = {}
    for source in sources:
        for metric in source.record.metrics:
            facts = {"unit": metric.unit, "direction": metric.higher_is_better, "protocol": metric.protocol}
            known, first = metrics.setdefault((metric.task, metric.name), (facts, source))
            for key, value in facts.items():
                if known[key] != value:
                    raise _unlike(first, source, f"{key} of {metric.task}/{metric.name}", known[key], value)


def check_pair(sources: Sequence[Source], references: Sequence[Source]) -> None:
    """Refuses a comparison of two rows of ours whose networks did not see the same.

    Raises:
        DataError: They differ in data, image size, or backbone, though the table gives both the same.
    """
    for source in sources:
        for reference in references:
            _check_data([reference, source], (*DATA_KEYS, "size"))
            ours, theirs = source.record.backbone, reference.record.backbone
            if ours != theirs:
                raise _unlike(reference, source, "backbone", theirs, ours)


def single_backbone(row: Row, reference: Row) -> bool:
    """Whether the table itself does not name two backbones; what it leaves open, `check_pair` finds in the records."""
    return row.backbone == reference.backbone or None in (row.backbone, reference.backbone)


def _check_data(sources: Sequence[Source], keys: Sequence[str]) -> None:
    if any(source.record.data.get("label_setting") == "full" for source in sources):
        # The mask of all labels is one of the tasks that a network has.
        keys = [key for key in keys if key != "mask_checksum"]
    found = first_difference((source.record for source in sources), keys)
    if found is not None:
        what, first, second = found.key.replace("_", " "), sources[found.first], sources[found.second]
        raise _unlike(first, second, what, found.ours, found.theirs)


def _unlike(first: Source, second: Source, what: str, ours: Any, theirs: Any) -> DataError:
    return DataError(
        f"{first.path} has {what} {ours!r} but {second.path} has {theirs!r}: not comparable in one table",
        "run the older of the two again on the data of now, or show the table from another folder.",
    )
