"""What the command line makes of the trainer's options."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mtdense.cli.main import main
from mtdense.reports.run_record import limits_of


def test_a_whole_number_counts_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1 is one batch, in files, options and what is saved of them; 1.0 is all."""
    given = tmp_path / "limits.yaml"
    given.write_text("trainer: {limit_train_batches: 1, limit_test_batches: 1.0}\n")
    options = ("--trainer.limit_val_batches", "1", "--trainer.limit_predict_batches=1.0", "--trainer.overfit_batches=1")
    experiment = "procedural/one-label/mtl_baseline-resnet18.yaml"
    assert main(["fit", "--config", experiment, "--config", str(given), *options, "--print_config"]) == 0
    trainer = yaml.safe_load(capsys.readouterr().out)["trainer"]
    found = {key: value for key, value in trainer.items() if key.endswith("_batches") and "accumulate" not in key}
    assert {key: repr(value) for key, value in found.items()} == {
        "limit_train_batches": "1",
        "limit_val_batches": "1",
        "limit_test_batches": "1.0",
        "limit_predict_batches": "1.0",
        "overfit_batches": "1",
    }
    assert limits_of(trainer, "fit") == {key: 1 for key in found if "test" not in key and "predict" not in key}
    assert limits_of(trainer, "test") == limits_of(trainer, "predict") == {}
