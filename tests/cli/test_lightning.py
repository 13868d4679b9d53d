"""The program, run in process with the shipped experiments on small settings."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import mtdense
from data_modules import ProceduralDataModule
from mtdense.models import MTLBaseline
from tests.conftest import CONF

Main = Callable[..., tuple[int, str]]
MULTI = ("--config", "procedural/one-label/mtl_baseline-resnet18.yaml", "--config", CONF / "tiny.yaml")
SINGLE = ("--config", "procedural/one-label/single_task-resnet18.yaml", "--config", CONF / "tiny.yaml")
SMALL = ("--data.train_images", "12", "--data.val_images", "4", "--data.test_images", "5")


def fit(main: Main, run: Path, *options: str, experiment: tuple = MULTI) -> Path:
    code, err = main("fit", *experiment, *SMALL, "--run_dir", run, *options)
    assert code == 0, err
    return run / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a three-step run of the multi-task experiment."""
    from mtdense.cli.main import main

    run = tmp_path_factory.mktemp("trained") / "run"
    assert main(["fit", *map(str, MULTI), *SMALL, "--run_dir", str(run)]) == 0
    return run / "checkpoints" / "last.ckpt"


def record(run: Path, kind: str) -> dict:
    return json.loads((run / "records" / f"{kind}.json").read_text())


def values(run: Path, kind: str) -> dict[str, float]:
    """{"task/metric": value} of a record."""
    return {f"{m['task']}/{m['name']}": m["value"] for m in record(run, kind)["metrics"]}


def test_fit_leaves_everything_in_its_own_folder(trained: Path) -> None:
    run = trained.parent.parent
    assert {"best.ckpt", "last.ckpt"} == {p.name for p in trained.parent.iterdir()}
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["model"]["init_args"]["backbone"] == "tiny"
    assert saved["trainer"]["max_steps"] == 3
    stored = record(run, "fit")
    assert stored["method"] == "mtl_baseline"
    assert stored["steps"] == 3
    assert stored["seed"] == 0
    assert len(stored["weights_sha256"]) == 64
    assert stored["data"]["label_setting"] == "one-label"
    assert stored["checkpoint"] == "checkpoints/last.ckpt"
    assert stored["wall_seconds"] > 0
    assert (run / "logs" / "fit" / "metrics.csv").is_file()


def test_test_needs_nothing_but_the_checkpoint(trained: Path, mtdense_main: Main) -> None:
    code, err = mtdense_main("test", "--ckpt_path", trained)
    assert code == 0, err
    run = trained.parent.parent
    assert set(values(run, "test")) >= {"semseg/mIoU", "depth/RMSE", "normals/mErr"}
    assert record(run, "test")["selection"] == "last"
    assert record(run, "test")["weights_sha256"] == record(run, "fit")["weights_sha256"]


def test_scores_are_printed_with_their_units(trained: Path, tmp_path: Path, capsys) -> None:
    from mtdense.cli.main import main

    options = ("--ckpt_path", str(trained), "--run_dir", str(tmp_path))
    capsys.readouterr()
    for kind in ("test", "validate"):
        assert main([kind, *options]) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        for metric in record(tmp_path, kind)["metrics"]:
            percent = metric["unit"] == "fraction"
            shown = f"{metric['value'] * 100:.2f}" if percent else None
            unit = {"fraction": "%", "metres": "m", "degrees": "°"}[metric["unit"]]
            (found,) = (line for line in lines if line[:2] == [metric["task"], metric["name"]])
            assert found[-1] == unit and (shown is None or found[3] == shown)
        # Lightning's own table, of bare fractions, is not there.
        assert not any("DataLoader" in word for line in lines for word in line)
        assert [line[0] for line in lines].count("loss") == (kind == "validate")
    assert main(["test", *options, "--verbose", "false"]) == 0
    assert "mIoU" not in capsys.readouterr().out


