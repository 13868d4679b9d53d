"""What a comparison's file may say, and how its errors name the place."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from mtdense.core.errors import ConfigError
from mtdense.reports.evidence import parse_plan
from tests.reports.evidence_helpers import BASE, PLAN, make_comparison, network, plan_with


def test_a_plan() -> None:
    plan = parse_plan(plan_with(pairs=[["plain", "single_task"]]), "plan.yaml")
    assert list(plan.methods) == ["single_task", "plain", "fancy"]
    assert plan.methods["single_task"].per_task and not plan.methods["plain"].per_task
    assert list(plan.methods["fancy"].grid) == ["low", "high"]
    # Pairs of neighbouring tiers first, then those that are declared.
    assert plan.pairs == (("fancy", "plain"), ("plain", "single_task"))
    assert (plan.rule, plan.rule_reference, plan.seeds) == ("delta_m", "plain", (0, 1, 2))


def methods_with(name: str, **changes: Any) -> dict[str, Any]:
    methods = copy.deepcopy(PLAN["methods"])
    return {**methods, name: {**methods[name], **changes}}


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"seed": [0]}, r"unknown key 'seed'\n.*Did you mean 'seeds'"),
    "missing key": ({"reference": None}, "key 'reference' is missing"),
    "no seeds": ({"seeds": []}, r"seeds is \[\]"),
    "a seed twice": ({"seeds": [0, 0]}, "seeds names 0 twice"),
    "a negative seed": ({"seeds": [-1]}, r"seeds is \[-1\]"),
    "true is no seed": ({"seeds": [True]}, r"seeds is \[True\]"),
    "unknown task": ({"tasks": ["semseg", "dept"]}, r"tasks has 'dept', which is unknown\n.*'depth'"),
    "tasks as text": ({"tasks": "semseg"}, "tasks is 'semseg'"),
    "an id that leaves its folder": ({"settings": {"../up": {}}}, r"settings has the id '../up'"),
    "an id that YAML reads as a number": ({"grid": {0.1: {}}}, "grid has the id 0.1"),
    "no methods": ({"methods": {}}, "methods is {}"),
    "unknown key of a method": ({"methods": methods_with("plain", lr=1)}, "unknown key 'lr' of `methods.plain`"),
    "uneven grids": ({"methods": methods_with("plain", grid={"a": {}})}, r"methods.plain.grid has 1 values where .* 2"),
    "single_task: true": ({"methods": methods_with("plain", single_task=True)}, "methods.plain.single_task is True"),
    "a cost below 0": ({"methods": methods_with("plain", cost=-1)}, "methods.plain.cost is -1"),
    "a seed in a configuration": ({"grid": {"a": {"seed_everything": 1}}}, "grid.a sets `seed_everything`"),
    "tasks in a configuration": (
        {"settings": {"a": {"data": {"init_args": {"mask_tasks": ["depth"]}}}}},
        "settings.a sets `data.init_args.mask_tasks`",
    ),
    "unknown rule": ({"selection": {"rule": "best"}}, "selection.rule has 'best'"),
    "a rule without its reference": ({"selection": {"rule": "delta_m"}}, "selection has no `reference`"),
    "a reference without its rule": ({"selection": {"rule": "val_loss", "reference": "plain"}}, "beside the rule"),
    "a rule's reference of one task": (
        {"selection": {"rule": "delta_m", "reference": "single_task"}},
        "single_task, which has a network per task",
    ),
    "another reference than the single-task one": ({"reference": "plain"}, "though there is single_task"),
    "an unknown reference": ({"reference": "single"}, r"reference has 'single'.*\n.*Did you mean 'single_task'"),
    "an unknown method in the order": ({"order": ["fancy", ["plane"]]}, "order has 'plane'"),
    "a method twice in the order": ({"order": ["fancy", "plain", "fancy"]}, "order names 'fancy' twice"),
    "a pair of one": ({"pairs": [["fancy"]]}, r"pairs\[0\] is \['fancy'\]"),
    "a pair of the same": ({"pairs": [["fancy", "fancy"]]}, r"pairs\[0\] is"),
    "a pair turned about": ({"pairs": [["plain", "fancy"]]}, r"pairs\[0\] turns fancy and plain"),
    "an unknown estimate": ({"estimate": {"seconds": 3}}, "unknown key 'seconds' of `estimate`"),
}


@pytest.mark.parametrize("name", CASES)
def test_errors_name_the_place(name: str) -> None:
    changes, message = CASES[name]
    with pytest.raises(ConfigError, match=message) as caught:
        parse_plan(plan_with(**changes), "plan.yaml")
    assert str(caught.value).startswith("plan.yaml: ")
    assert caught.value.mend


def test_a_second_method_per_task() -> None:
    methods = {**PLAN["methods"], "other": {"single_task": "per_task"}}
    with pytest.raises(ConfigError, match="single_task, other has one network per task"):
        parse_plan(plan_with(methods=methods), "plan.yaml")


def test_configurations_are_laid_over_one_another(tmp_path: Path) -> None:
    comparison = make_comparison(tmp_path)
    trial = comparison.trial(network("fancy"), "high", 2)
    assert trial.config == {
        "model": {"class_path": "mtdense.models.MTLBaseline", "init_args": {"weight_decay": 0.1, "lr": 0.2}},
        "data": {
            "class_path": "data_modules.ProceduralDataModule",
            "init_args": {"batch_size": 4, "label_setting": "one-label", "tasks": ["semseg", "depth"]},
        },
        "trainer": BASE["trainer"],
        "seed_everything": 2,
    }
    assert trial.folder == tmp_path / "one-label" / "fancy" / "high" / "seed2"
    single = comparison.trial(network("single_task", "depth"), "low", 0)
    assert single.config["data"]["init_args"] == {
        "batch_size": 4,
        "label_setting": "one-label",
        "tasks": ["depth"],
        "mask_tasks": ["semseg", "depth"],
        "only_labelled": True,
    }
    assert single.id == "one-label/single_task/depth/low/seed0"
    # One network per task, and each its own grid and seeds.
    assert [n.id.partition("/")[2] for n in comparison.networks] == [
        "single_task/semseg",
        "single_task/depth",
        "plain",
        "fancy",
    ]
    checksums = {
        comparison.trial(n, grid, seed).config_sha256
        for n in comparison.networks
        for grid in ("low", "high")
        for seed in (0, 1, 2)
    }
    assert len(checksums) == 4 * 2 * 3


def test_unequal_budgets_are_refused(tmp_path: Path) -> None:
    more = methods_with("fancy", config={"model": {"class_path": "A"}, "trainer": {"max_steps": 600}})
    with pytest.raises(ConfigError, match="300 in one-label/plain/high/seed0 and 600 in one-label/fancy"):
        make_comparison(tmp_path, methods=more)
    larger = methods_with("fancy", config={"model": {"class_path": "A"}, "data": {"init_args": {"batch_size": 8}}})
    with pytest.raises(ConfigError, match=r"data\.batch_size is 4 in .* but 8 in one-label/fancy/low/seed0"):
        make_comparison(tmp_path, methods=larger)
    with pytest.raises(ConfigError, match="fancy names no model"):
        make_comparison(tmp_path, methods=methods_with("fancy", config={}))


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"max_steps": -1}, "trainer.max_steps of .* is -1"),
        ({"max_steps": None}, "is None"),
        ({"val_check_interval": 299}, "the last weights of .* are not validated"),
        ({"val_check_interval": 1.0}, "not validated"),
        ({"check_val_every_n_epoch": 1}, "not validated"),
        ({"limit_val_batches": 0}, "not validated"),
    ],
)
def test_the_last_weights_must_be_validated(tmp_path: Path, trainer: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_comparison(tmp_path, base={**BASE, "trainer": {**BASE["trainer"], **trainer}})


@pytest.mark.parametrize(
    ("key", "refused", "taken"),
    [
        ("max_time", "00:01:00:00", None),
        ("limit_train_batches", 0.5, 1.0),
        ("limit_train_batches", 1, None),
        ("limit_test_batches", 1, 1.0),
        ("overfit_batches", 3, 0.0),
        ("fast_dev_run", True, False),
        # A last step of an epoch may be of fewer batches, so that the last weights are not validated.
        ("accumulate_grad_batches", 2, 1),
        ("accumulate_grad_batches", 2, None),
    ],
)
def test_nothing_else_may_end_a_training(tmp_path: Path, key: str, refused: Any, taken: Any) -> None:
    make_comparison(tmp_path, base={**BASE, "trainer": {**BASE["trainer"], key: taken}})
    with pytest.raises(ConfigError, match=rf"plan.yaml: trainer\.{key} of one-label/.* is {refused!r}"):
        make_comparison(tmp_path, base={**BASE, "trainer": {**BASE["trainer"], key: refused}})
    # A method's own counts as well.
    own = methods_with("fancy", config={"model": {"class_path": "A"}, "trainer": {key: refused}})
    with pytest.raises(ConfigError, match=rf"trainer\.{key} of one-label/fancy"):
        make_comparison(tmp_path, methods=own)


def test_a_limit_of_epochs_is_lifted(tmp_path: Path) -> None:
    limited = make_comparison(tmp_path, base={**BASE, "trainer": {**BASE["trainer"], "max_epochs": 200}})
    assert limited.trial(network("fancy"), "low", 0).config["trainer"] == {**BASE["trainer"], "max_epochs": -1}
    # Nothing is added where none is set: the checksums of such runs stay.
    assert make_comparison(tmp_path).trial(network("fancy"), "low", 0).config["trainer"] == BASE["trainer"]


def test_shipped_comparisons_are_whole() -> None:
    from mtdense.cli.evidence import load_comparison
    from mtdense.core.experiments import experiments_root

    files = sorted((experiments_root() / "evidence").glob("*.yaml"))
    assert files
    for file in files:
        comparison = load_comparison(str(file))
        assert comparison.plan.source == str(file)
        assert len(list(comparison.all_grid_trials())) >= 2 * len(comparison.networks)
