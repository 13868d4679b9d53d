"""`--resume auto`: the same command goes on with what is there, and damage does not pass for a checkpoint."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from jsonargparse import Namespace

from mtdense.cli.main import main
from mtdense.cli.resume import newest_checkpoint, resumed_from
from mtdense.core.errors import CheckpointError
from mtdense.reports.canonical import write_atomic
from mtdense.training.callbacks import AMID_STEP
from mtdense.training.checkpoint_io import AtomicCheckpointIO
from tests.cli.test_lightning import MULTI, SMALL, Main, record

AUTO = ("--resume", "auto")


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def make_checkpoint(run: Path, name: str, step: int, **more: object) -> Path:
    path = run / "checkpoints" / f"{name}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"mtdense": {"model_class": "x"}, "hyper_parameters": {}, "optimizer_states": [{"state": {}}]}
    torch.save({**about, "global_step": step, "weights": torch.ones(1000), **more}, path)
    return path


def test_the_newest_good_one(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    best, last = make_checkpoint(tmp_path, "best", 4), make_checkpoint(tmp_path, "last", 6)
    make_checkpoint(tmp_path, "weights", 9, optimizer_states=[])
    make_checkpoint(tmp_path, "amid", 9, **{AMID_STEP: True})
    (tmp_path / "checkpoints" / "last.ckpt.unfinished").write_bytes(b"half")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest_checkpoint(tmp_path) == last
        make_checkpoint(tmp_path, "best", 6)
        assert newest_checkpoint(tmp_path) == last
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged.*goes on from .*best\.ckpt, step 6"):
        assert newest_checkpoint(tmp_path) == best
    last.write_bytes(whole)
    flip(last, len(whole) // 2)
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged: the checksum of its part .*data/0 is wrong"):
        assert newest_checkpoint(tmp_path) == best
    best.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no good checkpoint in .*best\.ckpt is damaged.*last\.ckpt is damaged"):
        newest_checkpoint(tmp_path)


def test_one_command_begins_goes_on_and_ends(mtdense_main: Main, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ("fit", *MULTI, *SMALL, "--run_dir", tmp_path / "run", *AUTO, "--trainer.val_check_interval", "2")
    command = (*command, "--model.lr", "0.001")
    code, err = mtdense_main(*command)
    assert code == 0, err
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    before = record(tmp_path / "run", "fit")
    assert mtdense_main(*command)[0] == 0  # finished: nothing happens
    assert record(tmp_path / "run", "fit") == before
    code, err = mtdense_main(*command[:-1], "0.002", "--trainer.max_steps", "5")
    assert code == 1
    assert "`model.lr` was 0.001 and is now 0.002" in err
    # Damaged where the weights are: the run goes on from the best one, of step 2, and says so.
    flip(last, last.stat().st_size // 2)
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged.*best\.ckpt, step 2"):
        code, err = mtdense_main(*command, "--trainer.max_steps", "5")
    assert code == 0, err
    assert record(tmp_path / "run", "fit")["steps"] == 5
    assert "resume" not in record(tmp_path / "run", "fit")["config"]
    flip(last, last.stat().st_size // 2)
    code, err = mtdense_main("test", "--ckpt_path", last)
    assert code == 1
    assert "last.ckpt is damaged" in err


def test_without_validation_epochs_end_with_a_save(
    mtdense_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = AtomicCheckpointIO.save_checkpoint, []

    def noted(self: AtomicCheckpointIO, checkpoint: dict, path: Path, **options: object) -> None:
        saved.append(checkpoint["global_step"])
        save(self, checkpoint, path, **options)
        if saved[-1] == 6:
            save(self, checkpoint, tmp_path / "again" / "checkpoints" / "last.ckpt")

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", noted)
    # Epochs of three steps: each save falls on the end of one.
    command = ("fit", *MULTI, *SMALL, "--data", "tests.cli.no_validation.NoValidation", "--save_every", "3", *AUTO)
    command = (*command, "--trainer.max_steps", "8", "--trainer.check_val_every_n_epoch", "1")
    command = (*command, "--trainer.val_check_interval", "1.0")
    for run in ("whole", "again"):
        code, err = mtdense_main(*command, "--run_dir", tmp_path / run)
        assert code == 0, err
    assert saved == [3, 6, 8, 8]
    whole, again = (record(tmp_path / run, "fit")["weights_sha256"] for run in ("whole", "again"))
    assert whole == again


EPOCHS = ("--trainer.max_steps", "-1", "--trainer.check_val_every_n_epoch", "1", "--trainer.val_check_interval", "1.0")
NO_VALIDATION = ("--data", "tests.cli.no_validation.NoValidation")


def run_program(capsys: pytest.CaptureFixture, *command: object) -> str:
    """What a run prints that ends well."""
    code = main([str(part) for part in command])
    told = capsys.readouterr()
    assert code == 0, told.err
    return str(told.out)


@pytest.mark.parametrize(
    ("options", "bound", "before", "after"),
    [
        (EPOCHS, "max_epochs", 2, 4),
        ((), "max_steps", 2, 5),  # in the middle of an epoch
        pytest.param((*EPOCHS, *NO_VALIDATION), "max_epochs", 2, 4, marks=pytest.mark.slow),
        pytest.param(NO_VALIDATION, "max_steps", 2, 5, marks=pytest.mark.slow),
    ],
    ids=["epochs", "steps", "epochs, no validation", "steps, no validation"],
)
def test_a_finished_run_trains_on_to_a_larger_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture, options: tuple, bound: str, before: int, after: int
) -> None:
    command = ("fit", *MULTI, *SMALL, *AUTO, *options, "--model.schedule", "constant")
    told = [
        run_program(capsys, *command, "--run_dir", tmp_path / run, f"--trainer.{bound}", value)
        for run, value in (("more", before), ("more", before), ("more", after), ("more", before), ("whole", after))
    ]
    assert f"; {bound}); nothing to do. A larger `trainer.{bound}` trains on." in told[1]
    assert [("nothing to do" in each) for each in told] == [False, True, False, True, False]
    more, whole = (record(tmp_path / run, "fit") for run in ("more", "whole"))
    assert more["steps"] == whole["steps"] == (5 if bound == "max_steps" else 12)
    assert more["weights_sha256"] == whole["weights_sha256"]


def test_a_run_that_early_stopping_ended_is_finished(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "early.yaml").write_text(
        "trainer:\n"
        "  callbacks:\n"
        "    - class_path: lightning.pytorch.callbacks.EarlyStopping\n"
        "      init_args: {monitor: val/loss, min_delta: 1000, patience: 1}\n"
    )
    command = ("fit", *MULTI, *SMALL, *AUTO, *EPOCHS, "--config", tmp_path / "early.yaml", "--run_dir", tmp_path)
    told = [run_program(capsys, *command, "--trainer.max_epochs", epochs) for epochs in (5, 5, 9)]
    for each in told[1:]:
        assert "(6 steps, 2 epochs; EarlyStopping: Monitored metric val/loss did not improve" in each
    assert record(tmp_path, "fit")["steps"] == 6


@pytest.mark.parametrize(
    ("by", "now", "goes_on"),
    [
        ("max_steps", {"max_steps": 6}, False),
        ("max_steps", {"max_steps": 7}, True),
        ("max_steps", {"max_steps": 7, "max_epochs": 2}, False),
        ("max_steps", {"max_epochs": None}, True),
        ("max_epochs", {"max_epochs": 2}, False),
        ("max_epochs", {"max_epochs": 3}, True),
        ("max_epochs", {"max_epochs": 3, "max_steps": 6}, False),
        ("max_time", {"max_steps": 7}, False),
        ("EarlyStopping", {"max_steps": 7}, False),
    ],
)
@pytest.mark.parametrize("noted", [True, False])
def test_what_more_is_asked_for(tmp_path: Path, by: str, now: dict, goes_on: bool, noted: bool) -> None:
    trainer = {"max_steps": 6 if by == "max_steps" else -1, "max_epochs": 2 if by == "max_epochs" else -1}
    told = {"steps": 6, "config": {"trainer": trainer}}
    write_atomic(tmp_path / "records" / "fit.json", json.dumps(told))
    if noted:
        write_atomic(tmp_path / "ending.json", json.dumps({"by": by, "steps": 6, "epochs": 2, "reason": ""}))
    bounds = Namespace(**{"max_steps": -1, "max_epochs": -1, "max_time": None, **now})
    config = Namespace(ckpt_path=None, overwrite=False, trainer=bounds)
    if goes_on or (not noted and now == {"max_steps": 7, "max_epochs": 2}):  # epochs are not known
        assert resumed_from(tmp_path, config) is None
    else:
        with pytest.raises(SystemExit):
            resumed_from(tmp_path, config)


def test_time_that_was_spent_is_spent(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    told = {"steps": 6, "config": {"trainer": {"max_steps": -1, "max_epochs": 9}}}
    write_atomic(tmp_path / "records" / "fit.json", json.dumps(told))
    write_atomic(tmp_path / "ending.json", json.dumps({"by": "max_time", "steps": 6, "epochs": 2, "reason": ""}))
    bounds = Namespace(max_steps=-1, max_epochs=9, max_time="00:00:00:01")
    with pytest.raises(SystemExit):
        resumed_from(tmp_path, Namespace(ckpt_path=None, overwrite=False, trainer=bounds))
    assert "last.ckpt` with a larger `trainer.max_time` goes on all the same." in capsys.readouterr().out


def test_it_goes_with_no_other_way_of_beginning(mtdense_main: Main, tmp_path: Path) -> None:
    code, err = mtdense_main("fit", *MULTI, *SMALL, "--run_dir", tmp_path, *AUTO, "--overwrite", "true")
    assert code == 1
    assert "`--resume auto` beside `--overwrite true`" in err
