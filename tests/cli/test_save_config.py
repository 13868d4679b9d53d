"""The configuration in a run's folder is whole or not there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mtdense.cli.save_config import SaveConfig


def test_a_killed_process_leaves_no_half_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callback = SaveConfig.__new__(SaveConfig)
    callback.text, callback.config_filename = "model: {}\n", "config.yaml"
    trainer: Any = SimpleNamespace(fast_dev_run=False, default_root_dir=str(tmp_path), loggers=[])

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            callback.save_config(trainer, None, "fit")  # type: ignore[arg-type]
    assert not (tmp_path / "config.yaml").exists()
    callback.save_config(trainer, None, "fit")  # type: ignore[arg-type]
    assert (tmp_path / "config.yaml").read_text() == "model: {}\n"
