"""Precisions that are refused before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtdense.cli.precision import check_precision
from tests.conftest import CONF
from tests.whole_run import Main


def test_true_half_precision_is_refused(mtdense_main: Main, tmp_path: Path) -> None:
    own = ("--config", CONF / "tiny.yaml", "--model.pretrained", "false", "--trainer.precision", "bf16-true")
    name = "cityscapes_3d/full/mtl_baseline-resnet18.yaml"
    code, err = mtdense_main("fit", "--config", name, *own, "--data.root", tmp_path, "--run_dir", tmp_path / "run")
    assert code == 1 and "--trainer.precision bf16-mixed" in err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "64-true", 32, None])
def test_others_are_not(precision: object) -> None:
    check_precision(precision)
