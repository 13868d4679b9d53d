"""`mtdense diagnose` on networks that learned nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtdense.models import TIF
from mtdense.models.checkpoint import load
from tests.conftest import CONF

Main = Callable[..., tuple[int, str]]
DATA = ("--data.train_images", "8", "--data.val_images", "4", "--data.test_images", "6")
BASE = ("--config", "procedural/one-label/mtl_baseline-resnet18.yaml", "--config", str(CONF / "tiny.yaml"), *DATA)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders of TIF, of the MTL baseline, and of a single-task network of depth."""
    from mtdense.cli.main import main

    folder = tmp_path_factory.mktemp("runs")
    options = {
        "tif": ("--model", "mtdense.models.TIF"),
        "mtl": (),
        "depth": ("--model", "mtdense.models.SingleTask", "--data.tasks", "[depth]"),
    }
    for name, own in options.items():
        short = ("--trainer.max_steps", "1", "--trainer.val_check_interval", "1")
        assert main(["fit", *BASE, *own, *short, "--run_dir", str(folder / name)]) == 0
    return {name: folder / name for name in options}


def test_numbers_of_the_whole_data_set(runs: dict[str, Path], mtdense_main: Main) -> None:
    code, err = mtdense_main("diagnose", "--ckpt_path", runs["tif"], "--figures", "2", "--device", "cpu")
    assert code == 0, err
    out = runs["tif"] / "diagnosis"
    pictures = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png"))
    own = ["lthd", "lthd_attention", "task_distance"]
    own += [f"task_distance_{metric}" for metric in ("attention", "cka", "cosine", "l2")]
    assert pictures == ["predictions.png", *(f"tif/{name}.png" for name in sorted(own))]

    told = json.loads((out / "diagnosis.json").read_text())
    assert told["data"]["split"] == "test" and told["data"]["name"] == "procedural"
    (network,) = told["networks"]
    tasks = network["tasks"]
    assert (network["name"], network["method"], len(tasks)) == ("tif", "tif", 3)
    # Of batches of four images and of two: by hand, image by image.
    model = load(runs["tif"] / "checkpoints" / "last.ckpt")
    assert isinstance(model, TIF)
    expected = []
    for batch in batches_of(runs["tif"]):
        with torch.no_grad():
            expected.append(model.task_distances(batch, model.run_network(batch), "l2")[3])
    distance = torch.cat(expected).double()
    found = network["numbers"]["task_distance/l2/scale_3"]
    assert found["images"] == len(found["per_image"]) == 6
    assert np.allclose(found["mean"], distance.mean(0), rtol=1e-4)
    assert np.allclose(found["std"], distance.std(0), rtol=1e-4)
    assert np.allclose(list(found["per_image"].values()), distance, rtol=1e-4)
    pairs = distance[:, [0, 0, 1], [1, 2, 2]].mean(1)
    assert found["pairs"]["mean"] == pytest.approx(float(pairs.mean()), rel=1e-4)
    assert found["pairs"]["std"] == pytest.approx(float(pairs.std()), rel=1e-4)
    assert len(network["numbers"]["lthd_change/scale_0"]["mean"]) == 3


def batches_of(run: Path) -> list:
    """The test batches of a run's data."""
    from mtdense.cli.building import build_data
    from mtdense.models.checkpoint import read_checkpoint

    data = build_data(read_checkpoint(run / "checkpoints" / "last.ckpt"))
    data.setup("test")
    return list(data.test_dataloader())


