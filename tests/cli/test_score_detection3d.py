"""`mtdense score detection3d`: known results, both outputs, and every mistake."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtdense.cli.main import main

Main = Callable[..., tuple[int, str]]
ORACLE = Path(__file__).parents[1] / "metrics" / "oracle" / "mds"


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A copy of the second case, to spoil."""
    shutil.copytree(ORACLE / "case2", tmp_path / "case")
    return tmp_path / "case"


def options(folder: Path, *more: object) -> list[str]:
    return ["score", "detection3d", "--preds", str(folder / "pred"), "--targets", str(folder / "gt"), *map(str, more)]


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("matching", ["amodal", "modal"])
def test_equals_the_official_evaluation(
    matching: str, case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = json.loads((ORACLE / "case2" / f"{matching}.json").read_text())
    report = tmp_path / "report.json"
    assert main(options(case, "--matching", matching, "--json", report)) == 0
    told = json.loads(report.read_text())
    assert told["mDS"] == pytest.approx(expected["mDetection_Score"], abs=1e-9)
    assert told["mAP"] == pytest.approx(expected["mAP"], abs=1e-9)
    assert told["per_class"]["car"]["DS"] == pytest.approx(expected["Detection_Score"]["car"], abs=1e-9)
    assert told["protocol"] == {"matching": matching}
    assert (told["images"], told["images_without_predictions"]) == (6, 0)
    table = capsys.readouterr().out
    assert f"{expected['mDetection_Score'] * 100:.2f} %" in table
    assert f"matching {matching}" in table
    assert len([line for line in table.splitlines() if line.split()[0] in told["per_class"]]) == 6


def test_amodal_is_the_default_and_json_can_be_printed(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = json.loads((ORACLE / "case2" / "amodal.json").read_text())
    assert main(options(case, "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mDS"] == pytest.approx(expected["mDetection_Score"], abs=1e-9)
    assert {"mDS", "mAP", "per_class"} <= set(told)


def test_missing_predictions_count_as_none(capsys: pytest.CaptureFixture[str]) -> None:
    expected = json.loads((ORACLE / "case3" / "amodal.json").read_text())
    with pytest.warns(UserWarning, match="lacks files of 1 of 5 images.*synth_000002_000019"):
        assert main(options(ORACLE / "case3", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mDS"] == pytest.approx(expected["mDetection_Score"], abs=1e-9)
    assert told["images_without_predictions"] == 1
    assert told["per_class"]["bus"]["DS"] == "NaN", "no bus in the whole set: of no value, and in no mean"


def test_a_list_of_images(case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = tmp_path / "ids.txt"
    listed.write_text("synth_000003_000019\nsynth_000001_000019\n")
    assert main(options(case, "--list", listed, "--json")) == 0
    part = json.loads(capsys.readouterr().out)
    assert part["images"] == 2
    for path in [*(case / "gt").iterdir(), *(case / "pred").iterdir()]:
        if path.name[:12] not in ("synth_000003", "synth_000001"):
            path.unlink()
    assert main(options(case, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["mDS"] == part["mDS"]


TARGET, PRED = "gt/synth_000001_000019_gtBbox3d.json", "pred/synth_000001_000019_predBbox3d.json"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (TARGET, lambda c: c.pop("sensor"), "sensor is missing"),
        (TARGET, lambda c: c["sensor"].pop("sensor_T_ISO_8855"), "sensor.sensor_T_ISO_8855 is missing"),
        (TARGET, lambda c: c["sensor"].update(fx=0.0), "sensor.fx is 0.0"),
        (TARGET, lambda c: c["sensor"].update(fy=-9.0), "sensor.fy is -9.0"),
        (TARGET, lambda c: c["objects"][0]["3d"].update(dimensions=[4, 0, 2]), "objects[0].3d.dimensions"),
        (TARGET, lambda c: c.pop("ignore"), "ignore is missing"),
        (PRED, lambda c: c["objects"][0]["3d"].update(dimensions=[4, -1, 2]), "objects[0].3d.dimensions"),
        (PRED, lambda c: c["objects"][0]["3d"].update(rotation=[float("nan"), 0, 0, 1]), "objects[0].3d.rotation"),
        (PRED, lambda c: c["objects"][0]["3d"].update(rotation=[0, 0, 0, 0]), "objects[0].3d.rotation"),
        (PRED, lambda c: c["objects"][0]["3d"].update(center=[float("inf"), 0, 0]), "objects[0].3d.center"),
        (PRED, lambda c: c["objects"][0].update(score=1.5), "objects[0].score is 1.5"),
        (PRED, lambda c: c["objects"][0].update(label="cra"), "Did you mean 'car'"),
        (PRED, lambda c: c.pop("objects"), "objects is missing"),
    ],
)
def test_bad_files_are_named(
    name: str, change: Callable[[dict[str, Any]], None], message: str, case: Path, mtdense_main: Main
) -> None:
    edit(case / name, change)
    report = case.parent / "report.json"
    code, err = mtdense_main(*options(case, "--json", report))
    assert code == 1, err
    assert message in err
    assert Path(name).name in err
    assert "Mend:" in err
    assert "Traceback" not in err
    assert not report.exists()


def test_predictions_without_a_target(case: Path, mtdense_main: Main) -> None:
    shutil.copy(case / PRED, case / "pred" / "synth_000099_000019_predBbox3d.json")
    code, err = mtdense_main(*options(case))
    assert code == 1
    assert "1 of 7 predictions without a target" in err
    assert "synth_000099_000019" in err


def test_no_prediction_belongs_to_a_target(case: Path, mtdense_main: Main) -> None:
    for path in (case / "pred").iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    code, err = mtdense_main(*options(case))
    assert code == 1
    assert "'xsynth_000000_000019'" in err
    assert "'synth_000000_000019'" in err


def test_a_listed_image_without_labels(case: Path, tmp_path: Path, mtdense_main: Main) -> None:
    listed = tmp_path / "ids.txt"
    listed.write_text("synth_000001_000019\nmunster_000000_000019\n")
    code, err = mtdense_main(*options(case, "--list", listed))
    assert code == 1
    assert "1 of 2 targets missing" in err
    assert "munster_000000_000019" in err


def test_outputs_do_not_go_into_what_is_read(case: Path, mtdense_main: Main) -> None:
    code, err = mtdense_main(*options(case, "--json", case / "pred" / "report.json"))
    assert code == 1
    assert "which is read" in err


def test_no_labelled_box_at_all(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (case / "gt").iterdir():
        edit(path, lambda content: content.update(objects=[]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert main(options(case, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["mDS"] == "NaN"
    assert any("scored no labelled box" in str(warning.message) for warning in told)
