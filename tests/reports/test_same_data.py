"""Records of one table must be of the same data, as far as each depends on it."""

from __future__ import annotations

from typing import Any

import pytest

from mtdense.core.errors import DataError
from mtdense.reports.same_data import DATA_KEYS, first_difference
from mtdense.reports.table import build_table
from tests.reports.helpers import DATA, make_record

EDGES = {"edge_images": "all", "train_edges": "laplacian", "eval_edges": "seism"}


def record(*tasks: str, **data: Any) -> Any:
    return make_record("single_task" if len(tasks) == 1 else "mtl_baseline", dict.fromkeys(tasks, 0.5), data=data)


def test_what_only_edges_depend_on_is_asked_of_records_with_edges() -> None:
    alone = [record("semseg", **DATA), record("edges", **DATA, **EDGES)]
    both = record("semseg", "edges", **DATA, **EDGES)
    assert first_difference([*alone, both]) is None
    assert (
        build_table([(str(number), each) for number, each in enumerate([*alone, both])]).data["eval_edges"] == "seism"
    )


@pytest.mark.parametrize("key", EDGES)
def test_records_with_edges_must_agree_though_the_first_has_none(key: str) -> None:
    records = [
        record("semseg", **DATA),
        record("edges", **DATA, **EDGES),
        record("semseg", "edges", **DATA, **{**EDGES, key: "other"}),
    ]
    assert first_difference(records) == (key, 1, EDGES[key], 2, "other")
    with pytest.raises(DataError, match=f"b has {key} '{EDGES[key]}' but c has 'other'"):
        build_table(list(zip("abc", records, strict=True)))


def test_the_first_difference_is_told() -> None:
    records = [record("semseg", **DATA, test_size=6), record("semseg", **DATA, test_size=7)]
    assert first_difference(records) == ("test_size", 0, 6, 1, 7)
    assert "version" in DATA_KEYS and first_difference(records, ["version"]) is None
