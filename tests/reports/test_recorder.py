from __future__ import annotations

import hashlib

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from mtdense.core.errors import ConfigError
from mtdense.models.mtl_baseline import MTLBaseline
from mtdense.reports import RunRecord, RunRecorder, load_records, weights_checksum
from mtdense.reports.canonical import checksum
from tests.reports.helpers import DATA, SPECS, FakeData, make_record, random_batch


class PlainModule(L.LightningModule):
    """No DenseModule."""


def make_trainer(run, *callbacks, **options):
    return L.Trainer(
        default_root_dir=run,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


def make_model():
    torch.manual_seed(0)
    # Its log sigmas are trained, too, and are no part of the network.
    return MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny", lr=1e-3, loss_weighting="uncertainty")


@pytest.fixture(scope="module")
def data():
    size = (32, 32)
    return FakeData([random_batch(0, size=size), random_batch(2, size=size)])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, data):
    run = tmp_path_factory.mktemp("run")
    checkpoints = ModelCheckpoint(run / "checkpoints", "best", monitor="val/semseg/mIoU", mode="max", save_last=True)
    recorder = RunRecorder(config={"model": {"lr": 1e-3}}, seed=7)
    model = make_model()
    make_trainer(run, recorder, checkpoints, max_steps=3, limit_train_batches=2).fit(model, data)
    return run, model


def test_a_fit_is_recorded(fitted):
    run, model = fitted
    record = RunRecord.read(run / "records" / "fit.json")
    assert (record.kind, record.method, record.backbone, record.seed) == ("fit", "mtl_baseline", "tiny", 7)
    assert record.tasks == ["semseg", "depth", "normals"]
    assert record.steps == 3
    assert record.selection == "last"
    assert record.parameters == sum(p.numel() for p in model.network.parameters())
    assert record.weights_sha256 == weights_checksum(model.state_dict())
    assert record.config == {"model": {"lr": 1e-3}}
    assert record.data == DATA
    assert record.checkpoint == "checkpoints/last.ckpt"
    assert record.checkpoint_sha256 == hashlib.sha256((run / record.checkpoint).read_bytes()).hexdigest()
    assert {(m.task, m.name): (m.unit, m.higher_is_better, m.primary) for m in record.metrics} == {
        ("semseg", "mIoU"): ("fraction", True, True),
        ("depth", "RMSE"): ("metres", False, True),
        ("depth", "absErr"): ("metres", False, False),
        ("normals", "mErr"): ("degrees", False, True),
    }
    assert "train/loss" in record.logged
    assert record.wall_seconds > 0
    assert record.finished >= record.started
    assert record.versions["torch"]


def test_a_validation_within_the_fit_leaves_no_record_of_its_own(fitted):
    assert [path.name for path in (fitted[0] / "records").iterdir()] == ["fit.json"]


@pytest.mark.parametrize(("name", "selection"), [("best", "best_val"), ("last", "last")])
def test_a_test_is_recorded_with_the_step_and_kind_of_its_checkpoint(fitted, data, tmp_path, name, selection):
    checkpoint = fitted[0] / "checkpoints" / f"{name}.ckpt"
    trainer = make_trainer(tmp_path, RunRecorder(), enable_checkpointing=False)
    # The recorder's own hook reads the state of the ModelCheckpoint that this trainer does not have.
    with pytest.warns(UserWarning, match="callbacks used to create the checkpoint"):
        trainer.test(make_model(), data, ckpt_path=str(checkpoint), verbose=False, weights_only=False)
    written = tmp_path / "records" / ("test.json" if name == "last" else "test-best.json")
    record = RunRecord.read(written)
    stored = torch.load(checkpoint, weights_only=False)
    assert record.steps == stored["global_step"]
    assert record.selection == selection
    assert record.checkpoint == str(checkpoint)
    assert record.checkpoint_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert record.weights_sha256 == weights_checksum(stored["state_dict"])
    assert record.metric("semseg", "mIoU") == pytest.approx(float(trainer.callback_metrics["test/semseg/mIoU"]))
    assert record.config["model"]["backbone"] == "tiny"


def test_a_validation_is_recorded(data, tmp_path):
    trainer = make_trainer(tmp_path, RunRecorder(selection="legacy", variant="wide"), enable_checkpointing=False)
    trainer.validate(make_model(), data, verbose=False)
    record = RunRecord.read(tmp_path / "records" / "validate.json")
    assert (record.kind, record.selection, record.variant, record.steps) == ("validate", "legacy", "wide", 0)
    assert record.checkpoint is None
    assert len(record.metrics) == 4


