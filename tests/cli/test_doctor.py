from __future__ import annotations

import argparse
import json
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from mtdense.cli import doctor
from mtdense.core.errors import ConfigError


@pytest.fixture(autouse=True)
def healthy(monkeypatch):
    """A machine on which all is well, whatever the real one is like."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 0, 1 << 40))
    monkeypatch.setattr(doctor, "experiments_root", lambda: Path("experiments"))
    monkeypatch.setattr(doctor, "experiment_names", lambda: ("a.yaml",))
    monkeypatch.delenv(doctor.DATA_VARIABLE, raising=False)


def call(*arguments):
    parser = argparse.ArgumentParser()
    doctor.add_parser(parser.add_subparsers())
    args = parser.parse_args(["doctor", *arguments])
    return args.func(args)


def test_a_healthy_machine(capsys):
    assert call() == 0
    out = capsys.readouterr().out
    assert torch.__version__ in out
    assert "all is well" in out


def test_json_is_complete(capsys):
    assert call("--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert set(found["facts"]) == {"versions", "devices", "extras", "experiments", "data", "disk", "numba"}
    assert found["facts"]["devices"]["torchvision guard"]
    assert found["facts"]["extras"]["dev"] is True
    assert Path(found["facts"]["numba"]["cache"]).is_dir()


def test_a_missing_data_folder_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(doctor.DATA_VARIABLE, os.pathsep.join([str(tmp_path), str(tmp_path / "nowhere")]))
    assert call() == 1
    out = capsys.readouterr().out
    assert f"{tmp_path / 'nowhere'}, which is no folder" in out
    assert out.count("problem") == 1


def test_little_free_disk_is_a_problem(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 5 << 20))
    assert any("only 5 MiB" in problem for problem in doctor.examine().problems)


def test_missing_experiments_are_a_problem_and_the_rest_is_still_examined(monkeypatch):
    def missing():
        raise ConfigError("there are no experiments", "install mtdense again")

    monkeypatch.setattr(doctor, "experiments_root", missing)
    diagnosis = doctor.examine()
    assert ["there are no experiments" in problem for problem in diagnosis.problems] == [True]
    assert diagnosis.facts["versions"]["torch"]
    assert "cache" in diagnosis.facts["numba"]


def test_no_place_for_compiled_kernels_is_a_problem(monkeypatch):
    import numba

    def refuse(**_: object):
        def decorate(function: object):
            raise RuntimeError("cannot cache function: no locator available")

        return decorate

    monkeypatch.setattr(numba, "njit", refuse)
    assert any("NUMBA_CACHE_DIR" in problem for problem in doctor.examine().problems)


def test_a_missing_package_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "_PACKAGES", ("torch", "no_such_package"))
    assert doctor.examine().problems == ["no_such_package is not installed; install mtdense again"]