def test_predictions_beside_peers(
    runs: dict[str, Path], mtdense_main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mtdense.cli.main import main

    files = [str(runs["mtl"]), str(runs["depth"] / "checkpoints" / "last.ckpt"), str(runs["tif"])]
    code = main(
        ["diagnose", "--ckpt_path", *files, "--figures", "5", "--limit", "2", "--out", str(tmp_path / "o"), "--json"]
    )
    assert code == 0
    told = json.loads(capsys.readouterr().out)
    assert [network["name"] for network in told["networks"]] == ["mtl_baseline", "single_task", "tif"]
    assert [bool(network["numbers"]) for network in told["networks"]] == [False, False, True]
    assert told["networks"][2]["numbers"]["lthd_change/scale_1"]["images"] == 2
    sheet = Image.open(tmp_path / "o" / "predictions.png")
    # Image, and for each of three tasks the label and two networks, for depth a third; tiles 240 wide, two rows.
    tiles = 1 + 3 * 3 + 1
    assert sheet.size[0] == 2 * 12 + tiles * 240 + (tiles - 1) * 4 + 3 * 12
    assert 2 * 192 < sheet.size[1] < 3 * 192
    # The same network twice: names of runs, then numbers.
    code = main(
        ["diagnose", "--ckpt_path", files[0], files[0], "--figures", "1", "--out", str(tmp_path / "p"), "--json"]
    )
    assert code == 0
    assert [n["name"] for n in json.loads(capsys.readouterr().out)["networks"]] == ["mtl-1", "mtl-2"]


@pytest.mark.parametrize(
    ("first", "options", "message"),
    [
        ("tif", ("--figures", "-1"), "--figures -1"),
        ("tif", ("--limit", "0"), "--limit 0"),
        ("tif", ("--names", "a", "b"), "2 names for 1 checkpoints"),
        ("tif", ("--names", "a/b"), "--names a/b"),
        ("tif", ("--device", "warp"), "--device warp"),
        ("absent", (), "no checkpoint at"),
        ("tif", ("--model.width", "4"), "--model.width beside --ckpt_path"),
        ("depth", ("--data.tasks", "[semseg]"), "single_task predicts depth, the data have semseg"),
    ],
)
def test_errors(
    runs: dict[str, Path], mtdense_main: Main, tmp_path: Path, first: str, options: tuple[str, ...], message: str
) -> None:
    code, err = mtdense_main(
        "diagnose", "--ckpt_path", runs.get(first, tmp_path / "none.ckpt"), "--out", tmp_path / "out", *options
    )
    assert code == 1 and message in err and "Mend:" in err, err


def test_another_meaning_is_refused(runs: dict[str, Path], mtdense_main: Main, tmp_path: Path) -> None:
    code, err = mtdense_main(
        "fit",
        *BASE,
        "--trainer.max_steps",
        "1",
        "--trainer.val_check_interval",
        "1",
        "--data.tasks",
        "[depth]",
        "--data.task_options",
        "{depth: {unit: disparity}}",
        "--run_dir",
        tmp_path / "other",
    )
    assert code == 0, err
    code, err = mtdense_main("diagnose", "--ckpt_path", runs["tif"], tmp_path / "other", "--out", tmp_path / "out")
    assert code == 1 and "mtl_baseline: 'depth' means" in err


def test_callback_has_numbers_and_peers(runs: dict[str, Path], mtdense_main: Main, tmp_path: Path) -> None:
    peer = runs["depth"] / "checkpoints" / "last.ckpt"
    overlay = tmp_path / "figures.yaml"
    overlay.write_text(
        "trainer: {max_steps: 1, val_check_interval: 1, callbacks: [{class_path: mtdense.reports.ArchitectureFigures, "
        f"init_args: {{images: 2, peers: ['{peer}']}}}}]}}\n"
    )
    arguments = ("fit", *BASE, "--config", overlay, "--model", "mtdense.models.TIF", "--run_dir", tmp_path / "run")
    code, err = mtdense_main(*arguments)
    assert code == 0, err
    folder = tmp_path / "run" / "figures" / "step-000001"
    told = json.loads((folder / "numbers.json").read_text())
    assert len(told["numbers"]["task_distance/cosine/scale_2"]["per_image"]) == 2
    # Image, three labels and three predictions, and depth by the peer.
    assert Image.open(folder / "predictions.png").size[0] == 2 * 12 + 8 * 240 + 7 * 4 + 3 * 12
    overlay.write_text(overlay.read_text().replace(str(peer), "nowhere.ckpt"))
    code, err = mtdense_main(*arguments, "--overwrite", "true")
    assert code == 1 and "no checkpoint at nowhere.ckpt" in err
