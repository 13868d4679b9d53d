"""What tells a row of ours apart from the paper's own experiment; every format shows it in the row and explains it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtdense.reports.paper_tables.structure import Row
from mtdense.reports.run_record import RunRecord

__all__ = ["CELL_SIGNS", "Mark", "missing_mark", "not_run_mark", "record_marks"]

CELL_SIGNS = {
    "corrected": "a figure with another in square brackets is proved by arithmetic; the brackets hold the print",
    "suspect": "a figure with a question mark is probably of another metric and is not compared",
    "formed": "a Δm in round brackets is not printed; it follows from the printed figures",
}
"""Signs of single cells: [ ], ? and ( )."""

_MEANINGS = {
    "missing": "the suite lacks this method or its data: the paper's figures only",
    "not run": "nothing is measured with this budget yet",
    "smoke": "a few steps that show that everything runs; the scores mean nothing",
    "short": "trained with a reduced budget, not by the paper's recipe",
    "steps": "trained for another number of steps than the paper's recipe",
    "network": "another network than the row's, such as a smaller backbone: not the paper's method at its size",
    "images": "images of another size than the row's",
    "replica": "trained and tested on procedural scenes in the data set's file layout, not on the data set",
    "procedural": "trained and tested on procedural scenes, not on the data set",
}
_INCOMPARABLE = frozenset({"smoke", "network", "images", "replica", "procedural"})


@dataclass(frozen=True)
class Mark:
    """Something that a row must not be read without.

    Args:
        kind: Key of its meaning.
        text: As it stands in the row.
    """

    kind: str
    text: str

    @property
    def meaning(self) -> str:
        """A sentence for the legend."""
        return _MEANINGS[self.kind]

    @property
    def comparable(self) -> bool:
        """Whether the row's figures may stand against the paper's all the same."""
        return self.kind not in _INCOMPARABLE


def missing_mark() -> Mark:
    """Of a row that the suite lacks."""
    return Mark("missing", "paper only")


def not_run_mark() -> Mark:
    """Of a row without results."""
    return Mark("not run", "not run")


def record_marks(budget: str, row: Row, record: RunRecord, own: Mapping[str, Any] | None) -> list[Mark]:
    """Those of a test.

    Args:
        budget: Of its run, such as smoke or short@120.
        row: The row it stands in.
        record: The test.
        own: Configuration of the row's own experiment; None: only the row's backbone is known.
    """
    name, at, _ = budget.partition("@")
    found = [Mark("steps" if name == "full" else name, budget)] if name != "full" or at else []
    model = dict(((own or {}).get("model") or {}).get("init_args") or {})
    data = dict(((own or {}).get("data") or {}).get("init_args") or {})
    used = dict((record.config.get("model") or {}).get("init_args") or {})
    backbone = row.backbone if own is None else model.get("backbone")
    if isinstance(backbone, Mapping):
        backbone = backbone.get("name")
    if backbone is not None and record.backbone != backbone:
        found.append(Mark("network", f"backbone {record.backbone}"))
    preset = model.get("preset")
    if preset is not None and used.get("preset", preset) != preset:
        found.append(Mark("network", f"preset {used['preset']}"))
    size = record.data.get("size")
    if data.get("size") is not None and size is not None and list(size) != list(data["size"]):
        found.append(Mark("images", f"images {'x'.join(map(str, size))}"))
    return found + _data_marks(record)


def _data_marks(record: RunRecord) -> list[Mark]:
    version = str(record.data.get("version"))
    if version.startswith("replica-"):
        return [Mark("replica", "replica")]
    if record.data.get("name") == "procedural" or version.startswith("procedural-"):
        return [Mark("procedural", "procedural scenes")]
    return []
