"""The shipped tables: their figures agree with one another, their rows with the experiments; bad files are refused."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import data_modules
import mtdense.models
from mtdense.cli.configs import merge, merged_configs
from mtdense.core.errors import ConfigError
from mtdense.core.experiments import experiments_root
from mtdense.reports.paper_tables.definition import read_table, table_ids
from mtdense.reports.paper_tables.structure import METRIC_NAMES, SINGLE_TASK, Block, PaperTable, Row, row_overrides

NUMBERED = {"bridgenet": 8, "prototype": 6, "tif": 10}
IDS = [f"{system}-{n}" for system, last in NUMBERED.items() for n in range(1, last + 1)] + ["prompt_fusion-abstract"]

# Methods of the papers that another class of ours stands for; all others have the `method` of their class.
STANDS_FOR = {
    "single_task": {"single_task", "bridgenet"},
    "mtl_baseline": {"mtl_baseline", "bridgenet", "atrc", "prototype"},
    "atrc_global_context": {"atrc"},
    "global_cross_task_attention": {"atrc"},
    "global_self_attention": {"atrc"},
    # One class; the names of the files below tell which.
    "diffusion_mtl_prediction": {"diffusion_mtl_feature"},
    "task_prompter": {"task_prompter", "prompted_baseline"},
    "tsp_transformer": {"prompted_baseline"},
}
BUILT = {cls.method for cls in vars(mtdense.models).values() if isinstance(cls, type) and hasattr(cls, "method")}


@cache
def table(name: str) -> PaperTable:
    return read_table(name)


@cache
def experiment(name: str) -> dict[str, Any]:
    return merged_configs([name])


def step(column_decimals: int) -> float:
    """Half a unit of the last printed digit: how far a printed figure may be from the true one."""
    return 0.5 * 10.0**-column_decimals


def gain_range(block: Block, row: Row, task: str, values: dict[str, float]) -> tuple[float, float]:
    """Gain of a task in percent, and how far rounding may have moved it."""
    column = next(column for column in block.columns if column.task == task)
    assert block.delta_reference is not None
    reference = block.row(block.delta_reference).paper.best_known()[task]
    sign = 1 if column.higher_is_better else -1
    gain = 100 * sign * (values[task] - reference) / reference
    return gain, 100 * step(column.decimals) * (1 + values[task] / reference) / reference + step(2)


def disagreements(block: Block, row: Row, corrected: bool = True) -> list[str]:
    """Printed gains and Δm that do not follow from the printed figures."""
    values = row.paper.best_known() if corrected else row.paper.values
    found = []
    for task, printed in row.paper.gains.items():
        gain, off = gain_range(block, row, task, values)
        if abs(gain - printed) > off:
            found.append(f"{task}: {gain:.3f} is printed {printed}")
    if row.paper.delta_m is not None:
        ranges = [gain_range(block, row, task, values) for task in row.tasks]
        mean, off = (sum(each[i] for each in ranges) / len(ranges) for i in range(2))
        if abs(mean - row.paper.delta_m) > off + step(2):
            found.append(f"delta_m: {mean:.3f} is printed {row.paper.delta_m}")
    return found


def test_tables_are_all_there() -> None:
    assert sorted(table_ids()) == sorted(IDS)
    assert table_ids().index("tif-9") < table_ids().index("tif-10")
    assert [name for name in IDS if table(name).status == "lost"] == ["bridgenet-2"]
    assert not any(row.paper.values for _, row in table("bridgenet-2").rows)


@pytest.mark.parametrize("name", IDS)
def test_figures_agree_with_one_another(name: str) -> None:
    found = table(name)
    for block, row in found.rows:
        where = f"{name}/{block.id}/{row.id}"
        columns = {column.task: column for column in block.columns}
        for task, value in row.paper.best_known().items():
            assert round(value, columns[task].decimals) == value, f"{where}: {task} has more digits than its column"
            metric, factor = METRIC_NAMES[columns[task].metric]
            assert 0 < value < (100 if factor == 100 or metric == "mErr" else 3), f"{where}: {task} is {value}"
        if found.status == "complete" and block.value_kind == "absolute":
            assert set(row.paper.values) == set(row.tasks), where
        assert disagreements(block, row) == [], where
        for task in row.paper.corrected:
            assert any(e["kind"] == "misprint" and row.id in e["where"] and task in e["where"] for e in found.errata)
        assert row.suspect in ((), ("saliency",))
        if row.suspect:
            assert row.paper.values["saliency"] < 67 and any(e["kind"] == "suspect" for e in found.errata)


@pytest.mark.parametrize(
    ("name", "row_id"), [("bridgenet-8", "sal_norm_edge"), ("tif-7", "w_1_sfd"), ("tif-8", "cross_distill")]
)
def test_a_slip_of_the_print_shows(name: str, row_id: str) -> None:
    """Without what is corrected, gains and Δm do not follow: the check above can fail."""
    (block,) = table(name).blocks
    row = block.row(row_id)
    assert not disagreements(block, row)
    if row.paper.corrected:
        assert any(text.startswith("edges") for text in disagreements(block, row, corrected=False))
    else:
        wrong = copy.deepcopy(block)
        wrong.row("baseline").paper.corrected.clear()
        assert any(text.startswith("delta_m") for text in disagreements(wrong, wrong.row(row_id)))


@pytest.mark.parametrize("name", IDS)
def test_rows_are_what_they_say(name: str) -> None:
    """Data set, label setting, method and backbone of each row's configuration; no override that changes nothing."""
    for block, row in table(name).rows:
        where = f"{name}/{block.id}/{row.id}"
        if row.experiment is None:
            assert row.method not in BUILT and not row.overrides, where
            continue
        shipped = experiment(row.experiment)
        config = merge(shipped, row.overrides)
        model, data = config["model"], config["data"]
        module = getattr(data_modules, data["class_path"].rsplit(".", 1)[1])
        method = getattr(mtdense.models, model["class_path"].rsplit(".", 1)[1]).method
        name_of_file = row.experiment.rsplit("/", 1)[1]
        assert (row.method in STANDS_FOR and "diffusion" not in row.method) or name_of_file.startswith(f"{row.method}-")
        assert method in STANDS_FOR.get(row.method, {row.method}), f"{where}: {method}"
        if row.backbone is not None and not row.experiment.startswith("cityscapes_3d"):
            assert model["init_args"]["backbone"] == row.backbone, where
        if block.dataset is not None:
            assert module.name == block.dataset, where
            assert data["init_args"].get("label_setting", "full") == block.setting, where
            if row.method != SINGLE_TASK:
                assert sorted(data["init_args"]["tasks"]) == sorted(block.tasks), where
        # A needless override would train the same network twice.
        assert not row.overrides or config != shipped, f"{where}: overrides change nothing"
        for section, value in row.overrides.get("model", {}).get("init_args", {}).items():
            assert shipped["model"]["init_args"].get(section, "absent") != value, (
                f"{where}: {section} is {value} anyway"
            )


