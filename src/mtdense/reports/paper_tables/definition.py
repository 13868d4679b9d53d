"""Reads a printed table of a paper from its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mtdense.core.errors import ConfigError
from mtdense.core.experiments import experiments_root
from mtdense.core.suggest import did_you_mean
from mtdense.reports.paper_tables.reader import Reader, read_mapping
from mtdense.reports.paper_tables.structure import (
    COSTS,
    METRIC_NAMES,
    SETTINGS,
    Block,
    CostCount,
    PaperColumn,
    PaperTable,
    Printed,
    Row,
)
from mtdense.reports.profile import COUNTERS
from mtdense.tasks.registry import task_names

__all__ = ["read_table", "table_ids"]

_FOLDER = "tables"
_VALUE_KINDS = ("absolute", "improvement")
_BLOCK_KEYS = ("id", "dataset", "setting", "value_kind", "delta_reference", "note", "columns", "costs", "rows")
_ROW_KEYS = (
    *("id", "method", "backbone", "label", "tasks", "experiment", "overrides", "costs", "paper"),
    *("suspect", "missing", "note"),
)
# Of the run, not of the row: whoever runs it gives these.
_RESERVED = ("seed_everything", "run_dir", "log_dir", "ckpt_path", "overwrite", "variant", "extends")
_TASK_OPTIONS = ("tasks", "mask_tasks", "only_labelled")


def table_ids() -> list[str]:
    """Ids of the shipped tables, by system and number."""

    def order(name: str) -> tuple[str, bool, int, str]:
        system, _, number = name.rpartition("-")
        return system, not number.isdigit(), int(number) if number.isdigit() else 0, number

    return sorted((path.stem for path in (experiments_root() / _FOLDER).glob("*.yaml")), key=order)


def read_table(id_or_path: str | Path) -> PaperTable:
    """Reads a table.

    Args:
        id_or_path: Id of a shipped table, or the path of a file.

    Raises:
        ConfigError: There is none, or it is not as it should be; the message names file, row and key.
    """
    path = Path(id_or_path)
    if path.suffix != ".yaml":
        known = table_ids()
        if str(id_or_path) not in known:
            raise ConfigError(
                f"there is no table {str(id_or_path)!r}",
                f"{did_you_mean(id_or_path, known)}The tables are: {', '.join(known)}.",
            )
        path = experiments_root() / _FOLDER / f"{id_or_path}.yaml"
    return _table(Reader(str(path), "", read_mapping(path)), path)


def _table(reader: Reader, path: Path) -> PaperTable:
    reader.only("id", "system", "paper", "table", "caption", "status", "blocks", "errata")
    table = PaperTable(
        id=reader.text("id"),
        system=reader.text("system"),
        paper=reader.text("paper"),
        table=reader.text("table"),
        caption=reader.text("caption"),
        status=reader.choice("status", ("complete", "lost")),
        blocks=tuple(_block(block) for block in reader.children("blocks")),
        errata=tuple(_erratum(erratum) for erratum in reader.children("errata", id_key=None)),
        source=path,
    )
    if table.id != path.stem:
        raise reader.error(f"its id is {table.id!r}", f"name the file {table.id}.yaml, or correct the id.")
    if not table.blocks or (table.status == "complete" and not all(block.rows for block in table.blocks)):
        raise reader.error("a complete table has a block without rows", "fill it in, or say `status: lost`.")
    return table


def _erratum(reader: Reader) -> dict[str, str]:
    reader.only("kind", "where", "detail")
    return {key: reader.text(key) for key in ("kind", "where", "detail")}


def _block(reader: Reader) -> Block:
    reader.only(*_BLOCK_KEYS)
    columns = tuple(_column(column) for column in reader.children("columns", id_key="task"))
    tasks = tuple(column.task for column in columns)
    costs = _costs(reader.child("costs")) if reader.has("costs") else None
    block = Block(
        id=reader.text("id"),
        dataset=reader.optional_text("dataset"),
        setting=reader.choice("setting", SETTINGS),
        value_kind=reader.choice("value_kind", _VALUE_KINDS),
        delta_reference=reader.optional_text("delta_reference"),
        note=reader.optional_text("note") or "",
        columns=columns,
        costs=costs,
        rows=tuple(_row(row, tasks, costs) for row in reader.children("rows")),
    )
    ids = [row.id for row in block.rows]
    for key, named in (("delta_reference", block.delta_reference), ("costs.extra_to", costs and costs.extra_to)):
        if named is not None and named not in ids:
            raise reader.error(f"{key} is {named!r}, which is no row of the block", f"name one of: {', '.join(ids)}.")
    if (block.dataset is None) != (not columns):
        raise reader.error("a data set goes with columns of scores", "give both, or neither (costs alone).")
    if not columns and costs is None:
        raise reader.error("there are neither columns nor costs", "give `columns` or `costs`.")
    if block.value_kind == "improvement" and block.delta_reference is None:
        raise reader.error("improvements over no row", "name it in `delta_reference`.")
    return block


def _column(reader: Reader) -> PaperColumn:
    reader.only("task", "metric", "better", "unit", "decimals")
    return PaperColumn(
        task=reader.choice("task", task_names()),
        metric=reader.choice("metric", tuple(METRIC_NAMES)),
        higher_is_better=reader.choice("better", ("higher", "lower")) == "higher",
        unit=reader.text("unit"),
        decimals=reader.whole("decimals"),
    )


def _costs(reader: Reader) -> CostCount:
    reader.only("size", "count", "columns", "extra_to", "overrides")
    found = CostCount(
        size=_size(reader),
        count=reader.choice("count", COUNTERS),
        columns=reader.choices("columns", COSTS),
        extra_to=reader.optional_text("extra_to"),
        overrides=_overrides(reader),
    )
    if not found.columns or ("extra_params_m" in found.columns) != (found.extra_to is not None):
        raise reader.error("`extra_params_m` and `extra_to` go together", "name the row that extra counts from.")
    return found


def _size(reader: Reader) -> tuple[int, int]:
    size = reader.wholes("size")
    if len(size) != 2 or min(size) < 1:
        raise reader.error(f"size is {list(size)}", "give height and width.")
    return size[0], size[1]


def _row_costs(reader: Reader, costs: CostCount | None) -> CostCount | None:
    """The block's way of counting, with what the row changes of it."""
    if not reader.content:
        return costs
    if costs is None:
        raise reader.error("the row has costs, its block has none", "give the block's first.")
    reader.only("size", "count", "overrides")
    return replace(
        costs,
        size=_size(reader) if reader.has("size") else costs.size,
        count=reader.choice("count", COUNTERS) if reader.has("count") else costs.count,
        overrides=_overrides(reader) if reader.has("overrides") else costs.overrides,
    )


