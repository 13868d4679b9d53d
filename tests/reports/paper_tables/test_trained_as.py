"""Whether what lies in a run's folder was trained, and tested, as the run's plan says."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtdense.core.configs import merge
from mtdense.core.errors import ConfigError, DataError
from mtdense.reports import RunRecord, load_records
from mtdense.reports.paper_tables.budgets import Budget, limited
from mtdense.reports.paper_tables.cells import shown_table
from mtdense.reports.paper_tables.runs import TableRun
from mtdense.reports.paper_tables.session import finished, stale_because
from mtdense.reports.paper_tables.trained_as import world_size
from mtdense.reports.paper_tables.verify import verify_run
from mtdense.reports.training_run import State, partial_test
from tests.reports.paper_tables.table_helpers import fill, runs_of, write_table


@pytest.fixture
def run(tmp_path: Path) -> TableRun:
    """A tested one of the paper's budget, which epochs bound."""
    (found,) = runs_of(write_table(tmp_path), tmp_path / "out", "plain", budget="full")
    epochs = replace(found, config=merge(found.config, {"trainer": {"max_epochs": 3, "max_steps": -1}}))
    fill(epochs, steps=6)
    assert (epochs.max_steps, epochs.state(), finished(epochs)) == (None, State.DONE, True)
    return epochs


def rewrite(run: TableRun, kind: str = "fit", config: Mapping[str, Any] | None = None, **changes: Any) -> None:
    """The run's record as another command would have left it."""
    path = run.folder / "records" / f"{kind}.json"
    own = merge(copy.deepcopy(run.config), config or {})
    replace(RunRecord.read(path), config=own, **changes).write(path)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"trainer": {"max_epochs": 2}}, "trainer.max_epochs"),
        ({"trainer": {"max_time": "00:00:01:00"}}, "trainer.max_time"),
        ({"trainer": {"accumulate_grad_batches": 4}}, "trainer.accumulate_grad_batches"),
        ({"trainer": {"precision": "bf16-mixed"}}, "trainer.precision"),
        (
            {"trainer": {"callbacks": [{"class_path": "lightning.pytorch.callbacks.EarlyStopping"}]}},
            "trainer.callbacks",
        ),
        ({"trainer": {"limit_train_batches": 2}}, r"part of its data \(limit_train_batches 2\)"),
        ({"trainer": {"limit_train_batches": 1}}, r"part of its data \(limit_train_batches 1\)"),
        ({"trainer": {"fast_dev_run": True}}, r"part of its data \(fast_dev_run True\)"),
        ({"model": {"init_args": {"lr": 7.0}}}, "model.lr"),
        # Not in the plan, so that its default is what was meant.
        ({"model": {"init_args": {"momentum": 0.1}}}, "model.momentum"),
        ({"data": {"init_args": {"label_seed": 3}}}, "data.label_seed"),
        ({"model": {"class_path": "mtdense.models.Prototype"}}, "model.class_path"),
    ],
    ids=[
        "epochs",
        "time",
        "parts",
        "precision",
        "callback",
        "batches",
        "batch",
        "trial",
        "lr",
        "default",
        "mask",
        "class",
    ],
)
def test_a_training_of_another_configuration_is_stale(run: TableRun, config: dict[str, Any], told: str) -> None:
    rewrite(run, config=config)
    assert run.state() is State.OTHER and not finished(run)
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(stale_because(run))


def test_what_changes_no_weights_does_not_matter(run: TableRun) -> None:
    filled_in = {
        "trainer": {"max_time": None, "limit_train_batches": 1.0, "log_every_n_steps": 1, "callbacks": None},
        "model": {"init_args": {"momentum": 0.9}},
        "data": {"init_args": {"num_workers": 7, "eval_batch_size": 1}},
    }
    rewrite(run, config=filled_in)
    assert finished(run) and stale_because(run) is None


@pytest.mark.parametrize(
    ("batch", "world", "told"),
    [
        (8, 1, None),
        (2, 4, None),  # by torchrun, the batch divided
        (8, 4, "batches of 32 images (4 devices), not of 8"),  # what `devices: auto` did on four devices
        (4, 1, "batches of 4 images (1 device), not of 8"),
    ],
    ids=["one", "divided", "multiplied", "smaller"],
)
def test_the_batch_is_that_of_all_devices(run: TableRun, batch: int, world: int, told: str | None) -> None:
    assert run.config["data"]["init_args"]["batch_size"] == 8
    trainer = {"devices": world if batch == 2 else 1, "num_nodes": 1}
    rewrite(run, config={"data": {"init_args": {"batch_size": batch}}, "trainer": trainer}, world_size=world)
    assert (stale_because(run) or "").removeprefix("a training of ") == (told or "")
    # A record from before the number was written down.
    rewrite(run, config={"trainer": {"devices": "auto"}}, world_size=None)
    assert "unknown number of devices" in str(stale_because(run))
    rewrite(run, config={"trainer": {"devices": 1}}, world_size=None)
    assert finished(run)


def test_every_budget_trains_on_one_device(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    for budget in ("smoke", "short", "full", "full@3"):
        (found,) = runs_of(table, tmp_path, "plain", budget=budget)
        assert world_size(found.config) == 1, budget
    given = {"model": {}, "data": {}}
    for devices, wanted in ((None, 1), ("auto", 1), (-1, 1), (4, 4), ([0, 2], 2)):
        made = limited({**given, "trainer": {"devices": devices}}, Budget("full"), "x", "full", "y")
        assert world_size(made) == wanted and made["trainer"]["num_nodes"] == 1
    assert world_size({"trainer": {"devices": 2, "num_nodes": 3}}) == 6 and world_size({}) is None
    for limit in ({"limit_test_batches": 2}, {"limit_train_batches": 0.5}, {"fast_dev_run": True}):
        with pytest.raises(ConfigError, match=f"leaves data out: trainer.{next(iter(limit))}"):
            limited({**given, "trainer": limit}, Budget("full"), "x", "full", "y")


def test_a_test_of_a_part_of_the_data_is_none(run: TableRun, tmp_path: Path) -> None:
    path = run.folder / "records" / "test.json"
    whole = RunRecord.read(path)
    # As the program wrote it before it told parts apart: over the whole test, its limit in the configuration alone.
    rewrite(run, "test", {"trainer": {"limit_test_batches": 2}})
    told = "its only test is of a part of the data (limit_test_batches 2, test.json)"
    assert run.tested() is None and not finished(run) and partial_test(run.folder) == told
    with pytest.raises(DataError, match="part of the data only"):
        load_records([path])
    with pytest.warns(UserWarning, match="is left out"), pytest.raises(DataError, match="holds no test record"):
        load_records([run.folder])
    # As it does now: beside it.
    path.unlink()
    replace(whole, limits={"limit_test_batches": 2}).write(path.with_name("test-partial.json"))
    told = told.replace("test.json", "test-partial.json")
    assert run.tested() is None and partial_test(run.folder) == told
    with pytest.raises(DataError, match="no test that could be verified: its only test is of a part"):
        verify_run(run, {})
    table = write_table(tmp_path)
    shown = shown_table(table, lambda block, row: [run] if row.id == "plain" else [])
    (row,) = [each for _, each in shown.rows if each.row.id == "plain"]
    assert row.notes[0] == f"Left out, seed 0: {told}." and not row.measured
    for asked, why in ((run.folder, "holds no test record"), (path.with_name("test-partial.json"), "of the data only")):
        with pytest.raises(DataError, match=why):
            load_records([asked])
    whole.write(path)
    assert finished(run) and partial_test(run.folder) is None and len(load_records([run.folder])) == 1