def test_one_yaml_serves_test_and_validate_too(trained: Path, mtdense_main: Main, tmp_path: Path) -> None:
    code, err = mtdense_main("validate", *MULTI, *SMALL, "--ckpt_path", trained, "--run_dir", tmp_path)
    assert code == 0, err
    assert values(tmp_path, "validate")["depth/RMSE"] > 0


def test_a_subset_of_the_tasks_can_be_tested(trained: Path, mtdense_main: Main, tmp_path: Path) -> None:
    code, err = mtdense_main("test", "--ckpt_path", trained, "--run_dir", tmp_path, "--data.tasks", "[depth]")
    assert code == 0, err
    assert {name.split("/")[0] for name in values(tmp_path, "test-last-depth")} == {"depth"}
    code, err = mtdense_main("test", "--ckpt_path", trained, "--run_dir", tmp_path, "--data.tasks", "[edges]")
    assert code == 1
    assert "edges" in err
    assert "semseg, depth, normals" in err


def test_a_run_is_not_cleared_for_one_that_cannot_begin(mtdense_main: Main, tmp_path: Path) -> None:
    checkpoint = fit(mtdense_main, tmp_path / "run")
    impossible = ("--data.min_labelled", "3", "--overwrite", "true")
    code, err = mtdense_main("fit", *MULTI, *SMALL, *impossible, "--run_dir", tmp_path / "run")
    assert code == 1
    assert "min_labelled 3" in err
    assert checkpoint.exists()
    assert record(tmp_path / "run", "fit")["steps"] == 3


def test_each_images_own_scores(trained: Path, mtdense_main: Main, tmp_path: Path) -> None:
    command = ("test", "--ckpt_path", trained, "--run_dir", tmp_path / "run", "--data.batch_size", "2")
    code, err = mtdense_main(*command, "--per-image", tmp_path / "scores.csv")
    assert code == 0, err
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pooled = values(tmp_path / "run", "test")
    assert len(rows) == 5
    assert rows == sorted(rows, key=lambda row: row["id"])
    assert set(rows[0]) == {"id", *pooled}
    # Each rendered pixel has a depth and a normal, so that the pool is the mean of the images here.
    mean = {name: [float(row[name]) for row in rows] for name in ("normals/mErr", "depth/absErr")}
    for name, scores in mean.items():
        assert sum(scores) / 5 == pytest.approx(pooled[name], rel=1e-5)
        assert len(set(scores)) == 5
    code, err = mtdense_main("validate", "--ckpt_path", trained, "--per_image", tmp_path / "x.csv")
    assert code == 1
    assert "mtdense test" in err


def test_delta_m_while_training(mtdense_main: Main, tmp_path: Path) -> None:
    baselines = {"semseg": 0.1, "depth": 2.0, "normals": 40.0}
    (tmp_path / "single.yaml").write_text(yaml.safe_dump(baselines))
    option = ("--model.delta_m_baselines", tmp_path / "single.yaml")
    checkpoint = fit(mtdense_main, tmp_path / "run", *option)
    score = values(tmp_path / "run", "fit")
    signs = {"semseg/mIoU": 1, "depth/RMSE": -1, "normals/mErr": -1}
    gains = [sign * (score[name] / baselines[name.split("/")[0]] - 1) for name, sign in signs.items()]
    assert record(tmp_path / "run", "fit")["logged"]["val/delta_m"] == pytest.approx(100 * sum(gains) / 3, rel=1e-4)
    # Checkpoint and configuration hold the numbers: the file need not be there any more.
    (tmp_path / "single.yaml").unlink()
    assert mtdense_main("test", "--ckpt_path", checkpoint)[0] == 0
    code, err = mtdense_main("fit", "--ckpt_path", checkpoint, "--trainer.max_steps", "6")
    assert code == 0, err
    assert record(tmp_path / "run", "fit")["steps"] == 6
    for text, message in (
        ("semseg: 10.0\ndepth: 2\nnormals: 40", "a fraction"),
        ("semseg: 0.1", "for 'depth'"),
        ("[", "single.yaml"),
    ):
        (tmp_path / "single.yaml").write_text(text)
        code, err = mtdense_main("fit", *MULTI, *SMALL, *option, "--run_dir", tmp_path / "other")
        assert code == 1
        assert "aselines" in err and message in err


