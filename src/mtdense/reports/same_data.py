"""Whether records are of the same data, as far as each of them depends on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mtdense.reports.run_record import RunRecord

__all__ = ["DATA_KEYS", "DataDifference", "first_difference"]

_EDGE_KEYS = ("edge_images", "train_edges", "eval_edges")
"""What only a record with edges tells, and only its scores depend on."""

DATA_KEYS = ("name", "version", "label_setting", "label_seed", "mask_checksum", "test_size", *_EDGE_KEYS)
"""What must agree before two scores may stand in one column: the data, its labels and its lists of test images."""


class DataDifference(NamedTuple):
    """Two records of different data, by the numbers that they were given in."""

    key: str
    first: int
    ours: Any
    second: int
    theirs: Any


def first_difference(records: Iterable[RunRecord], keys: Sequence[str] = DATA_KEYS) -> DataDifference | None:
    """The first two values of one key that differ, or None; a record without edges has no say in theirs."""
    known: dict[str, tuple[int, Any]] = {}
    for number, record in enumerate(records):
        for key in keys:
            if key in _EDGE_KEYS and "edges" not in record.tasks:
                continue
            theirs = record.data.get(key)
            first, ours = known.setdefault(key, (number, theirs))
            if ours != theirs:
                return DataDifference(key, first, ours, number, theirs)
    return None