def test_equal_networks_have_equal_configurations() -> None:
    """The rows that the papers print more than once are one run."""
    pairs = [
        ("bridgenet-3", "nyud_v2", "bridgenet_vit_base", "bridgenet-6", "refine", "tfr_huge"),
        ("bridgenet-3", "pascal_context", "bridgenet_vit_base", "bridgenet-4", "cost", "bridgenet_vit_base"),
        ("bridgenet-5", "modules", "bfe_tpp", "bridgenet-6", "refine", "add"),
        ("bridgenet-6", "refine", "tfr_base", "bridgenet-7", "subsets", "all"),
        ("prototype-1", "one_label", "prototype", "prototype-3", "losses", "tae_tke_tc"),
        ("prototype-1", "one_label", "mtl_baseline", "prototype-3", "losses", "none"),
        ("tif-3", "nyud_v2", "tif_swin_t", "tif-9", "saff", "saff_4"),
        ("tif-7", "sfd", "baseline", "tif-8", "distillation", "baseline"),
        ("bridgenet-5", "modules", "stl", "bridgenet-7", "subsets", "stl"),
    ]
    for *first, b, block_b, row_b in pairs:
        rows = []
        for name, block_id, row_id in (first, (b, block_b, row_b)):
            (block,) = (block for block in table(name).blocks if block.id == block_id)
            row = block.row(row_id)
            rows.append((row.experiment, row.overrides, row.tasks))
        assert rows[0] == rows[1], (first, b)


