"""How `mtdense data check` prints what it found."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mtdense.reports.data_findings import DataCheck, PartCheck
from mtdense.reports.label_statistics import BoxStatistics, LabelStatistics

__all__ = ["print_check"]

_STYLES = {"missing": "red", "corrupt": "red", "notice": "yellow"}
_MOST_SIZES = 3


def print_check(check: DataCheck) -> None:
    """Prints a table for the images and for each task, what is wrong, and where the data are published."""
    console = Console(highlight=False, soft_wrap=True)
    if not sys.stdout.isatty():
        # Wide enough never to fold a cell: the text goes to a file or a pipe.
        console = Console(width=200, color_system=None, highlight=False, soft_wrap=True)
    how = "every image decoded" if check.samples is None else f"up to {check.samples} images of each split decoded"
    console.print(f"{check.dataset} in {check.root or 'memory'}: {how}", markup=False)
    if check.version is not None:
        console.print(f"data version {check.version}", markup=False)
    for task in dict.fromkeys(part.task for part in check.parts):
        parts = [part for part in check.parts if part.task == task]
        console.print()
        console.print(_table(task, parts))
        classes = [part.statistics for part in parts if part.statistics is not None and part.statistics.class_names]
        if classes:
            console.print(_histogram([part.split for part in parts], classes))
    _print_findings(console, check)


def _table(task: str | None, parts: list[PartCheck]) -> Table:
    table = Table(title=task or "images", title_justify="left", title_style="bold", box=None, pad_edge=False)
    heads = ("split", "found", "expected", "decoded", "corrupt", "empty", "valid", "values")
    for head in ("split", "found", "expected", "decoded", "corrupt", "sizes") if task is None else heads:
        table.add_column(head, justify="left" if head in ("split", "values", "sizes") else "right")
    for part in parts:
        counts = [part.found, "–" if part.expected is None else part.expected, part.decoded, part.corrupt]
        if part.statistics is None:
            last = [_sizes(part)]
        else:
            share = part.statistics.valid_share
            last = [str(part.statistics.empty), "–" if share is None else f"{share:.1%}", _values(part.statistics)]
        table.add_row(part.split, *map(str, counts), *last)
    return table


def _sizes(part: PartCheck) -> str:
    few = [f"{h}×{w}" + (f" ({n})" if len(part.sizes) > 1 else "") for (h, w), n in part.sizes.most_common(_MOST_SIZES)]
    more = len(part.sizes) - len(few)
    return ", ".join(few) + (f" and {more} more" if more else "") or "–"


def _values(statistics: LabelStatistics | BoxStatistics) -> str:
    """Range and mean of what is measured, share of positives, number of classes seen; of boxes, number and range."""
    if isinstance(statistics, BoxStatistics):
        if statistics.nearest is None:
            return f"no box, {statistics.ignored} regions to ignore"
        seen = f"{int((statistics.histogram > 0).sum())} of {len(statistics.histogram)} classes"
        told = f"{statistics.boxes} boxes of {seen}, {statistics.nearest:.3g} to {statistics.farthest:.3g} metres away"
        return f"{told}; {statistics.ignored} regions to ignore"
    if statistics.low is None or statistics.high is None or statistics.total is None:
        return "–"
    if statistics.class_names:
        return f"{int((statistics.histogram > 0).sum())} of {len(statistics.histogram)} classes"
    if len(statistics.histogram):
        return f"{statistics.shares[1]:.2%} positive"
    means = statistics.total / statistics.valid
    unit = statistics.task.spec.get("unit")
    axes = ["x ", "y ", "z "] if len(means) == 3 else [""] * len(means)
    ranges = zip(axes, statistics.low, statistics.high, means, strict=True)
    text = ", ".join(f"{axis}{low:.3g} to {high:.3g} (mean {mean:.3g})" for axis, low, high, mean in ranges)
    return f"{text} {unit}" if unit else text


def _histogram(splits: list[str], statistics: Sequence[LabelStatistics | BoxStatistics]) -> Table:
    """Share of the valid pixels, or of the boxes, of each class in every split; classes of no split come last."""
    table = Table(box=None, pad_edge=False, caption_justify="left", caption_style="")
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    unseen = []
    for class_id, name in enumerate(statistics[0].class_names):
        if any(known.histogram[class_id] for known in statistics):
            table.add_row(name, *(f"{known.shares[class_id]:.2%}" for known in statistics))
        else:
            unseen.append(name)
    table.caption = f"not seen: {', '.join(unseen)}" if unseen else None
    return table


def _print_findings(console: Console, check: DataCheck) -> None:
    console.print()
    for finding in check.findings:
        console.print(f"[{_STYLES[finding.kind]}]{finding.kind}[/]", end=" ")
        console.print(f"{finding.where}: {finding.text}", markup=False)
        if finding.mend:
            console.print(f"  Mend: {finding.mend}", markup=False)
    if check.faults and check.where:
        console.print(f"Source: {check.where}", markup=False)
    if check.manifest:
        console.print(f"manifest {check.manifest}", markup=False)
    if check.faults:
        console.print(f"[red]{len(check.faults)} fault{'s' * (len(check.faults) != 1)}[/]")
    else:
        console.print(
            "[green]no fault found[/]" if check.samples is None else "[green]no fault found in this sample[/]"
        )
