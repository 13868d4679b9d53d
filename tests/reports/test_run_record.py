from __future__ import annotations

import json
import math

import pytest
import torch

from mtdense.core.errors import ConfigError, DataError
from mtdense.reports import MetricValue, RunRecord, weights_checksum
from mtdense.reports.canonical import checksum
from tests.reports.helpers import make_record


def test_round_trip(tmp_path):
    record = make_record(logged={"train/loss": 0.1 + 0.2}, variant="wide")
    path = record.path_in(tmp_path)
    record.write(path)
    assert path == tmp_path / "records" / "test.json"
    assert RunRecord.read(path) == record
    assert json.loads(path.read_text())["config_sha256"] == checksum(record.config)


def test_a_metric_that_scored_nothing_round_trips(tmp_path):
    record = make_record(scores={"semseg": math.nan, "depth": math.inf})
    record.write(tmp_path / "r.json")
    again = RunRecord.read(tmp_path / "r.json")
    assert math.isnan(again.metric("semseg", "mIoU"))
    assert again.metric("depth", "RMSE") == math.inf
    assert again.metric("depth", "mIoU") is None


def test_a_suffix_tells_records_of_one_kind_apart(tmp_path):
    assert make_record().path_in(tmp_path, "best-semseg+depth").name == "test-best-semseg+depth.json"
    assert make_record(kind="validate").path_in(tmp_path, "").name == "validate.json"


def test_trivial_records_lie_beside_one_another(tmp_path):
    paths = {make_record(method, kind="trivial").path_in(tmp_path).name for method in ("constant", "mean_map")}
    assert paths == {"trivial-constant.json", "trivial-mean_map.json"}


@pytest.mark.parametrize(
    "edit",
    [
        lambda stored: stored["metrics"][0].update(value=0.99),
        lambda stored: stored["config"]["model"].update(lr=1.0),
        lambda stored: stored.update(seed=1),
        lambda stored: stored.pop("device"),
        lambda stored: stored.update(note="better"),
    ],
)
def test_an_edited_record_is_refused(tmp_path, edit):
    path = tmp_path / "r.json"
    make_record().write(path)
    stored = json.loads(path.read_text())
    edit(stored)
    path.write_text(json.dumps(stored))
    with pytest.raises(DataError, match=r"r\.json was changed after it was written") as caught:
        RunRecord.read(path)
    assert caught.value.mend


def resealed(**changes):
    """A record whose checksums fit although its content does not."""
    stored = {**make_record().to_dict(), **changes}
    del stored["record_sha256"]
    stored["config_sha256"] = checksum(stored.get("config"))
    return {**stored, "record_sha256": checksum(stored)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 99}, "schema 99"),
        ({"seed": "zero"}, "seed is 'zero'"),
        ({"steps": True}, "steps is True"),
        ({"extra": 1}, "unknown .'extra'."),
        ({"kind": "guess"}, "guess"),
        ({"metrics": [{"task": "depth"}]}, "not a complete run record"),
        ({"metrics": [7]}, "not a complete run record"),
    ],
)
def test_a_wrong_record_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        RunRecord.from_dict(resealed(**changes), "r.json")


@pytest.mark.parametrize(
    ("text", "message"), [("{", "damaged"), ("[]", "not a run record"), ("{}", "not a run record")]
)
def test_a_file_that_is_no_record_is_refused(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError, match=rf"r\.json.*{message}"):
        RunRecord.read(tmp_path / "r.json")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot read run record .*nothing\.json"):
        RunRecord.read(tmp_path / "nothing.json")


def test_unknown_kind():
    with pytest.raises(ConfigError, match="'guess'"):
        make_record(kind="guess")


def test_metric_values_are_plain():
    assert MetricValue("depth", "RMSE", 1.0, "metres", False, True) in make_record(scores={"depth": 1.0}).metrics


def test_weights_checksum_sees_names_types_shapes_and_bytes():
    state = {"a": torch.arange(4.0), "b": torch.tensor(1)}
    same = weights_checksum({"b": torch.tensor(1), "a": torch.arange(8.0)[::2] / 2})
    assert weights_checksum(state) == same
    others = [
        {"a": torch.arange(4.0), "c": torch.tensor(1)},
        {"a": torch.arange(4.0).reshape(2, 2), "b": torch.tensor(1)},
        {"a": torch.arange(4.0), "b": torch.tensor(1, dtype=torch.int32)},
        {"a": torch.nextafter(torch.arange(4.0), torch.tensor(9.0)), "b": torch.tensor(1)},
        {"a": torch.arange(4.0).bfloat16(), "b": torch.tensor(1)},
        {"a": torch.arange(4.0), "b": torch.tensor(1), "b.extra": {"steps": 3}},
    ]
    assert len({same, *map(weights_checksum, others)}) == len(others) + 1