def test_tasks_of_networks() -> None:
    (block,) = table("bridgenet-7").blocks
    base = {"init_args": {"tfr_size": "base"}}
    subset = row_overrides(block, block.row("dep_norm"))
    assert subset["model"] == base
    assert subset["data"]["init_args"] == {"tasks": ["depth", "normals"], "mask_tasks": list(block.tasks)}
    assert row_overrides(block, block.row("all")) == {"model": base}
    single = row_overrides(block, block.row("stl"), "edges")["data"]["init_args"]
    assert single == {"tasks": ["edges"], "mask_tasks": list(block.tasks), "only_labelled": True}
    for row_id, task in (("stl", None), ("stl", "saliency"), ("all", "depth")):
        with pytest.raises(ConfigError, match=f"the row {row_id} of method"):
            row_overrides(block, block.row(row_id), task)


def put(content: dict[str, Any], key: str, value: Any) -> None:
    """Sets `a.0.b` in nested mappings and lists; None removes it."""
    *path, last = key.split(".")
    for part in path:
        content = content[int(part)] if isinstance(content, list) else content[part]  # type: ignore[assignment]
    if value is None:
        del content[last]
    else:
        content[last] = value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("blocks.0.rows.1.labell", "x", "blocks.cost.rows.mti_net_vit_large: unknown key 'labell'"),
        ("blocks.0.rows.1.experiment", None, "rows.mti_net_vit_large: there must be one of `experiment` and `missing`"),
        ("blocks.0.rows.1.missing", "why", "rows.mti_net_vit_large: there must be one of `experiment` and `missing`"),
        ("blocks.0.rows.1.id", "pad_net_vit_large", "its id stands there twice"),
        ("blocks.0.rows.1.tasks", ["depth"], "rows.mti_net_vit_large: tasks has 'depth'"),
        ("blocks.0.rows.1.paper.values.depth", 1, "rows.mti_net_vit_large.paper: values has 'depth'"),
        ("blocks.0.rows.1.paper.values.edges", "1,0", "rows.mti_net_vit_large.paper.values: edges is '1,0'"),
        ("blocks.0.rows.1.paper.corrected", {"edges": 1}, None),
        ("blocks.0.rows.1.paper.cost.extra_params_m", 1, "paper: cost has 'extra_params_m'"),
        ("blocks.0.rows.1.overrides", {"seed_everything": 1}, "overrides sets `seed_everything`"),
        ("blocks.0.rows.1.overrides", {"data": {"init_args": {"tasks": ["edges"]}}}, "sets `data.init_args.tasks`"),
        ("blocks.0.rows.1.suspect", ["edges", "edges"], "suspect names something twice"),
        ("blocks.0.columns.0.metric", "iou", "blocks.cost.columns.semseg: metric has 'iou'"),
        ("blocks.0.delta_reference", "stl", "blocks.cost: delta_reference is 'stl'"),
        ("blocks.0.value_kind", "improvement", "blocks.cost: improvements over no row"),
        ("blocks.0.setting", "half", "blocks.cost: setting has 'half'"),
        ("blocks.0.costs.size", [512], "blocks.cost.costs: size is [512]"),
        ("blocks.0.costs.count", "fvcore", "blocks.cost.costs: count has 'fvcore'"),
        ("blocks.0.costs.extra_to", "pad_net_vit_large", "`extra_params_m` and `extra_to` go together"),
        ("blocks.0.dataset", None, "blocks.cost: a data set goes with columns"),
        ("blocks.0.rows", [], "a complete table has a block without rows"),
        ("id", "bridgenet-9", "its id is 'bridgenet-9'"),
        ("errata.0.detail", None, "errata.0: the key 'detail' is missing"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, key: str, value: Any, message: str | None) -> None:
    source = (experiments_root() / "tables" / "bridgenet-4.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(source)
    put(content, key, value)
    path = tmp_path / "bridgenet-4.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    if message is None:
        assert read_table(path).blocks[0].rows[1].paper.best_known()["edges"] == 1
        return
    with pytest.raises(ConfigError) as caught:
        read_table(str(path))
    assert message in str(caught.value) and str(path) in str(caught.value) and "Mend:" in str(caught.value)


def test_unknown_table_and_no_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no table 'tif-33'(.|\n)*Did you mean 'tif-3'"):
        read_table("tif-33")
    with pytest.raises(ConfigError, match=r"no\.yaml is not readable"):
        read_table(tmp_path / "no.yaml")
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(ConfigError, match="holds a list"):
        read_table(tmp_path / "list.yaml")
