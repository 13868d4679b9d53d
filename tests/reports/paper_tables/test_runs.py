"""The runs behind rows: what they are, how small budgets make them, and how far each has got."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mtdense.cli.table_plan import _entry
from mtdense.core.errors import CheckpointError, ConfigError, DataError
from mtdense.reports.paper_tables import runs as module
from mtdense.reports.paper_tables.budgets import Budget, limited, parse_budget
from mtdense.reports.paper_tables.definition import read_table
from mtdense.reports.paper_tables.hours import Duration, duration, optimiser_steps, share_left
from mtdense.reports.paper_tables.places import data_root, parse_roots, write_data
from mtdense.reports.paper_tables.runs import row_runs, select_rows, table_runs, unite
from mtdense.reports.paper_tables.session import finished, stale_because
from mtdense.reports.training_run import State
from tests.reports.paper_tables.table_helpers import fill, record_of, runs_of, write_table


@pytest.fixture(autouse=True)
def same_data(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """The version that the present data are said to have."""
    now: dict[str, str | None] = {"version": None}
    monkeypatch.setattr(module, "data_version", lambda section: now["version"])
    return now


def test_rows_and_tables_share_runs(tmp_path: Path) -> None:
    runs = [run for name in ("tif-6", "tif-7") for run in runs_of(read_table(name), tmp_path, budget="full")]
    whole = tmp_path / "full" / "nyud_atrc" / "full" / "tif-swin_t" / "seed0"
    same = [run for run in runs if run.folder == whole]
    assert [run.rows for run in same] == [("tif-6/modules/saff_sfd_lthd",), ("tif-7/sfd/w_2_sfd",)]
    assert same[0].config_sha256 == same[1].config_sha256
    united = unite(runs)
    assert len(united) == len({run.folder for run in runs}) == len(runs) - 1
    assert united[runs.index(same[0])].rows == (*same[0].rows, *same[1].rows)


def test_a_row_of_single_tasks_is_a_network_per_task(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    runs = runs_of(table, tmp_path / "out", "alone", seeds=(0, 1))
    stem = runs[0].name.split("/")[3]
    assert stem.startswith("single_task-resnet18-")  # with a checksum of the row's overrides
    assert [run.name for run in runs] == [
        f"smoke/procedural/one-label/{stem}/{task}/seed{seed}" for task in ("semseg", "depth") for seed in (0, 1)
    ]
    data = runs[2].config["data"]["init_args"]
    assert (data["tasks"], data["mask_tasks"], data["only_labelled"]) == (
        ["depth"],
        ["semseg", "depth", "normals"],
        True,
    )
    assert runs[1].config["seed_everything"] == 1 and runs[1].config["variant"] == "smoke"
    (heavy,) = runs_of(table, tmp_path / "out", "heavy")
    (plain,) = runs_of(table, tmp_path / "out", "plain")
    assert heavy.folder != plain.folder and heavy.config["model"]["init_args"]["weight_decay"] == 0.1


def test_rows_are_chosen(tmp_path: Path) -> None:
    table = write_table(tmp_path)

    def chosen(budget: str, *names: str) -> list[str]:
        return [row.id for _, row in select_rows(table, names, parse_budget(budget))]

    assert chosen("full") == chosen("smoke", "all") == ["alone", "plain", "heavy"]
    assert chosen("smoke") == ["alone", "plain"]  # one of each method
    assert chosen("full", "one_label/heavy") == ["heavy"] and chosen("full", "mtl_baseline") == ["plain", "heavy"]
    with pytest.raises(ConfigError, match="It is not built"):
        chosen("full", "lost")
    with pytest.raises(ConfigError, match=r"no row 'hevy'[\s\S]*'heavy'"):
        chosen("full", "hevy")
    block = table.blocks[0]
    assert row_runs(table, block, block.row("lost"), budget="smoke", seeds=[0], out=tmp_path) == []
    # Those of which there are folders.
    assert row_runs(table, block, block.row("plain"), budget="smoke", out=tmp_path) == []
    runs_of(table, tmp_path, "plain", seeds=(7,))[0].folder.mkdir(parents=True)
    assert [run.seed for run in row_runs(table, block, block.row("plain"), budget="smoke", out=tmp_path)] == [7]


def test_budgets() -> None:
    assert parse_budget("short@120") == Budget("short", 120) and str(parse_budget("short@120")) == "short@120"
    assert [parse_budget(name).mark for name in ("full", "short", "full@9")] == ["", "short", "full@9"]
    for wrong in ("tiny", "short@", "short@0", "short@x"):
        with pytest.raises(ConfigError):
            parse_budget(wrong)


def test_what_small_budgets_make_of_a_row(tmp_path: Path) -> None:
    def config(table: str, row: str, budget: str) -> dict[str, Any]:
        return runs_of(read_table(table), tmp_path, row, budget=budget)[0].config

    full = config("bridgenet-4", "bridgenet_vit_base", "full")
    assert full["trainer"]["max_steps"] == 40_000 and "root" not in full["data"]["init_args"]
    small = config("bridgenet-4", "bridgenet_vit_base", "smoke")
    model, data = small["model"]["init_args"], small["data"]["init_args"]
    assert (model["backbone"], model["preset"], model["pretrained"]) == ("tiny", "tiny", False)
    # The recipe is the row's own; what fits its size alone is gone.
    assert model["lr"] == full["model"]["init_args"]["lr"] and "input_size" not in model
    assert data["size"] == [32, 40] and data["root"] == str(tmp_path / "data" / "pascal_context-smoke")
    assert small["trainer"]["gradient_clip_val"] == 10.0 and small["trainer"]["max_steps"] == 4
    short = config("prototype-2", "mtpsl", "short")
    assert short["model"]["init_args"]["backbone"] == "resnet18" and short["model"]["init_args"]["lr"] == 3e-4
    assert short["model"]["init_args"].get("schedule_interval", "step") == "step"
    assert (short["trainer"]["max_steps"], short["data"]["init_args"]["size"]) == (240, [64, 80])
    assert short["data"]["class_path"] == "data_modules.NYUDMtanDataModule"
    half = config("prototype-2", "mtpsl", "short@120")
    assert (half["trainer"]["max_steps"], half["trainer"]["val_check_interval"], half["variant"]) == (
        *(120, 120),
        "short@120",
    )
    streets = config("prompt_fusion-abstract", "task_prompter", "short")
    assert streets["model"]["init_args"]["backbone"].startswith("swin_tiny")
    assert streets["data"]["init_args"]["task_options"]["detection_3d"]["base_depth"] == 20.0
    forms = config("tif-8", "cross_distill", "smoke")["model"]["init_args"]
    assert (forms["preset"], forms["width"], forms["distillation"]) == ("config_b", 16, "cross")
    # Nothing but the budget's trainer is left of a recipe for many devices.
    again = limited({**full, "trainer": {"devices": 2, "sync_batchnorm": True}}, Budget("smoke"), "x", "full", "atrc")
    assert again["trainer"]["devices"] == 1 and "sync_batchnorm" not in again["trainer"]


def test_how_far_a_run_has_got(tmp_path: Path, same_data: dict[str, str | None]) -> None:
    (run,) = runs_of(write_table(tmp_path), tmp_path / "out", "plain")
    assert (run.state(), finished(run), stale_because(run)) == (State.ABSENT, False, None)
    fill(run)
    assert (run.state(), finished(run), stale_because(run)) == (State.DONE, True, None)
    assert run.tested() is not None
    # The data may move, but not change.
    data = {**run.config["data"], "init_args": {**run.config["data"]["init_args"], "root": "/elsewhere"}}
    assert finished(replace(run, config={**run.config, "data": data}))
    same_data["version"] = "procedural-2"
    assert run.state() is State.OTHER and not finished(run)
    assert stale_because(run) == "data of version procedural-1-32x40-seed0, which are another one now"
    same_data["version"] = "procedural-1-32x40-seed0"
    assert finished(run)
    model = {**run.config["model"], "init_args": {**run.config["model"]["init_args"], "lr": 7.0}}
    other = replace(run, config={**run.config, "model": model})
    assert stale_because(other) == "another configuration: model.init_args.lr"
    (run.folder / "records" / "test.json").unlink()
    assert run.state() is State.DONE and not finished(run)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data": {"name": "nyud_mtan"}}, "data.name is 'nyud_mtan' there and 'procedural' here"),
        ({"tasks": ["depth"]}, r"tasks is \['depth'\] there"),
        ({"config": "lr"}, "model.preset is 'paper' there and 'tiny' here"),
        ({"config": "class"}, "model.class_path is 'Prototype' there and 'MTLBaseline' here"),
    ],
    ids=["data", "tasks", "option", "class"],
)
def test_a_foreign_record_is_refused(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    (run,) = runs_of(write_table(tmp_path), tmp_path / "out", "plain")
    fill(run)
    config = json.loads(json.dumps(run.config))
    if changes.get("config") == "lr":
        config["model"]["init_args"]["preset"] = "paper"
    elif changes.get("config") == "class":
        config["model"]["class_path"] = "mtdense.models.Prototype"
    record_of(run, **{**changes, "config": config}).write(run.folder / "records" / "test.json")
    with pytest.raises(DataError, match=f"record of another run: {named}"):
        run.tested()


def test_an_edited_record_is_refused(tmp_path: Path) -> None:
    (run,) = runs_of(write_table(tmp_path), tmp_path / "out", "plain")
    fill(run)
    path = run.folder / "records" / "test.json"
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 0.9'))
    with pytest.raises(DataError, match=r"test\.json was changed after it was written"):
        run.tested()


def test_genuine_data_and_a_replica_share_no_folder(tmp_path: Path) -> None:
    table = read_table("prototype-2")
    block = table.blocks[0]

    def names(budget: str, **roots: Path) -> list[str]:
        rows = row_runs(table, block, block.row("mtpsl"), budget=budget, seeds=[0], out=tmp_path, roots=roots)
        return [run.name for run in rows]

    place = "nyud_mtan/one-label/mtpsl-resnet18/seed0"
    assert names("short") == [f"short/{place}"]  # as ever
    assert names("short", nyud_mtan=tmp_path / "real") == [f"short/{place.replace('/one', '-genuine/one')}"]
    assert names("short", nyud_mtan=(tmp_path / "data" / "nyud_mtan-short").resolve()) == [f"short/{place}"]
    assert names("smoke", nyud_mtan=tmp_path) == [f"smoke/{place}"]
    assert names("full", nyud_mtan=tmp_path) == [f"full/{place}"]


def test_data_of_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MTDENSE_DATA", raising=False)
    roots = parse_roots([f"nyud_mtan={tmp_path}"])
    assert data_root("nyud_mtan", Budget("full"), tmp_path, {}) is None
    assert data_root("nyud_mtan", Budget("full"), tmp_path, roots) == tmp_path
    assert data_root("nyud_mtan", Budget("smoke"), tmp_path, roots) == tmp_path / "data" / "nyud_mtan-smoke"
    monkeypatch.setenv("MTDENSE_DATA", str(tmp_path))
    (tmp_path / "nyud_mtan").mkdir()
    assert data_root("nyud_mtan", Budget("full"), tmp_path, {}) == tmp_path / "nyud_mtan"
    for wrong in ("nyud_mtan", "nyud=/x"):
        with pytest.raises(ConfigError):
            parse_roots([wrong])
    # A replica whose writing was broken off is not read.
    (tmp_path / "data" / "nyud_mtan-smoke.writing").mkdir(parents=True)
    (tmp_path / "data" / "nyud_mtan-smoke.writing" / "rest").touch()
    folder = write_data("nyud_mtan", Budget("smoke"), tmp_path, (32, 40))
    assert folder == tmp_path / "data" / "nyud_mtan-smoke" and (folder / "train").is_dir()
    assert not folder.with_name(f"{folder.name}.writing").exists()


def test_hours(tmp_path: Path) -> None:
    import data_modules  # noqa: F401 - with them comes what is published

    (mtl,) = runs_of(read_table("prototype-2"), tmp_path, "one_label/mtl_baseline", budget="full")
    alone = runs_of(read_table("prototype-2"), tmp_path, "one_label/single_task", budget="full")[0]
    # 200 epochs of 795 images, a tenth of them held out, in batches of 4; a third of them where one task is labelled.
    assert optimiser_steps(mtl) == 200 * 179 and optimiser_steps(alone) == 200 * 60
    # Two batches to a step, and the last batch of an epoch alone.
    trainer = {**mtl.config["trainer"], "accumulate_grad_batches": 2}
    assert optimiser_steps(replace(mtl, config={**mtl.config, "trainer": trainer})) == 200 * 90
    (run, other) = runs_of(write_table(tmp_path), tmp_path / "out", "plain", seeds=(0, 1))
    assert duration(run, [other], "cpu: x, 2 threads", None, lambda config: 0.0).hours is None
    estimate = duration(run, [other], "cpu: x, 2 threads", 2.0, lambda config: 3e9)
    assert estimate.source == "estimate" and estimate.hours == pytest.approx(3e9 * 2 * 3 * 4 * 4 / 2e12 / 3600)
    twice = replace(run, config={**run.config, "trainer": {**run.config["trainer"], "accumulate_grad_batches": 2}})
    doubled = duration(twice, [], "cpu: x, 2 threads", 2.0, lambda config: 3e9).hours
    assert doubled == pytest.approx(2 * 3e9 * 2 * 3 * 4 * 4 / 2e12 / 3600)
    fill(other, wall_seconds=8.0)
    found = duration(run, [other], "cpu: x, 2 threads", 2.0, lambda config: 3e9)
    assert found.source == "measured" and found.hours == pytest.approx(8 / 3600)
    assert duration(run, [other], "cuda: y", 2.0, lambda config: 3e9).source == "estimate"


def test_what_is_left_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = runs_of(write_table(tmp_path), tmp_path / "out", "plain", seeds=(0, 1, 2, 3))
    for run in runs[1:]:
        fill(run)
    tested, begun, untested = runs[1:]
    (untested.folder / "records" / "test.json").unlink()
    (begun.folder / "records" / "fit.json").unlink()
    torch.save({"global_step": 3}, begun.checkpoint)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", lambda *args, **options: begun.folder.read_bytes())  # no file that can be read
        with pytest.raises(CheckpointError, match="cannot be read: Is a directory") as caught:
            share_left(begun)
    assert "remove" not in str(caught.value)  # it may be whole
    assert [share_left(run) for run in (runs[0], tested, begun, untested)] == [1.0, 0.0, 0.25, 0.0]
    torch.save({"weights": 1}, begun.checkpoint)
    with pytest.raises(CheckpointError, match=r"cannot be read: KeyError: 'global_step'"):
        share_left(begun)
    begun.checkpoint.write_bytes(begun.checkpoint.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=rf"{begun.checkpoint} is damaged"):
        share_left(begun)
    planned = _entry(begun, Duration(2.0, "estimate"))  # which does not end the plan
    assert (planned["state"], planned["left"], planned["hours"]) == ("begun", 1.0, 2.0)
    assert f"{begun.checkpoint} is damaged" in planned["why"]
    untested.checkpoint.unlink()  # nothing to test
    assert share_left(untested) == 1.0 and share_left(tested) == 0.0


def test_all_tables_have_runs(tmp_path: Path) -> None:
    """Every row with an experiment has a run of the smallest budget, and no two configurations share a folder."""
    from mtdense.reports.paper_tables.definition import table_ids

    found: dict[str, str] = {}
    methods = set()
    for name in table_ids():
        table = read_table(name)
        rows = select_rows(table, [], Budget("smoke"))
        methods |= {row.method for _, row in rows}
        for run in table_runs(table, rows, budget="smoke", seeds=[0], out=tmp_path):
            assert found.setdefault(run.name, run.config_sha256) == run.config_sha256, run.name
            assert run.max_steps == 4 and run.config["trainer"]["accelerator"] == "cpu"
    assert {"bridgenet", "tif", "prototype", "prompt_fusion", "single_task", "task_prompter"} <= methods
    assert len(found) > 60
