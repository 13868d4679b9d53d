"""Experiment files: `extends`, look-up and options taken before parsing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtdense.cli.configs import config_chain, merged_configs, take_option
from mtdense.core.errors import ConfigError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_bases_come_first_and_once(tmp_path: Path) -> None:
    write(tmp_path / "root.yaml", "a: 1\nb: {c: 1, d: 1}\n")
    write(tmp_path / "left.yaml", "extends: [root.yaml]\nb: {c: 2}\n")
    write(tmp_path / "right.yaml", "extends: [root.yaml]\na: 3\n")
    top = write(tmp_path / "sub" / "top.yaml", "extends: [../left.yaml, ../right.yaml]\ne: 5\n")
    assert [p.name for p in config_chain(top)] == ["root.yaml", "left.yaml", "right.yaml", "top.yaml"]
    merged = merged_configs([str(top)])
    assert (merged["a"], merged["b"], merged["e"]) == (3, {"c": 2, "d": 1}, 5)


def test_circle_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "extends: [b.yaml]\n")
    b = write(tmp_path / "b.yaml", "extends: [a.yaml]\n")
    with pytest.raises(ConfigError, match="extends itself"):
        config_chain(b)


@pytest.mark.parametrize(("text", "message"), [("a: [", "not readable YAML"), ("- 1\n", "holds a list")])
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "bad.yaml", text)
    with pytest.raises(ConfigError, match=rf"bad\.yaml[\s\S]*{message}|{message}"):
        config_chain(path)
    write(tmp_path / "bad2.yaml", "extends: base.yaml\n")
    with pytest.raises(ConfigError, match="not a list of paths"):
        config_chain(tmp_path / "bad2.yaml")


def test_another_class_drops_the_old_arguments(tmp_path: Path) -> None:
    write(tmp_path / "early.yaml", "model: {init_args: {lr: 1}}\n")
    write(tmp_path / "a.yaml", "model: {class_path: A, init_args: {width: 2}}\n")
    write(tmp_path / "b.yaml", "model: {class_path: B, init_args: {depth: 3}}\n")
    first = merged_configs([str(tmp_path / "early.yaml"), str(tmp_path / "a.yaml")])
    assert first["model"] == {"class_path": "A", "init_args": {"lr": 1, "width": 2}}
    both = merged_configs([str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")])
    assert both["model"] == {"class_path": "B", "init_args": {"depth": 3}}


def test_shipped_experiments_are_found_by_name() -> None:
    merged = merged_configs(["procedural/one-label/mtl_baseline-resnet18.yaml"])
    assert merged["model"]["class_path"] == "mtdense.models.MTLBaseline"
    assert merged["model"]["init_args"]["schedule"] == "poly"
    assert merged["data"]["class_path"] == "data_modules.ProceduralDataModule"
    with pytest.raises(ConfigError, match="mtl_baseline-resnet18"):
        merged_configs(["procedural/one-label/mtl_baselin-resnet18.yaml"])


def test_take() -> None:
    assert take_option(["--a", "1", "--b=2", "--a=3"], "--a") == (["1", "3"], ["--b=2"])
    with pytest.raises(ConfigError, match="`--a` without a value"):
        take_option(["--a"], "--a")
