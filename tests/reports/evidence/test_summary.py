"""Choice, tables and differences on made-up records, worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtdense.cli.configs import merge
from mtdense.core.errors import DataError
from mtdense.reports import RunRecord
from mtdense.reports.evidence import Trial, choose, render_summary, summarise, summary_dict
from mtdense.reports.evidence.timetable import schedule
from tests.reports.evidence_helpers import PLAN, fill, make_comparison, network, quick_writes

__all__ = ["quick_writes"]  # a fixture

pytestmark = pytest.mark.usefixtures("quick_writes")

# Validation of the plain method with its first grid value, to which all choices refer.
REFERENCE = {"semseg": 0.5, "depth": 1.0}


def scores(trial: Trial, kind: str) -> dict[str, float]:
    """What each run scores.

    Validation: the plain method is best with "low", the fancy one with "high", whose depth gains more than its semseg
    loses; single-task semseg with "high" and depth with "low".
    """
    method, high, seed = trial.network.method, trial.grid == "high", trial.seed
    if kind == "fit":
        if method == "single_task":
            return {"semseg": 0.6 if high else 0.5, "depth": 1.2 if high else 1.1}
        if method == "plain":
            return {"semseg": 0.45, "depth": 1.0} if high else REFERENCE
        return {"semseg": 0.49, "depth": 0.9} if high else {"semseg": 0.51, "depth": 0.97}
    if method == "single_task":
        return {"semseg": 0.5 if high else 9.0, "depth": 9.0 if high else 1.0}
    if method == "plain":
        # Δm -10, -8, -6: semseg alone, 0.1 lower at most.
        return {"semseg": 0.40 + 0.02 * seed, "depth": 1.0}
    # Δm +5, +6.5, +8, so 15, 14.5, 14 better than the plain method: the depth falls, too.
    return {"semseg": 0.5 + 0.01 * seed, "depth": 0.9 - 0.01 * seed}


def test_the_choice(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path)
    fill(comparison, scores)
    plain = choose(comparison, network("plain"))
    assert (plain.grid, plain.scores) == ("low", {"low": 0.0, "high": pytest.approx(-5.0)})
    fancy = choose(comparison, network("fancy"))
    # 100 / 2 (0.01 / 0.5 + 0.03) = 2.5 and 100 / 2 (-0.01 / 0.5 + 0.1) = 4.
    assert (fancy.grid, fancy.scores) == ("high", {"low": pytest.approx(2.5), "high": pytest.approx(4.0)})
    # Of one task: 100 (0.6 - 0.5) / 0.5, and -100 (1.1 - 1) / 1.
    assert choose(comparison, network("single_task", "semseg")).scores["high"] == pytest.approx(20.0)
    depth = choose(comparison, network("single_task", "depth"))
    assert (depth.grid, depth.scores["low"]) == ("low", pytest.approx(-10.0))


def test_the_choice_by_loss(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path, selection={"rule": "val_loss"})
    fill(comparison, scores)  # their loss is the sum of scores
    fancy = choose(comparison, network("fancy"))
    assert (fancy.grid, fancy.scores) == ("high", {"low": pytest.approx(-1.48), "high": pytest.approx(-1.39)})


def test_no_choice_yet(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path)
    fill(comparison, lambda trial, kind: None if trial.id == "one-label/plain/low/seed0" else scores(trial, kind))
    # The reference of all.
    for each in (network("plain"), network("fancy"), network("single_task", "depth")):
        choice = choose(comparison, each)
        assert choice.grid is None
        assert "not trained: " in choice.reason and "one-label/plain/low/seed0" in choice.reason
    [found] = summarise(comparison)
    assert found.table is None
    assert found.missing == [
        f"one-label/{n}, all seeds" for n in ("single_task/semseg", "single_task/depth", "plain", "fancy")
    ]


def test_scores_without_a_gain(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path)
    fill(comparison, lambda trial, kind: {"semseg": 0.0, "depth": 1.0})
    assert "baseline of 'semseg' is 0.0" in choose(comparison, network("fancy")).reason
    comparison = make_comparison(tmp_path / "nan")
    fill(
        comparison,
        lambda t, kind: {"semseg": math.nan, "depth": 1.0} if t.network.method == "fancy" else scores(t, kind),
    )
    choice = choose(comparison, network("fancy"))
    assert choice.grid is None and "a number" in choice.reason
    comparison = make_comparison(tmp_path / "one nan")
    # A grid value without a figure is not chosen.
    nan = {"semseg": math.nan, "depth": 0.1}
    fill(comparison, lambda t, kind: nan if t.id.startswith("one-label/fancy/high") else scores(t, kind))
    assert choose(comparison, network("fancy")).grid == "low"


def test_the_table_and_the_differences(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path, pairs=[["plain", "single_task"]])
    fill(comparison, scores)
    [found] = summarise(comparison)
    assert found.table is not None and not found.missing
    rows = {row.method: row for row in found.table.rows}
    assert list(rows) == ["single_task", "plain", "fancy"]
    assert rows["single_task"].values["semseg", "mIoU"] == [0.5] * 3
    assert rows["single_task"].values["depth", "RMSE"] == [1.0] * 3
    assert rows["plain"].delta_m == pytest.approx([-10, -8, -6])
    assert rows["fancy"].delta_m == pytest.approx([5.0, 6.5, 8.0])
    gain, semseg, depth, single, *_ = found.differences
    assert (gain.a, gain.b, gain.figure) == ("fancy", "plain", "delta_m")
    assert gain.values == pytest.approx((15.0, 14.5, 14.0))
    # s = 0.5, half-width 4.30265 * 0.5 / sqrt(3).
    assert gain.interval == pytest.approx((14.5 - 1.242069, 14.5 + 1.242069), abs=1e-5)
    assert gain.verdict == "fancy > plain"
    assert semseg.values == pytest.approx((0.1, 0.09, 0.08))
    # Metres, positive for the smaller error.
    assert (depth.figure, depth.unit) == ("depth/RMSE", "metres")
    assert depth.values == pytest.approx((0.1, 0.11, 0.12))
    # Δm of the reference is 0: -10, -8, -6; 8 - 4.30265 * 2 / sqrt(3) = 3.03.
    assert single.values == pytest.approx((-10, -8, -6))
    assert single.verdict == "single_task > plain"
    assert found.order == "confirmed"


def test_what_is_printed(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path)
    fill(comparison, scores)
    summaries = summarise(comparison)
    markdown = render_summary(comparison.plan, summaries, "markdown")
    assert (
        "| fancy – plain | Δm [points] | +15.00 | +14.50 | +14.00 | +14.50 | +13.26 to +15.74 | **fancy > plain** |"
        in markdown
    )
    assert "| fancy – plain | semseg mIoU [points] | +10.00 | +9.00 | +8.00 | +9.00 | +6.52 to +11.48 |" in markdown
    assert "| fancy | low: +2.5, high: +4 | high |" in markdown
    assert "Expected order (by Δm): fancy > plain: confirmed." in markdown
    assert "## one-label" in markdown
    terminal = render_summary(comparison.plan, summaries, "terminal")
    assert "fancy > plain" in terminal and "**fancy" not in terminal
    stored = json.loads(render_summary(comparison.plan, summaries, "json"))
    assert stored == summary_dict(comparison.plan, summaries)
    first = stored["settings"]["one-label"]["differences"][0]
    assert first["verdict"] == "fancy > plain" and first["seeds"] == [0, 1, 2]
    assert stored["settings"]["one-label"]["table"]["rows"][2]["delta_m"] == pytest.approx([5.0, 6.5, 8.0])


def test_an_unfinished_comparison_decides_nothing(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path)
    fill(
        comparison,
        lambda t, kind: None if (kind, t.network.method, t.seed) == ("test", "plain", 2) else scores(t, kind),
    )
    [found] = summarise(comparison)
    assert found.missing == ["one-label/plain/low/seed2"]
    gain = found.differences[0]
    assert gain.seeds == (0, 1) and gain.verdict == "not decided"
    assert gain.values == pytest.approx((15.0, 14.5))
    assert found.order == "not decided"
    text = render_summary(comparison.plan, [found], "markdown")
    assert "Not complete; missing: one-label/plain/low/seed2." in text
    assert "| +15.00 | +14.50 | – |" in text


def test_without_single_task_networks(tmp_path: Path) -> None:
    methods = {name: PLAN["methods"][name] for name in ("plain", "fancy")}
    comparison = make_comparison(tmp_path, methods=methods, reference="plain")
    fill(comparison, scores)
    [found] = summarise(comparison)
    assert found.table is not None
    plain, fancy = found.table.rows
    assert (plain.method, plain.delta_m) == ("plain", None)
    # 100 / 2 (0.1 / 0.4 + 0.1), and so on.
    assert fancy.delta_m == pytest.approx([17.5, 50 * (0.09 / 0.42 + 0.11), 50 * (0.08 / 0.44 + 0.12)])
    assert found.differences[0].values == pytest.approx(fancy.delta_m)


def test_runs_of_another_configuration_do_not_count(tmp_path: Path) -> None:
    fill(make_comparison(tmp_path), scores)
    changed = make_comparison(
        tmp_path, grid={"low": {"model": {"init_args": {"lr": 0.3}}}, "high": PLAN["grid"]["high"]}
    )
    [found] = summarise(changed)
    assert found.table is None
    assert any("not the plan's of now: one-label/single_task/semseg/low/seed0" in note for note in found.notes)


def test_a_test_of_other_weights_is_refused(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path)
    fill(comparison, scores)
    trial = comparison.trial(network("plain"), "low", 1)
    path = trial.folder / "records" / "test.json"
    record = RunRecord.read(path)
    object.__setattr__(record, "weights_sha256", "d" * 64)
    record.write(path)
    with pytest.raises(DataError, match="a test of other weights"):
        summarise(comparison)


def test_unlike_circumstances_are_told(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path)
    fill(comparison, scores)
    path = comparison.trial(network("plain"), "low", 1).folder / "records" / "test.json"
    record = RunRecord.read(path)
    object.__setattr__(record, "device", "cpu: x, 2 threads")
    object.__setattr__(record, "code", {"revision": "f" * 40, "dirty": True})
    record.write(path)
    notes = "\n".join(summarise(comparison)[0].notes)
    # 4 networks, each with 2 grid trials, 2 further seeds and 3 tests.
    one = "test of one-label/plain/low/seed1"
    rest = "27, first training of one-label/single_task/semseg/low/seed0"
    assert f"Not alike: devices cpu: x, 1 threads ({rest}); cpu: x, 2 threads ({one})." in notes
    assert f"Not alike: code revisions None ({rest}); ffffffffffff (changed) ({one})." in notes


def change(trial: Trial, kind: str = "fit", **changes: Any) -> None:
    """Rewrites a record."""
    path = trial.folder / "records" / f"{kind}.json"
    replace(RunRecord.read(path), **changes).write(path)


@pytest.mark.parametrize(("grid", "seed"), [("high", 0), ("low", 0), ("low", 2)])
def test_unlike_trainings_are_told(tmp_path: Path, grid: str, seed: int) -> None:
    comparison = make_comparison(tmp_path)
    fill(comparison, scores)
    assert not any("Not alike" in note for note in summarise(comparison)[0].notes)
    # Of a value that was not chosen, too: it decided the choice.
    trial = comparison.trial(network("plain"), grid, seed)
    data = {"name": "procedural", "version": "procedural-2", "size": [8, 10], "mask_checksum": "f" * 64}
    change(trial, code={"revision": "e" * 40, "dirty": False}, device="NVIDIA", versions={"torch": "0"}, data=data)
    notes = "\n".join(summarise(comparison)[0].notes)
    for found in ("code revisions", "devices", "package versions", "training data"):
        [line] = [line for line in notes.splitlines() if line.startswith(f"Not alike: {found} ")]
        assert f"(training of {trial.id})" in line
    assert "NVIDIA" in notes and "eeeeeeeeeeee" in notes and "procedural-2" in notes
    assert notes in render_summary(comparison.plan, summarise(comparison), "terminal").replace("\n- ", "\n")


def test_runs_of_another_default_are_told(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path)
    fill(comparison, scores)

    def record_all(**options: Any) -> None:
        """Puts whole configurations into the records, with the given ones where `at` is."""
        for each in comparison.networks:
            for grid, seed in (("low", 0), ("high", 0), ("low", 1), ("high", 1), ("low", 2), ("high", 2)):
                trial = comparison.trial(each, grid, seed)
                config = merge(
                    {
                        "run_dir": trial.id,
                        "model": {"init_args": {"optimizer": "adam", "weight_decay": 0.0, "own": each.method}},
                        "data": {"init_args": {"workers": 0}},
                        "trainer": {"precision": 32},
                    },
                    trial.config,
                )
                key = next((key for key in options if trial.id.startswith(f"one-label/{key}")), None)
                change(trial, config=merge(config, options[key]) if key else config)

    def told() -> list[str]:
        return [note for note in summarise(comparison)[0].notes if "Not alike" in note]

    # Learning rate, seed, tasks and own options differ by the plan; methods of one class share their defaults.
    record_all(**{"plain": {"model": {"init_args": {"own": "x"}}}, "fancy": {"model": {"init_args": {"own": "x"}}}})
    assert told() == []
    # A run that was interrupted names its classes by the module that holds them.
    own = {"init_args": {"own": "x"}}
    short = {"model": own, "data": {"class_path": "data_modules.FolderDataModule"}}
    long = {"data": {"class_path": "data_modules.folder.FolderDataModule"}}
    record_all(**{"plain/high/seed0": {"model": own, **long}, "plain": short, "fancy": short, "alone": short})
    assert [note for note in told() if "data.class_path" in note and "folder" in note] == []
    for part, name in (
        ({"data": {"init_args": {"workers": 4}}}, "data.init_args.workers"),
        ({"trainer": {"precision": 16}}, "trainer.precision"),
        ({"model": {"init_args": {"optimizer": "sgd"}}}, "model.init_args.optimizer"),
    ):
        # "low" was chosen for it, so this is a value that only the choice saw.
        record_all(
            **{
                "plain/high/seed0": part,
                "plain": {"model": {"init_args": {"own": "plain"}}},
                "fancy": {"model": {"init_args": {"own": "plain"}}},
            }
        )
        [note] = told()
        assert note.startswith(f"Not alike in trainings, though the plan sets no difference: {name} ")
        assert "one-label/plain/high/seed0)" in note


def test_the_timetable(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path)
    found = schedule(comparison)
    # 4 networks with 2 grid trials and 2 further seeds, and 3 tests each.
    assert [sum(entry.what == what for entry in found.entries) for what in ("fit", "test")] == [16, 12]
    # 10 s to start, 300 steps of 0.1 s; tests of 5 s.
    assert found.seconds(1) == pytest.approx(16 * 40 + 12 * 5)
    assert found.seconds(2) == pytest.approx(found.seconds(1) / 2)
    assert "one-label/plain/(chosen)/seed1" in [entry.id for entry in found.entries]
    fill(comparison, lambda t, kind: None if kind == "test" and t.seed == 2 else scores(t, kind))
    found = schedule(comparison)
    # Now as measured: 1.5 s in the records, beside the start.
    assert found.seconds(1) == pytest.approx(4 * 5)
    assert found.seconds(1, remaining=False) == pytest.approx(16 * 11.5 + 12 * 5)
    assert "one-label/fancy/high/seed2" in [entry.id for entry in found.entries if not entry.finished]
