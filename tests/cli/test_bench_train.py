"""`mtdense bench train` on shipped experiments in small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mtdense.cli.bench_train import all_architectures
from mtdense.cli.bench_train_table import ratios
from mtdense.cli.main import main

Main = Callable[..., tuple[int, str]]
MULTI = "procedural/one-label/mtl_baseline-resnet18.yaml"
SINGLE = "procedural/one-label/single_task-resnet18.yaml"
TINY = ("--model.backbone", "tiny", "--model.preset", "tiny", "--data.tasks", "[depth]", "--size", "32", "40")


def test_two_experiments_in_turn(mtdense_main: Main, tmp_path: Path) -> None:
    file = tmp_path / "steps.json"
    base = ("bench", "train", "--config", MULTI, "--config", SINGLE, *TINY, "--batch", "2", "--runs", "2")
    code, err = mtdense_main(*base, "--json", str(file), "--device", "cpu")
    assert code == 0, err
    found = json.loads(file.read_text())
    assert [row["method"] for row in found["steps"]] == ["mtl_baseline", "single_task"]
    assert found["steps"][0]["ratio"] == 1.0
    assert found["steps"][0]["share_of_peak"] > 0 and found["steps"][0]["images_per_second"] > 0
    # One task: the same network from the same seed.
    assert found["steps"][0]["loss"] == found["steps"][1]["loss"]


def test_markdown_beside_plain(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--precision", "bf16-mixed", "--channels-last", "--beside-plain", "--parts", "--format", "markdown")
    small = ("--data-time", "--data.batch_size", "2", "--data.train_images", "6", "--data.cache", "false")
    run = ("--config", MULTI, *TINY, "--batch", "2", "--runs", "1", "--device", "cpu", *options, *small)
    assert main(["bench", "train", *run]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    names = [line.split(" | ")[0] for line in lines[2:]]
    assert names == [f"| {MULTI} (plain)", f"| {MULTI}"]
    assert len({line.count(" | ") for line in lines}) == 1
    assert lines[3].split(" | ")[-3].endswith(" ms") and "conv" in lines[3].split(" | ")[-1]


def test_checkpointing_beside_plain(mtdense_main: Main, tmp_path: Path) -> None:
    file = tmp_path / "steps.json"
    run = ("bench", "train", "--config", MULTI, *TINY, "--batch", "2", "--runs", "1", "--device", "cpu")
    code, err = mtdense_main(*run, "--checkpoint-encoder", "--beside-plain", "--json", str(file))
    assert code == 0, err
    plain, recomputed = json.loads(file.read_text())["steps"]
    assert plain["name"] == f"{MULTI} (plain)" and recomputed["loss"] == plain["loss"]
    # What is done again counts again.
    assert recomputed["flops"] > plain["flops"]


def test_ratios_are_to_the_same_experiment() -> None:
    rows: list[Any] = [SimpleNamespace(name=n, seconds=s) for n, s in (("a (plain)", 2.0), ("a", 1.0))]
    rows += [SimpleNamespace(name=n, seconds=s) for n, s in (("b (plain)", 8.0), ("b", 2.0))]
    assert ratios(rows) == {"a (plain)": 1.0, "a": 0.5, "b (plain)": 4.0, "b": 0.25}
    assert ratios([rows[1], rows[3]]) == {"a": 1.0, "b": 2.0}


def test_all_architectures_are_there() -> None:
    shipped = {path.stem.split("-")[0] for path in Path("experiments").glob("*/*/*.yaml")}
    found = all_architectures()
    assert {"bridgenet", "invpt", "tif", "prompt_fusion", "prototype", "diffusion_mtl_feature", "atrc"} <= found.keys()
    assert "single_task" not in found and len(found) >= len(shipped & found.keys()) > 10


def test_errors(mtdense_main: Main, tmp_path: Path) -> None:
    code, err = mtdense_main("bench", "train", "--config", MULTI, "--config", MULTI, *TINY)
    assert code == 1 and "named twice" in err
    code, err = mtdense_main("bench", "train", "--config", MULTI, *TINY, "--batch", "0")
    assert code == 1 and "--batch 0" in err
    without = [option for option in TINY if option not in ("--data.tasks", "[depth]")]
    code, err = mtdense_main("bench", "train", "--config", MULTI, "--config", SINGLE, *without)
    assert code == 1 and "different tasks" in err
