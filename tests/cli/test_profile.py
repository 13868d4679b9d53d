"""`mtdense profile` on shipped experiments."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

Main = Callable[..., tuple[int, str]]


def test_json_of_a_published_count(mtdense_main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    from mtdense.cli.main import main

    config = "nyud_mtan/one-label/mtl_baseline-resnet18.yaml"
    assert main(["profile", "--config", config, "--count-only", "--json", "--depth", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    asked = {"params_m", "macs_g", "thop", "ptflops", "latency_s", "peak_memory_gb", "input_size"}
    assert set(found) == asked | {"training_only_params_m", "modules"}
    for counter, macs in (("thop", 60.643), ("ptflops", 60.619)):
        assert set(found[counter]) == {"params_m", "macs_g"} and round(found[counter]["macs_g"], 3) == macs
    assert found["params_m"] == found["thop"]["params_m"] == found["ptflops"]["params_m"] == 43.933265
    assert found["input_size"] == [288, 384]
    assert found["latency_s"] is None and found["peak_memory_gb"] is None
    assert [part["name"] for part in found["modules"]] == ["backbone", "neck", "decoders", "heads"]
    assert found["macs_g"] == pytest.approx(sum(part["macs_g"] for part in found["modules"]))


def test_options_size_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    from mtdense.cli.main import main

    arguments = ["--config", "procedural/one-label/mtl_baseline-resnet18.yaml", "--model.backbone", "tiny"]
    arguments += ["--model.preset", "tiny", "--data.tasks", "[depth]", "--input-size", "32", "40"]
    assert main(["profile", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["input_size"] == [32, 40] and found["latency_s"] > 0
    assert not any("semseg" in part["name"] for part in found["modules"])
    assert main(["profile", *arguments, "--count-only"]) == 0
    assert "As thop counts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--input-size", "0", "40"), "--input-size 0 40"),
        (("--device", "warp"), "--device warp"),
        (("--depth", "-1"), "--depth -1"),
    ],
)
def test_bad_options(mtdense_main: Main, options: tuple[str, ...], message: str) -> None:
    base = ("--config", "procedural/one-label/mtl_baseline-resnet18.yaml", "--model.backbone", "tiny")
    code, err = mtdense_main("profile", *base, "--model.preset", "tiny", *options)
    assert code == 1 and message in err and "Mend:" in err