def test_predict_writes_pictures_and_arrays(trained: Path, mtdense_main: Main, tmp_path: Path) -> None:
    code, err = mtdense_main("predict", "--ckpt_path", trained, "--out", tmp_path / "out")
    assert code == 0, err
    for task in ("semseg", "depth", "normals"):
        pictures = sorted((tmp_path / "out" / task).glob("*.png"))
        arrays = sorted((tmp_path / "out" / task).glob("*.npy"))
        assert len(pictures) == len(arrays) == 5
        array = np.load(arrays[0])
        assert array.shape[:2] == (32, 40)
        assert Image.open(pictures[0]).size == (40, 32)


def test_predictions_are_recorded(trained: Path, mtdense_main: Main, tmp_path: Path) -> None:
    code, err = mtdense_main("predict", "--ckpt_path", trained, "--run_dir", tmp_path)
    assert code == 0, err
    stored = record(tmp_path, "predict")
    assert stored["weights_sha256"] == record(trained.parent.parent, "fit")["weights_sha256"]
    assert stored["metrics"] == []


def test_predict_on_own_pictures_of_any_size(trained: Path, mtdense_main: Main, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, size in (("wide", (30, 100)), ("tall", (90, 50))):
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    images = ("--images", tmp_path / "wide.png", tmp_path / "tall.png")
    code, err = mtdense_main("predict", "--ckpt_path", trained, *images, "--out", tmp_path / "out")
    assert code == 0, err
    assert np.load(tmp_path / "out" / "depth" / "wide.npy").shape == (30, 100)
    assert np.load(tmp_path / "out" / "normals" / "tall.npy").shape == (90, 50, 3)


def test_load_gives_the_model(trained: Path) -> None:
    model = mtdense.load(trained)
    assert isinstance(model, MTLBaseline)
    assert not model.training
    assert list(model.tasks) == ["semseg", "depth", "normals"]
    with torch.no_grad():
        assert model(torch.rand(1, 3, 32, 40)).final["semseg"].shape[1] == 13


def test_same_seed_same_run_other_seed_other_run(mtdense_main: Main, tmp_path: Path) -> None:
    results = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        checkpoint = fit(mtdense_main, tmp_path / name, "--seed_everything", seed)
        assert mtdense_main("test", "--ckpt_path", checkpoint)[0] == 0
        run = tmp_path / name
        results.append((record(run, "fit")["weights_sha256"], values(run, "test")))
    assert results[0] == results[1]
    assert results[0][0] != results[2][0]
    assert results[0][1] != results[2][1]


def test_worker_processes_change_nothing(mtdense_main: Main, tmp_path: Path) -> None:
    sums = []
    for workers in (0, 2):
        fit(mtdense_main, tmp_path / str(workers), "--data.num_workers", str(workers))
        sums.append(record(tmp_path / str(workers), "fit")["weights_sha256"])
    assert sums[0] == sums[1]


def test_single_task_and_table(trained: Path, mtdense_main: Main, tmp_path: Path, capsys) -> None:
    for task in ("semseg", "depth", "normals"):
        checkpoint = fit(mtdense_main, tmp_path / task, "--data.tasks", f"[{task}]", experiment=SINGLE)
        assert mtdense_main("test", "--ckpt_path", checkpoint)[0] == 0
    checkpoint = fit(mtdense_main, tmp_path / "mtl")
    assert mtdense_main("test", "--ckpt_path", checkpoint)[0] == 0
    code = mtdense.cli.main.main(["table", "show", "--runs", str(tmp_path), "--format", "json"])
    assert code == 0
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert set(rows) == {"single_task", "mtl_baseline"}
    single, multi = values(tmp_path / "depth", "test"), values(tmp_path / "mtl", "test")
    gain = -(multi["depth/RMSE"] - single["depth/RMSE"]) / single["depth/RMSE"]
    s, m = values(tmp_path / "normals", "test")["normals/mErr"], multi["normals/mErr"]
    gain += -(m - s) / s
    s, m = values(tmp_path / "semseg", "test")["semseg/mIoU"], multi["semseg/mIoU"]
    gain += (m - s) / s
    assert rows["mtl_baseline"]["delta_m"] == [pytest.approx(100 * gain / 3, rel=1e-4)]


def test_resume_continues(trained: Path, mtdense_main: Main, tmp_path: Path) -> None:
    code, err = mtdense_main(
        "fit", *MULTI, *SMALL, "--ckpt_path", trained, "--run_dir", tmp_path, "--trainer.max_steps", "5"
    )
    assert code == 0, err
    assert record(tmp_path, "fit")["steps"] == 5


def test_a_saved_configuration_runs_again_elsewhere(trained: Path, mtdense_main: Main, tmp_path: Path) -> None:
    run = trained.parent.parent
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    code, err = mtdense_main("fit", "--config", run / "config.yaml", "--run_dir", tmp_path / "again")
    assert code == 0, err
    assert record(tmp_path / "again", "fit")["weights_sha256"] == record(run, "fit")["weights_sha256"]
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    names = {p.relative_to(tmp_path / "again").as_posix() for p in (tmp_path / "again").rglob("*") if p.is_file()}
    assert {"config.yaml", "checkpoints/best.ckpt", "logs/fit/metrics.csv"} <= names
    # The same file beside the checkpoint it belongs to.
    test = ("test", "--config", run / "config.yaml", "--ckpt_path", trained, "--run_dir", tmp_path / "test")
    code, err = mtdense_main(*test)
    assert code == 0, err


@pytest.mark.parametrize("config", ["base/wandb.yaml", "base/tensorboard.yaml"])
def test_other_loggers_by_yaml(mtdense_main: Main, tmp_path: Path, config: str) -> None:
    fit(mtdense_main, tmp_path / "run", "--config", config)
    written = {p.name for p in (tmp_path / "run").rglob("*")}
    assert "metrics.csv" in written
    assert any(("offline-run" in name) or name.startswith("events.out") for name in written)


def test_wandb_beside_forked_workers_that_change_colours(mtdense_main: Main, tmp_path: Path) -> None:
    options = ("--config", "base/wandb.yaml", "--data.num_workers", "1", "--data.photometric", "mild")
    fit(mtdense_main, tmp_path / "run", *options)


def test_ctrl_c_saves_after_the_step_and_the_run_goes_on(
    mtdense_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (*MULTI, *SMALL, "--trainer.max_steps", "6", "--trainer.val_check_interval", "6")
    code, err = mtdense_main("fit", *options, "--run_dir", tmp_path / "whole")
    assert code == 0, err
    original = MTLBaseline.training_step

    def interrupted(module: MTLBaseline, *arguments: object) -> torch.Tensor:
        if module.global_step == 3:
            signal.raise_signal(signal.SIGINT)
        return original(module, *arguments)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(MTLBaseline, "training_step", interrupted)
        code, err = mtdense_main("fit", *options, "--run_dir", tmp_path / "run")
    assert code == 1
    assert signal.getsignal(signal.SIGINT) is before
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 4
    assert not (tmp_path / "run" / "records" / "fit.json").exists()
    code, err = mtdense_main("fit", *options, "--run_dir", tmp_path / "run", "--ckpt_path", last)
    assert code == 0, err
    assert values(tmp_path / "run", "fit") == values(tmp_path / "whole", "fit")
    same = (record(tmp_path / name, "fit")["weights_sha256"] for name in ("run", "whole"))
    assert len(set(same)) == 1


def test_without_validation_images_only_last_is_kept(
    mtdense_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProceduralDataModule, "has_validation", False)
    code, err = mtdense_main("fit", *MULTI, *SMALL, "--run_dir", tmp_path)
    assert code == 0, err
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    assert record(tmp_path, "fit")["data"]["val_size"] is None
    code, err = mtdense_main("validate", "--ckpt_path", tmp_path / "checkpoints" / "last.ckpt")
    assert code == 1
    assert "no validation images" in err
