"""What pictures filled in training reaches all commands that look at pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtdense.core.errors import ConfigError
from mtdense.reports.export import ExportedModel
from mtdense.reports.predictor import Predictor
from tests.checkpoints import save_checkpoint, small_model
from tests.data.test_pictures import picture

Main = Callable[..., tuple[int, str]]


def test_commands_are_told_by_the_checkpoint(
    mtdense_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = save_checkpoint(small_model(), tmp_path / "last.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    content["mtdense"]["data_class"] = "data_modules.nyud_atrc.NYUDAtrcDataModule"
    content["datamodule_hyper_parameters"] = {"crop_size": [24, 30], "resize": None}
    torch.save(content, checkpoint)
    told: list[Any] = []

    def predictor(self: Predictor, model: object, **options: Any) -> None:
        told.append(options.get("filled"))
        raise ConfigError("seen", "stop here.")

    def exported(self: ExportedModel, model: object, form: str, tasks: object, filled: object = None) -> None:
        predictor(None, model, filled=filled)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "__init__", predictor)
    monkeypatch.setattr(ExportedModel, "__init__", exported)
    for command in (
        ("predict", "--images", picture(tmp_path / "a.png"), "--out", tmp_path / "out"),
        ("serve",),
        ("export", "--format", "torch_export", "--out", tmp_path / "a.pt2"),
    ):
        code, err = mtdense_main(*command, "--ckpt_path", checkpoint)
        assert code == 1 and "seen" in err, err
    assert told == [(24, 30)] * 3
