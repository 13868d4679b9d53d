from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtdense.core.errors import ConfigError
from mtdense.models.baselines import read_baselines


def test_yaml_and_json_with_more_tasks_than_needed(tmp_path: Path) -> None:
    held = {"semseg": 0.4, "depth": 1, "normals": 20.5}
    (tmp_path / "a.yaml").write_text("semseg: 0.4\ndepth: 1\nnormals: 20.5\n")
    (tmp_path / "a.json").write_text(json.dumps(held))
    assert read_baselines(tmp_path / "a.yaml") == read_baselines(tmp_path / "a.json") == held


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("semseg: good\ndepth: 1.0", "'good' as the baseline of 'semseg'"),
        ("- 0.4", "does not hold the baselines"),
        ("a: [", "cannot read the baselines"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "baselines.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_baselines(path)
    assert str(path) in str(caught.value)
    assert caught.value.mend is not None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml"):
        read_baselines(tmp_path / "nothing.yaml")
