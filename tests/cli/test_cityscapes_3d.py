"""Cityscapes 3D through the program: check, show, prepare, and the shipped experiment on a small replica."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_modules import Cityscapes3DDataModule
from mtdense.data.cityscapes.vehicles_writer import write_cityscapes_3d_replica
from mtdense.reports.access import picture_of
from mtdense.reports.prediction_files import Place, write_prediction
from mtdense.reports.restore import CanvasGeometry
from mtdense.tasks import Detection3D
from tests.conftest import CONF

Main = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes_3d_replica(tmp_path_factory.mktemp("cs3d") / "set", 6, 3, seed=2, size=(32, 64))


def fit(main: Main, root: Path, run: Path, *options: str) -> tuple[int, str]:
    shipped = ("--config", "cityscapes_3d/full/mtl_baseline-resnet18.yaml", "--config", str(CONF / "tiny.yaml"))
    small = ("--model.pretrained", "false", "--data.size", "[32, 64]", "--data.root", str(root), "--run_dir", str(run))
    return main("fit", *shipped, *small, *options)


def test_check_tells_of_boxes(
    mtdense_main: Main, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "check.json"
    manifest = ("--manifest", tmp_path / "manifest.json")
    code, err = mtdense_main("data", "check", "cityscapes_3d", "--root", root, "--full", "--json", result, *manifest)
    assert code == 0, err
    found = json.loads(result.read_text())["tasks"]["detection_3d"]["train"]
    stored = [json.loads(path.read_text()) for path in (root / "gtBbox3d" / "train").rglob("*.json")]
    trained = [item for image in stored for item in image["objects"] if item["label"] not in ("caravan", "trailer")]
    assert found["boxes"] == len(trained) > 0 and sum(found["class_boxes"].values()) == len(trained)
    assert found["ignored_regions"] == sum(len(image["ignore"]) for image in stored)
    assert found["decoded"] == found["found"] == found["expected"] == 6 and 0 < found["nearest"] <= found["farthest"]


def test_check_names_a_damaged_file(mtdense_main: Main, root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "set"))
    path = sorted((copy / "gtBbox3d" / "train").rglob("*.json"))[0]
    path.write_text(path.read_text().replace('"fx"', '"f"'))
    result = tmp_path / "check.json"
    code, _ = mtdense_main("data", "check", "cityscapes_3d", "--root", copy, "--json", result)
    findings = json.loads(result.read_text())["findings"]
    assert code == 1 and len(findings) == 1 and findings[0]["where"] == "train detection_3d"
    assert str(path) in findings[0]["examples"][0] and "sensor.fx" in findings[0]["examples"][0]


def test_show_draws_boxes_in_the_image(mtdense_main: Main, root: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    only = ("--data.tasks", "[detection_3d]", "--data.val_fraction", "0")
    code, err = mtdense_main("data", "show", "cityscapes_3d", "--root", root, "--out", sheet, *only)
    assert code == 0, err
    pixels = np.asarray(Image.open(sheet).convert("RGB"))
    assert pixels.shape[0] > 6 * 150 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000


@pytest.mark.parametrize("codec", ["files", "source", "raw"])
def test_trains_tests_and_predicts(mtdense_main: Main, root: Path, tmp_path: Path, codec: str) -> None:
    place, run = root, tmp_path / "run"
    if codec != "files":
        place = tmp_path / "data.h5"
        # The experiment reads depth by TaskPrompter's protocol; a raw pack holds one protocol's values.
        protocol = ("--data.depth_protocol", "taskprompter", "--data.score_size", "null")
        made = ("--out", place, "--codec", codec, *protocol)
        code, err = mtdense_main("data", "prepare", "cityscapes_3d", "--root", root, *made)
        assert code == 0, err
    code, err = fit(mtdense_main, place, run, "--data.num_workers", "2")
    assert code == 0, err
    checkpoint = run / "checkpoints" / "last.ckpt"
    code, err = mtdense_main("test", "--ckpt_path", checkpoint)
    assert code == 0, err
    stored = json.loads((run / "records" / "test.json").read_text())
    assert stored["tasks"] == ["semseg", "depth", "detection_3d"]
    assert {entry["name"] for entry in stored["metrics"] if entry["task"] == "detection_3d"} == {"mDS", "mDS_modal"}
    assert stored["data"]["version"].startswith("replica-cityscapes_3d-taskprompter-")
    assert stored["data"]["test_size"] == 3
    code, err = mtdense_main("predict", "--ckpt_path", checkpoint, "--run_dir", run / "predicted")
    assert code == 0, err
    if codec != "files":
        return
    # What was written is scored; three steps find nothing, see `test_written_boxes_score_as_tested`.
    folder, result = run / "predicted" / "predictions" / "detection_3d", tmp_path / "score.json"
    images = [path.name.removesuffix("_leftImg8bit.png") for path in (root / "leftImg8bit" / "val").rglob("*.png")]
    files = {path.name for path in folder.iterdir()}
    assert files == {name + end for name in images for end in (".png", "_above.png", "_detections.json")}
    assert {Image.open(folder / f"{name}.png").size for name in images} == {(64, 32)}
    args = ("--preds", folder, "--targets", root / "gtBbox3d" / "val", "--json", result)
    code, err = mtdense_main("score", "detection3d", *args)
    assert code == 0, err
    tested = {entry["name"]: entry["value"] for entry in stored["metrics"] if entry["task"] == "detection_3d"}
    assert json.loads(result.read_text())["mDS"] == pytest.approx(tested["mDS"], abs=1e-4)
    # Of pictures without cameras: no boxes, but the rest.
    folders = sorted(path for path in (root / "leftImg8bit" / "val").iterdir())
    pictures = ("--ckpt_path", checkpoint, "--images", *folders, "--out", tmp_path / "other")
    code, err = mtdense_main("predict", *pictures)
    assert code == 1 and "--camera" in err and "--tasks semseg depth" in err
    camera = next((root / "gtBbox3d" / "val").rglob("*.json"))
    taken = ("--ckpt_path", checkpoint, "--images", *folders, "--out", tmp_path / "taken", "--camera", camera)
    code, err = mtdense_main("predict", *taken)
    assert code == 0, err
    written = {path.name for path in (tmp_path / "taken" / "detection_3d").iterdir()}
    assert written == {
        f"{name}_leftImg8bit{end}" for name in images for end in (".png", "_above.png", "_detections.json")
    }
    code, err = mtdense_main("predict", *pictures, "--data.tasks", "[semseg, depth]")
    assert code == 0, err
    assert sorted(path.name for path in (tmp_path / "other").iterdir() if path.is_dir()) == [
        "depth",
        "gallery",
        "semseg",
        "sheets",
    ]


def test_written_boxes_score_as_tested(mtdense_main: Main, root: Path, tmp_path: Path) -> None:
    """Boxes that are nearly right, on a padded canvas of another size, through files in the official format."""
    data = Cityscapes3DDataModule(
        str(root), size=[50, 64], resize="fit", tasks=["detection_3d"], num_workers=0, eval_batch_size=2
    )
    data.setup("test")
    task = Detection3D(**data.task_specs["detection_3d"])
    metrics, folder = task.metrics(), tmp_path / "preds"
    for batch in data.test_dataloader():
        targets = batch["targets"]["detection_3d"]
        (levels,) = task.ideal_levels(targets, [(50, 64)])
        start = sum(list(task.output_groups.values())[:2])
        levels[:, start : start + 4] += 0.02  # depth and size: two hundredths too large
        found = task.predict_batch(levels, (1, 1), batch)
        for metric in metrics.values():
            task.update_metric(metric, found, targets, task.counted(targets, batch["labelled"]["detection_3d"]))
        for i, image_id in enumerate(batch["id"]):
            shown = partial(picture_of, batch["image"], i)
            geometry = CanvasGeometry.of(batch["meta"], i)
            write_prediction(task, found[i], geometry, shown, Place(folder, image_id, pictures=False, arrays=True))
    for matching, name in (("amodal", "mDS"), ("modal", "mDS_modal")):
        result = tmp_path / f"{matching}.json"
        args = ("--preds", folder, "--targets", root / "gtBbox3d" / "val", "--matching", matching, "--json", result)
        code, err = mtdense_main("score", "detection3d", *args)
        assert code == 0, err
        tested = float(metrics[name].compute())
        assert 0.05 < tested < 0.999
        assert json.loads(result.read_text())["mDS"] == pytest.approx(tested, abs=1e-4)


def test_a_mask_over_boxes_that_are_not_carried(mtdense_main: Main, root: Path, tmp_path: Path) -> None:
    """The comparison of networks that see the same labels: this one has no head for boxes."""
    mask = ("--data.mask_tasks", "[semseg, depth, detection_3d]", "--data.label_setting", "one-label")
    maps = ("--data.tasks", "[semseg, depth]", "--model.loss_weights", "{semseg: 100.0, depth: 1.0}")
    code, err = fit(mtdense_main, root, tmp_path, *mask, *maps, "--data.depth_protocol", "disparity")
    assert code == 0, err
    data = json.loads((tmp_path / "records" / "fit.json").read_text())["data"]
    assert set(data["label_counts"]) == {"semseg", "depth", "detection_3d"} and all(data["label_counts"].values())


def test_a_model_without_a_network_for_boxes_says_so(mtdense_main: Main, root: Path, tmp_path: Path) -> None:
    config = tmp_path / "maps.yaml"
    config.write_text(
        "data: {class_path: data_modules.Cityscapes3DDataModule, init_args: {tasks: [semseg, detection_3d]}}\n"
        "model: {class_path: mtdense.models.SemiSupervised}\n"
    )
    tiny = ("--config", str(config), "--config", str(CONF / "tiny.yaml"))
    code, err = mtdense_main("fit", *tiny, "--data.root", str(root), "--run_dir", str(tmp_path / "run"))
    assert code != 0 and err.count("mtdense: error:") == 1
    told = err[err.index("mtdense: error:") :]
    assert "Traceback" not in told
    assert "detection_3d" in told and "semi_supervised" in told and "Mend:" in told
    assert not (tmp_path / "run").exists()
