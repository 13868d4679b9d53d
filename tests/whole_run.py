"""An experiment from its shipped file, as a user goes through it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Main = Callable[..., tuple[int, str]]
SHORT = ("--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.num_sanity_val_steps", "0")


class Records(NamedTuple):
    """What a whole run leaves: the records of `fit` and `test`, and the files of `predict`."""

    fitted: dict[str, Any]
    scored: dict[str, Any]
    predicted: list[Path]


def whole_run(main: Main, folder: Path, name: str, *options: Any) -> Records:
    """Two steps, a third from the checkpoint, scores and predictions; all tasks of the fit are scored.

    Args:
        main: The program, the fixture `mtdense_main`.
        folder: For the run.
        name: The experiment.
        *options: More for the first `fit`: a small network and where the data are.
    """
    checkpoint = ("--ckpt_path", folder / "checkpoints" / "last.ckpt")
    for command in (
        ("fit", "--config", name, *options, "--run_dir", folder, *SHORT),
        ("fit", *checkpoint, "--trainer.max_steps", "3"),
        ("test", *checkpoint),
        ("predict", *checkpoint, "--out", folder / "predicted"),
    ):
        code, err = main(*command)
        assert code == 0, err
    fitted, scored = (json.loads((folder / "records" / f"{stage}.json").read_text()) for stage in ("fit", "test"))
    assert fitted["steps"] == 3
    assert scored["tasks"] == fitted["tasks"]
    assert {metric["task"] for metric in scored["metrics"]} == set(scored["tasks"])
    predicted = sorted(path for path in (folder / "predicted").rglob("*") if path.is_file())
    assert {path.parent.name for path in predicted} >= set(scored["tasks"])
    return Records(fitted, scored, predicted)