def test_other_ranks_write_nothing(data, tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, RunRecorder(), enable_checkpointing=False)
    monkeypatch.setattr(type(trainer), "is_global_zero", property(lambda self: False))
    trainer.validate(make_model(), data, verbose=False)
    assert not (tmp_path / "records").exists()


def test_only_the_tasks_that_the_data_carries_are_named(tmp_path):
    batch = random_batch(size=(32, 32))
    for part in (batch["targets"], batch["labelled"]):
        del part["normals"]
    trainer = make_trainer(tmp_path, RunRecorder(), enable_checkpointing=False)
    trainer.test(make_model(), FakeData([batch]), verbose=False)
    record = RunRecord.read(tmp_path / "records" / "test-semseg+depth.json")
    assert record.tasks == ["semseg", "depth"]
    assert {m.task for m in record.metrics} == {"semseg", "depth"}


def test_no_evaluation_overwrites_another(fitted, data, tmp_path):
    batch = random_batch(size=(32, 32))
    for part in (batch["targets"], batch["labelled"]):
        del part["normals"]
    names = []
    for name in ("last", "best"):
        for carried in (data, FakeData([batch])):
            checkpoint = str(fitted[0] / "checkpoints" / f"{name}.ckpt")
            trainer = make_trainer(tmp_path, RunRecorder(ckpt_path=checkpoint), enable_checkpointing=False)
            trainer.test(make_model(), carried, verbose=False)
            trainer.validate(make_model(), carried, verbose=False)
            names += [f"{kind}-{name}-semseg+depth" for kind in ("test", "validate") if carried is not data]
    names += ["test", "test-best", "validate", "validate-best"]
    written = {path.stem: RunRecord.read(path) for path in (tmp_path / "records").iterdir()}
    assert sorted(written) == sorted(names)
    for name, record in written.items():
        assert ("best" in name) == record.checkpoint.endswith("best.ckpt")
        assert ("semseg" in name) == (record.tasks == ["semseg", "depth"])
    assert [record.tasks for _, record in load_records([tmp_path])] == [["semseg", "depth", "normals"]]


def test_what_cannot_be_recorded_is_refused_before_training(data, tmp_path):
    trainer = make_trainer(tmp_path, RunRecorder(config={"model": object()}), max_steps=1)
    with pytest.raises(ConfigError, match=r"config\.model"):
        trainer.fit(make_model(), data)
    with pytest.raises(ConfigError, match="PlainModule has no `tasks`"):
        RunRecorder().setup(make_trainer(tmp_path), PlainModule(), "fit")


def test_a_part_of_the_data_is_told_and_never_lies_in_place_of_the_whole(data, tmp_path):
    for options in ({}, {"limit_test_batches": 1}, {"fast_dev_run": True}):
        make_trainer(tmp_path, RunRecorder(), enable_checkpointing=False, **options).test(
            make_model(), data, verbose=False
        )
    whole, part = (RunRecord.read(tmp_path / "records" / f"{name}.json") for name in ("test", "test-partial"))
    assert (whole.limits, whole.partial, whole.world_size) == ({}, {}, 1)
    assert part.limits == {"fast_dev_run": 1, "limit_test_batches": 1}
    assert [len(load_records([tmp_path])), sorted(p.name for p in (tmp_path / "records").iterdir())] == [
        *(1, ["test-partial.json", "test.json"])
    ]
    make_trainer(tmp_path, RunRecorder(), limit_train_batches=1, max_steps=1).fit(make_model(), data)
    make_trainer(tmp_path, RunRecorder(), fast_dev_run=True).fit(make_model(), data)
    assert RunRecord.read(tmp_path / "records" / "fit.json").partial == {"limit_train_batches": 1}
    assert "fast_dev_run" in RunRecord.read(tmp_path / "records" / "fit-partial.json").partial


def test_records_from_before_limits_were_written_down(tmp_path):
    record = make_record(config={"trainer": {"limit_test_batches": 2, "limit_train_batches": 1}})
    stored = {k: v for k, v in record.to_dict().items() if k not in ("world_size", "limits", "record_sha256")}
    old = RunRecord.from_dict({**stored, "record_sha256": checksum(stored)})
    assert old.world_size is None and old.limits == {} and old.partial == {"limit_test_batches": 2}