def _row(reader: Reader, block_tasks: tuple[str, ...], costs: CostCount | None) -> Row:
    reader.only(*_ROW_KEYS)
    experiment, missing = reader.optional_text("experiment"), reader.optional_text("missing")
    if (experiment is None) == (missing is None):
        raise reader.error(
            "there must be one of `experiment` and `missing`", "name an experiment, or say why there is none."
        )
    tasks = reader.choices("tasks", block_tasks) if reader.has("tasks") else block_tasks
    return Row(
        id=reader.text("id"),
        method=reader.text("method"),
        backbone=reader.optional_text("backbone"),
        label=reader.text("label"),
        experiment=experiment,
        overrides=_overrides(reader),
        paper=_printed(reader.child("paper"), tasks, costs),
        suspect=reader.choices("suspect", tasks),
        missing=missing,
        note=reader.optional_text("note") or "",
        tasks=tuple(task for task in block_tasks if task in tasks),
        costs=_row_costs(reader.child("costs"), costs),
    )


def _overrides(reader: Reader) -> dict[str, Any]:
    overrides = reader.mapping("overrides")
    for key in overrides:
        if key in _RESERVED:
            raise reader.error(f"overrides sets `{key}`", "leave it out: each run is given its own.")
    for key in _TASK_OPTIONS:
        data = overrides.get("data")
        if isinstance(data, dict) and key in (data.get("init_args") or {}):
            raise reader.error(f"overrides sets `data.init_args.{key}`", "name the row's `tasks` instead.")
    return overrides


def _printed(reader: Reader, tasks: tuple[str, ...], costs: CostCount | None) -> Printed:
    reader.only("values", "corrected", "gains", "delta_m", "cost")
    found = Printed(
        values=reader.numbers("values", tasks),
        corrected=reader.numbers("corrected", tasks),
        gains=reader.numbers("gains", tasks),
        delta_m=reader.number("delta_m") if reader.has("delta_m") else None,
        cost=reader.numbers("cost", costs.columns if costs else ()),
    )
    for task in (*found.corrected, *found.gains):
        if task not in found.values:
            raise reader.error(f"{task} is corrected or gains without a printed value", "give it in `values`.")
    return found
