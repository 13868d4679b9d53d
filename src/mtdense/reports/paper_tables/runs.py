"""The training runs behind the rows of a table: their configuration, their folders, how far each has got."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mtdense.core.configs import merge, merged_configs
from mtdense.core.errors import ConfigError, DataError, MTDenseError
from mtdense.core.suggest import did_you_mean
from mtdense.reports.canonical import checksum, plain
from mtdense.reports.paper_tables.budgets import Budget, limited, parse_budget
from mtdense.reports.paper_tables.places import data_root, data_version
from mtdense.reports.paper_tables.structure import SINGLE_TASK, Block, PaperTable, Row, row_overrides
from mtdense.reports.paper_tables.trained_as import alike, trained_otherwise
from mtdense.reports.run_record import RunRecord
from mtdense.reports.training_run import State, TrainingRun

__all__ = ["OUT", "TableRun", "named_rows", "row_runs", "select_rows", "stored_seeds", "table_runs"]

OUT = Path("runs") / "tables"
"""Where runs of tables lie unless somebody says another folder."""

ALL = "all"
"""Names all rows of a table that have an experiment."""


@dataclass(frozen=True)
class TableRun(TrainingRun):
    """One training run behind one row or several, also of several tables.

    Args:
        seed: Its seed.
        config: Its configuration, without its folder; `data.init_args.root` is missing where nobody says where the
            data are.
        folder: Its run folder.
        name: Its folder below that of all tables' runs, such as "smoke/nyud_mtan/full/prototype-resnet18/seed0".
        rows: The rows, such as "prototype-2/one_label/mtpsl".
        task: Its task, where a row has a network per task; else None.
        budget: See `parse_budget`.
        dataset: Id of the data set.
        tasks: Tasks that it is tested on; empty: those of the experiment.
    """

    name: str
    rows: tuple[str, ...]
    task: str | None
    budget: str
    dataset: str

    @property
    def id(self) -> str:
        """Its name."""
        return self.name

    @property
    def identity(self) -> dict[str, Any]:
        """Without the folder of the data, which may move; their version is looked at instead."""
        data = dict(self.config["data"])
        data["init_args"] = {key: value for key, value in data["init_args"].items() if key != "root"}
        return {**self.config, "data": data}

    @property
    def out(self) -> Path:
        """Folder of the runs of all tables."""
        return self.folder.parents[len(PurePosixPath(self.name).parts) - 1]

    @property
    def root(self) -> Path | None:
        """Folder of its data, if somebody says it."""
        found = self.config["data"]["init_args"].get("root")
        return None if found is None else Path(found)

    @property
    def place_options(self) -> tuple[str, ...]:
        """Where the data lie now."""
        return () if self.root is None else ("--data.root", str(self.root))

    def state(self) -> State:
        """How far it has got; a run on another version of the data than the present one is `State.OTHER`.

        Raises:
            DataError: Its files are damaged.
        """
        found = super().state()
        return State.OTHER if found is State.DONE and self.other_data() is not None else found

    def ended_otherwise(self) -> str | None:
        """Also what its own record says of its configuration, its data and the number of its devices.

        Raises:
            DataError: A damaged record.
        """
        path = self.folder / "records" / "fit.json"
        found = super().ended_otherwise()
        if found is not None or not path.is_file():
            return found
        return trained_otherwise(self.config, RunRecord.read(path))

    def other_data(self) -> str | None:
        """The version of the data that it was trained on, where the present ones are of another version."""
        path = self.folder / "records" / "fit.json"
        now = None
        if path.is_file():
            with contextlib.suppress(MTDenseError):  # damaged data are a matter of the next training
                now = data_version(self.config["data"])
        trained = None if now is None else RunRecord.read(path).data.get("version")
        return None if trained == now else str(trained)

    def tested(self) -> RunRecord | None:
        """Record of the test of these weights, or None.

        Raises:
            DataError: A record that was edited, or is of another run.
        """
        record = super().tested()
        if record is not None:
            self.refuse_foreign(record)
        return record

    def refuse_foreign(self, record: RunRecord) -> None:
        """Checks that a record says what this run's configuration says.

        Raises:
            DataError: It is of another run; the message names the difference.
        """
        said = {"kind": record.kind, "seed": record.seed, "data.name": record.data.get("name")}
        wanted = {"kind": "test", "seed": self.seed, "data.name": self.dataset}
        tasks = self.config["data"]["init_args"].get("tasks")
        if tasks is not None:
            said["tasks"], wanted["tasks"] = sorted(record.tasks), sorted(tasks)
        for section in ("model", "data"):
            own, theirs = self.identity[section], record.config.get(section) or {}
            said[f"{section}.class_path"] = str(theirs.get("class_path")).rpartition(".")[2]
            wanted[f"{section}.class_path"] = str(own["class_path"]).rpartition(".")[2]
            stored = theirs.get("init_args") or {}
            for key, value in own["init_args"].items():
                if key in stored:
                    said[f"{section}.{key}"], wanted[f"{section}.{key}"] = stored[key], value
        for key, value in wanted.items():
            if not alike(said[key], value):
                raise DataError(
                    f"{self.folder / 'records' / 'test.json'} is the record of another run: {key} is {said[key]!r} "
                    f"there and {value!r} here",
                    "remove it; `mtdense table run` then tests this run again.",
                )


def row_runs(
    table: PaperTable,
    block: Block,
    row: Row,
    *,
    budget: str | Budget,
    seeds: Sequence[int] | None = None,
    out: Path = OUT,
    roots: Mapping[str, Path] | None = None,
) -> list[TableRun]:
    """The runs of a row: one per seed, and per task where it is one network per task.

    Args:
        table: The table.
        block: The row's block.
        row: The row; one without an experiment, or of a block without a data set, has no runs.
        budget: See `parse_budget`.
        seeds: Seeds; None: those of which there are folders.
        out: Folder of the runs of all tables.
        roots: {data set: folder of genuine data}.

    Raises:
        ConfigError: A configuration that cannot be read, or an unknown budget.
    """
    if row.experiment is None or block.dataset is None:
        return []
    limit = budget if isinstance(budget, Budget) else parse_budget(budget)
    reference = f"{table.id}/{block.id}/{row.id}"
    runs = []
    for task in row.tasks if row.method == SINGLE_TASK else (None,):
        config = _config(block, row, task, limit, Path(out), roots or {})
        name = _name(block, row, task, limit, _genuine(config, block, limit, Path(out)))
        for seed in stored_seeds(Path(out) / name) if seeds is None else seeds:
            own = plain({**config, "seed_everything": seed}, reference)
            folder = Path(out) / name / f"seed{seed}"
            runs.append(
                TableRun(seed, own, folder, f"{name}/seed{seed}", (reference,), task, str(limit), block.dataset)
            )
    return runs


def table_runs(table: PaperTable, rows: Iterable[tuple[Block, Row]], **options: Any) -> list[TableRun]:
    """The runs of some rows of a table, each once, with all its rows; options as for `row_runs`."""
    return unite(run for block, row in rows for run in row_runs(table, block, row, **options))


def unite(runs: Iterable[TableRun]) -> list[TableRun]:
    """Each run once, with all its rows, in the order of their first."""
    found: dict[str, TableRun] = {}
    for run in runs:
        known = found.get(run.name)
        rows = dict.fromkeys((*(known.rows if known else ()), *run.rows))
        found[run.name] = replace(known or run, rows=tuple(rows))
    return list(found.values())


def select_rows(table: PaperTable, names: Sequence[str], budget: Budget) -> list[tuple[Block, Row]]:
    """The rows to train.

    Args:
        table: The table.
        names: Row ids, with their block ("one_label/mtpsl") or without, method ids, or "all". Empty: all, but of
            `smoke` one row of each method, and those that improvements are measured against.
        budget: The budget.

    Raises:
        ConfigError: A name that the table has not, or a row without an experiment.
    """
    built = [(block, row) for block, row in table.rows if row.experiment is not None and block.dataset is not None]
    if not names and budget.name == "smoke":
        return _one_per_method(built)
    if not names or ALL in names:
        return built
    chosen = named_rows(table, names)
    for block, row in chosen:
        if row.missing is not None and {row.id, f"{block.id}/{row.id}"}.intersection(names):
            raise ConfigError(f"{table.id}, {block.id}/{row.id}: {row.missing}", "leave it out.")
    return [each for each in chosen if each in built]


def named_rows(table: PaperTable, names: Sequence[str]) -> list[tuple[Block, Row]]:
    """The rows of these names: ids, with their block or without, or method ids.

    Raises:
        ConfigError: A name that the table has not.
    """
    known = {name for block, row in table.rows for name in (row.id, f"{block.id}/{row.id}", row.method)}
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{table.id} has no row {name!r}",
                f"{did_you_mean(name, known)}Its rows are: {', '.join(f'{b.id}/{r.id}' for b, r in table.rows)}.",
            )
    return [(b, r) for b, r in table.rows if {r.id, f"{b.id}/{r.id}", r.method}.intersection(names)]


def _one_per_method(rows: Sequence[tuple[Block, Row]]) -> list[tuple[Block, Row]]:
    """The row that most tables are likely to share: without overrides, and first by its experiment's name."""
    chosen: dict[str, tuple[Block, Row]] = {}
    for block, row in sorted(rows, key=lambda each: (bool(each[1].overrides), str(each[1].experiment))):
        chosen.setdefault(row.method, (block, row))
    references = [(b, r) for b, r in rows if r.id == b.delta_reference and any(b == c for c, _ in chosen.values())]
    return [each for each in rows if each in chosen.values() or each in references]


