"""`mtdense bench train` on shipped experiments in small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

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
    # One task: the same network from the same seed.
    assert found["steps"][0]["loss"] == found["steps"][1]["loss"]


def test_errors(mtdense_main: Main, tmp_path: Path) -> None:
    code, err = mtdense_main("bench", "train", "--config", MULTI, "--config", MULTI, *TINY)
    assert code == 1 and "named twice" in err
    code, err = mtdense_main("bench", "train", "--config", MULTI, *TINY, "--batch", "0")
    assert code == 1 and "--batch 0" in err
    without = [option for option in TINY if option not in ("--data.tasks", "[depth]")]
    code, err = mtdense_main("bench", "train", "--config", MULTI, "--config", SINGLE, *without)
    assert code == 1 and "different tasks" in err
