from __future__ import annotations

import argparse
import math
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch

from mtdense.core.errors import ConfigError
from mtdense.reports.canonical import canonical_json, checksum, decode_float, file_checksum, plain, write_atomic


class Colour(Enum):
    RED = "red"


def test_plain_values_survive_and_others_get_one_form():
    value = {
        "path": Path("a") / "b",
        "tuple": (1, np.float32(0.5), np.int64(3)),
        "set": {"b", "a"},
        "enum": Colour.RED,
        "namespace": argparse.Namespace(x=torch.tensor(2.0), y=None),
        "dtype": torch.float16,
        "flag": np.bool_(True),
        "type": Path,
    }
    assert plain(value) == {
        "path": "a/b",
        "tuple": [1, 0.5, 3],
        "set": ["a", "b"],
        "enum": "red",
        "namespace": {"x": 2.0, "y": None},
        "dtype": "torch.float16",
        "flag": True,
        "type": f"{Path.__module__}.Path",
    }


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1.25])
def test_floats_come_back(value):
    assert decode_float(plain(value)) == value


def test_nan_comes_back_and_other_text_does_not():
    assert math.isnan(decode_float(plain(math.nan)))
    with pytest.raises(ValueError, match="'high'"):
        decode_float("high")


def test_values_without_plain_form_are_named():
    with pytest.raises(ConfigError, match=r"config\.model\[1\] is a .*object"):
        plain({"model": [1, object()]}, "config")


def test_checksum_depends_on_values_and_not_on_order():
    assert checksum({"a": 1, "b": [1, 2]}) == checksum({"b": [1, 2], "a": 1})
    assert checksum({"a": 1, "b": [1, 2]}) != checksum({"a": 1, "b": [2, 1]})
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "sub" / "file.txt"
    write_atomic(path, "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("mtdense.reports.canonical.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_file_checksum(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    # Published test vector of SHA-256.
    assert file_checksum(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