def stored_seeds(folder: Path) -> list[int]:
    """Seeds of which there are run folders."""
    names = [path.name.removeprefix("seed") for path in folder.glob("seed*") if path.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def _config(
    block: Block, row: Row, task: str | None, budget: Budget, out: Path, roots: Mapping[str, Path]
) -> dict[str, Any]:
    dataset = str(block.dataset)
    config = merge(merged_configs([str(row.experiment)]), row_overrides(block, row, task))
    config = limited(config, budget, dataset, block.setting, row.method)
    root = data_root(dataset, budget, out, roots)
    data = {} if root is None else {"data": {"init_args": {"root": str(root)}}}
    return merge(config, data)


def _genuine(config: Mapping[str, Any], block: Block, budget: Budget, out: Path) -> bool:
    """Whether somebody names genuine data for a budget that else has a replica."""
    root, replica = config["data"]["init_args"].get("root"), data_root(str(block.dataset), budget, out, {})
    return budget.name != "full" and root is not None and Path(root) != replica


def _name(block: Block, row: Row, task: str | None, budget: Budget, genuine: bool) -> str:
    """What the run is told apart by from all others, besides its seed."""
    dataset = f"{block.dataset}-genuine" if genuine else str(block.dataset)
    stem = PurePosixPath(str(row.experiment)).stem
    # The one task of a network stands in the path.
    overrides = row.overrides if task is not None else row_overrides(block, row)
    if overrides:
        stem = f"{stem}-{checksum(plain(overrides))[:8]}"
    return "/".join(filter(None, (str(budget), dataset, block.setting, stem, task)))
