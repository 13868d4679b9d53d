"""Every mistake gives one error that names it and the mend, and nothing is lost."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mtdense.cli.main import DIVERGED
from tests.cli.test_lightning import MULTI, SMALL, fit, trained

__all__ = ["trained"]
Main = Callable[..., tuple[int, str]]


def one_error(err: str) -> str:
    """The message; fails where there is a traceback or more than one error."""
    assert "Traceback" not in err, err
    assert err.count("error:") == 1, err
    return err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--data.tasks", "[semseg, dept]"), ["dept", "depth"]),
        (("--model.learning_rate", "1"), ["learning_rate"]),
        (("--data.no_such_option", "1"), ["no_such_option"]),
        (("--data.label_setting", "two-label"), ["two-label"]),
        (("--model.backbone", "resnet81"), ["resnet81", "resnet18"]),
        (("--seed_everything", "true"), ["seed_everything"]),
    ],
)
def test_wrong_options(mtdense_main: Main, tmp_path: Path, options: tuple[str, str], expected: list[str]) -> None:
    code, err = mtdense_main("fit", *MULTI, *SMALL, "--run_dir", tmp_path / "run", *options)
    assert code != 0
    assert all(text in one_error(err) for text in expected), err
    assert not (tmp_path / "run").exists()


def test_unknown_experiment(mtdense_main: Main) -> None:
    code, err = mtdense_main("fit", "--config", "procedural/one-label/mtl-resnet18.yaml")
    assert code == 1
    assert "mtl_baseline-resnet18" in one_error(err)


def test_a_finished_run_is_not_overwritten(trained: Path, mtdense_main: Main) -> None:
    before = trained.read_bytes()
    code, err = mtdense_main("fit", *MULTI, *SMALL, "--run_dir", trained.parent.parent)
    assert code == 1
    assert "already holds a finished run" in one_error(err)
    assert "--overwrite true" in err
    assert trained.read_bytes() == before


def test_model_options_beside_a_checkpoint(trained: Path, mtdense_main: Main) -> None:
    for option in (("--model.lr", "1"), ("--model.init_args.lr=1",), ("--model", "MTLBaseline")):
        code, err = mtdense_main("test", "--ckpt_path", trained, *option)
        assert code == 1
        assert "beside --ckpt_path" in one_error(err)


def test_configuration_of_another_model(trained: Path, mtdense_main: Main, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("model: {class_path: mtdense.models.MTLBaseline, init_args: {lr: 0.5}}")
    code, err = mtdense_main("test", "--ckpt_path", trained, "--config", tmp_path / "other.yaml")
    assert code == 1
    assert "`lr` is 0.5" in one_error(err)
    (tmp_path / "other.yaml").write_text("model: {class_path: mtdense.models.SingleTask}")
    code, err = mtdense_main("test", "--ckpt_path", trained, "--config", tmp_path / "other.yaml")
    assert "SingleTask" in one_error(err)


def test_without_checkpoint(mtdense_main: Main) -> None:
    code, err = mtdense_main("test", *MULTI)
    assert code == 1
    assert "--ckpt_path" in one_error(err)


def test_checkpoint_of_a_foreign_class_runs_nothing(
    trained: Path, mtdense_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    content = torch.load(trained, weights_only=True)
    for key in ("model_class", "data_class"):
        forged = {**content, "mtdense": {**content["mtdense"], key: "evil.Model"}}
        torch.save(forged, tmp_path / "forged.ckpt")
        for command in ("test", "predict", "fit"):
            code, err = mtdense_main(command, "--ckpt_path", tmp_path / "forged.ckpt")
            assert code == 1
            assert "evil.Model" in one_error(err)
            assert "--allow_module evil" in err
    assert not (tmp_path / "ran").exists()
    assert "evil" not in sys.modules
    code, err = mtdense_main("test", "--ckpt_path", tmp_path / "forged.ckpt", "--allow_module", "evil")
    assert code == 1
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("group", ["hyper_parameters", "datamodule_hyper_parameters"])
@pytest.mark.parametrize(
    "hidden",
    [
        {"class_path": "evil.Model"},
        [{"class_path": "evil.Model", "init_args": {}}],
        "{class_path: evil.Model}",
        {"semseg": {"deep": ("x", {"class_path": "evil.Model"})}},
    ],
)
def test_classes_hidden_among_the_arguments_are_refused(
    trained: Path, mtdense_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, hidden: object
) -> None:
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    content = torch.load(trained, weights_only=True)
    content[group]["task_options"] = hidden
    torch.save(content, tmp_path / "forged.ckpt")
    code, err = mtdense_main("test", "--ckpt_path", tmp_path / "forged.ckpt", "--allow_module", "evil")
    assert code == 1
    assert "hides a class" in one_error(err)
    assert not (tmp_path / "ran").exists()


def test_allowed_class_must_still_be_a_model(trained: Path, mtdense_main: Main, tmp_path: Path) -> None:
    content = torch.load(trained, weights_only=True)
    content["mtdense"]["model_class"] = "mtdense.core.errors.DataError"
    torch.save(content, tmp_path / "forged.ckpt")
    code, err = mtdense_main("test", "--ckpt_path", tmp_path / "forged.ckpt")
    assert code == 1
    assert "not a DenseModule" in one_error(err)


def test_damaged_and_missing_checkpoints(trained: Path, mtdense_main: Main, tmp_path: Path) -> None:
    (tmp_path / "half.ckpt").write_bytes(trained.read_bytes()[:5000])
    code, err = mtdense_main("test", "--ckpt_path", tmp_path / "half.ckpt")
    assert code == 1
    assert "half.ckpt" in one_error(err)
    code, err = mtdense_main("test", "--ckpt_path", tmp_path / "none.ckpt")
    assert code == 1
    assert "no checkpoint at" in one_error(err)


def test_nan_loss_in_step_3_keeps_the_last_good_checkpoint(mtdense_main: Main, tmp_path: Path) -> None:
    (tmp_path / "nan.yaml").write_text(
        "trainer:\n"
        "  max_steps: 10\n"
        "  callbacks:\n"
        "    - class_path: tests.cli.poison.PoisonStep\n"
        "      init_args: {step: 3}\n"
        "    - class_path: lightning.pytorch.callbacks.ModelCheckpoint\n"
        "      init_args: {every_n_train_steps: 1, save_last: true, enable_version_counter: false}\n"
    )
    code, err = mtdense_main("fit", *MULTI, *SMALL, "--config", tmp_path / "nan.yaml", "--run_dir", tmp_path / "run")
    assert code == DIVERGED
    message = one_error(err)
    assert "not finite in step 3" in message
    told = json.loads((tmp_path / "run" / "failures" / "step3-rank0.json").read_text())
    assert (told["error"], told["step"], told["batch"]["stage"]) == ("NonFiniteLossError", 3, "train")
    assert len(told["batch"]["images"]) == len(told["batch_before"]["images"]) == 4
    assert all(image in message for image in told["batch"]["images"])
    assert not set(told["batch"]["images"]) & set(told["batch_before"]["images"])
    assert "step3-rank0.json" in err
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 2
    assert all(bool(torch.isfinite(v).all()) for v in last["state_dict"].values() if v.is_floating_point())
    code, err = mtdense_main("test", "--ckpt_path", tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert code == 0, err


def test_nan_weights_do_not_pass_silently_either(mtdense_main: Main, tmp_path: Path) -> None:
    code, err = mtdense_main("fit", *MULTI, *SMALL, "--run_dir", tmp_path / "run", "--model.lr", "1e30")
    assert code == DIVERGED
    assert "not finite" in one_error(err)


def test_the_best_checkpoint_is_not_overwritten_by_nan_weights(mtdense_main: Main, tmp_path: Path) -> None:
    (tmp_path / "nan.yaml").write_text(
        "trainer:\n"
        "  val_check_interval: 1\n"
        "  callbacks:\n"
        "    - class_path: tests.cli.poison.PoisonWeights\n"
        "      init_args: {step: 2}\n"
        "    - class_path: lightning.pytorch.callbacks.ModelCheckpoint\n"
        "      init_args: {filename: best, monitor: step, mode: max, enable_version_counter: false}\n"
    )
    code, err = mtdense_main("fit", *MULTI, *SMALL, "--config", tmp_path / "nan.yaml", "--run_dir", tmp_path / "run")
    assert code == DIVERGED
    assert "weights are not finite after step 2: network." in one_error(err)
    for name in ("best", "last"):
        kept = torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert kept["global_step"] == 1


def test_continuing_one_run_in_the_folder_of_another(trained: Path, mtdense_main: Main, tmp_path: Path) -> None:
    other = fit(mtdense_main, tmp_path / "other")
    before = other.read_bytes()
    code, err = mtdense_main("fit", "--ckpt_path", trained, "--run_dir", tmp_path / "other")
    assert code == 1
    assert "already holds a finished run" in one_error(err)
    assert other.read_bytes() == before


def test_what_other_libraries_refuse_is_one_error_too(mtdense_main: Main, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, err = mtdense_main("fit", *MULTI, *SMALL, "--run_dir", tmp_path / "file" / "run")
    assert code == 1
    assert "file" in one_error(err)
    code, err = mtdense_main("fit", *MULTI, *SMALL, "--run_dir", tmp_path / "run", "--trainer.accelerator", "cuda")
    assert code != 0 or torch.cuda.is_available()
