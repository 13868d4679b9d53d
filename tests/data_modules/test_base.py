"""What all data modules share, shown with procedural scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from jsonargparse import ArgumentParser

from data_modules import DenseDataModule, FolderDataModule, ProceduralDataModule
from mtdense.core.errors import ConfigError, DataError
from mtdense.tasks import build_tasks

TASKS = ["semseg", "depth", "normals"]
AUGMENTED: dict[str, Any] = {"scale_range": (1.0, 1.6), "photometric": "strong", "crop_max_share": 0.75}


def make(stage: str | None = "fit", **options: Any) -> ProceduralDataModule:
    defaults = {
        "tasks": TASKS,
        "train_images": 12,
        "val_images": 5,
        "test_images": 4,
        "size": (16, 24),
        "batch_size": 4,
    }
    data = ProceduralDataModule(**{**defaults, **options})
    if stage is not None:
        data.setup(stage)
    return data


def epoch(data: DenseDataModule, number: int = 0) -> dict[str, dict[str, Any]]:
    """Samples of a training epoch by id."""
    loader = data.train_dataloader()
    loader.batch_sampler.set_epoch(number)  # type: ignore[union-attr]
    found: dict[str, dict[str, Any]] = {}
    for batch in loader:
        for i, image_id in enumerate(batch["id"]):
            assert image_id not in found
            found[image_id] = {
                "image": batch["image"][i],
                **{task: batch["targets"][task][i] for task in batch["targets"]},
                **{f"has_{task}": batch["labelled"][task][i] for task in batch["labelled"]},
                "window": batch["meta"]["window"][i],
            }
    return found


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_batches() -> None:
    data = make()
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 16, 24)
    assert batch["targets"]["normals"].shape == (4, 3, 16, 24)
    assert list(batch["targets"]) == TASKS == list(data.task_specs)
    assert len(data.train_dataloader()) == 3
    assert [len(list(loader)) for loader in (data.val_dataloader(), data.test_dataloader())] == [2, 1]
    assert data.size == [16, 24]


@pytest.mark.parametrize("workers", [1, 2])
def test_samples_do_not_depend_on_workers(workers: int) -> None:
    alone = epoch(make(label_setting="random-label", **AUGMENTED), 3)
    helped = epoch(make(label_setting="random-label", num_workers=workers, **AUGMENTED), 3)
    assert list(alone) == list(helped)
    assert all(same(alone[key], helped[key]) for key in alone)


def test_epochs_and_seeds_differ_but_labels_stay() -> None:
    data = make(label_setting="one-label", **AUGMENTED)
    first, second, again = epoch(data, 0), epoch(data, 1), epoch(data, 0)
    assert list(first) == list(again) != list(second)
    assert all(same(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key]["window"], second[key]["window"]) for key in first)
    other = epoch(make(label_setting="one-label", seed=1, **AUGMENTED), 0)
    assert not any(torch.equal(first[key]["window"], other[key]["window"]) for key in first)
    for key in first:
        assert sum(int(first[key][f"has_{task}"]) for task in TASKS) == 1
        assert all(first[key][f"has_{t}"] == second[key][f"has_{t}"] == other[key][f"has_{t}"] for t in TASKS)


def test_evaluation_is_fully_labelled_and_not_augmented() -> None:
    data = make(label_setting="one-label", **AUGMENTED)
    ids: list[str] = []
    for batch in data.val_dataloader():
        assert all(batch["labelled"][task].all() for task in TASKS)
        assert not batch["meta"]["flip"].any() and (batch["meta"]["zoom"] == 1).all()
        ids += batch["id"]
    assert ids == [f"val-{i:06d}" for i in range(5)]
    tasks = build_tasks(data.task_specs)
    assert all(tasks[task].valid(batch["targets"][task]).any() for task in TASKS)


def test_single_task_training_sees_the_labels_of_the_comparison() -> None:
    together = make(label_setting="one-label")
    counts = together.label_mask.counts()
    for task in TASKS:
        alone = make(tasks=[task], mask_tasks=TASKS, label_setting="one-label", only_labelled=True)
        assert alone.label_mask.checksum() == together.label_mask.checksum()
        samples = epoch(alone)
        assert len(samples) == counts[task] == 4
        assert all(sample[f"has_{task}"] for sample in samples.values())
        assert list(alone.task_specs) == [task]


def test_mask_seed_is_not_the_training_seed() -> None:
    checksum = make(label_setting="random-label").description["mask_checksum"]
    assert make(label_setting="random-label", seed=5).description["mask_checksum"] == checksum
    assert make(label_setting="random-label", label_seed=5).description["mask_checksum"] != checksum


def test_description_is_plain_and_complete() -> None:
    data = make(None, label_setting="one-label")
    assert data.description["mask_checksum"] is None and data.description["version"] is None
    data.setup("fit")
    data.setup("test")
    facts = data.description
    assert facts["name"] == "procedural" and facts["version"].startswith("procedural-")
    assert [facts[f"{split}_size"] for split in ("train", "val", "test")] == [12, 5, 4]
    assert facts["label_counts"] == dict.fromkeys(TASKS, 4)
    assert len(facts["mask_checksum"]) == 64
    assert facts["size"] == [16, 24] and facts["derived"] == []


def test_checkpoint_state_tells_a_test_run_of_the_training_mask() -> None:
    trained = make(label_setting="one-label")
    tested = make("test", label_setting="one-label")
    assert tested.description["mask_checksum"] is None
    tested.load_state_dict(trained.state_dict())
    assert tested.description["mask_checksum"] == trained.description["mask_checksum"]
    assert tested.description["train_size"] == 12 and tested.description["test_size"] == 4
    with pytest.raises(DataError, match="another label mask"):
        make(label_setting="one-label", label_seed=1).load_state_dict(trained.state_dict())


def test_hyper_parameters_rebuild_the_module() -> None:
    data = make(label_setting="one-label", task_options={"normals": {"loss": "cosine"}}, **AUGMENTED)
    again = ProceduralDataModule(**data.hparams)
    again.setup("fit")
    assert again.description == data.description and again.task_specs == data.task_specs
    assert again.task_specs["normals"] == {"loss": "cosine"}


def test_options_of_base_and_subclass_reach_the_command_line() -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(DenseDataModule, "data")
    parsed = parser.parse_args(
        ["--data=ProceduralDataModule", "--data.tasks=[semseg]", "--data.size=[32, 40]", "--data.train_images=7"]
    )
    data = parser.instantiate(parsed).data
    assert isinstance(data, ProceduralDataModule)
    assert (data.tasks, data.size, data.lengths["train"]) == (["semseg"], [32, 40], 7)
    folder = parser.parse_args(
        ["--data=FolderDataModule", "--data.root=x", "--data.tasks=[depth]", "--data.camera=[1,1,0,0]"]
    )
    assert isinstance(parser.instantiate(folder).data, FolderDataModule)


def test_lightning_runs_all_stages(tmp_path: Path) -> None:
    class Counter(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 1, 1)
            self.seen: list[str] = []

        def training_step(self, batch: Any) -> torch.Tensor:
            self.seen += [f"{self.current_epoch}:{key}" for key in batch["id"]]
            return self.layer(batch["image"]).mean()

        def validation_step(self, batch: Any) -> None:
            self.seen += batch["id"]

        test_step = predict_step = validation_step

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    data, model = make(None), Counter()
    trainer = L.Trainer(
        max_epochs=2,
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        use_distributed_sampler=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, data)
    train = [key for key in model.seen if ":" in key]
    assert len(train) == 24 and train[:12] != [key.replace("1:", "0:") for key in train[12:]]
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    model.seen.clear()
    trainer.test(model, make(None), ckpt_path=str(tmp_path / "x.ckpt"), verbose=False)
    assert trainer.datamodule.description["mask_checksum"] == data.description["mask_checksum"]
    trainer.predict(model, data)
    assert sorted(model.seen) == sorted([f"test-{i:06d}" for i in range(4)] * 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["semsge"]}, "unknown task 'semsge'.*Did you mean 'semseg'"),
        ({"tasks": []}, "no task"),
        ({"tasks": ["depth", "depth"]}, "twice"),
        ({"mask_tasks": ["semseg"]}, "lacks one of"),
        ({"label_setting": "half"}, "half"),
        ({"batch_size": 0}, "batch_size"),
        ({"num_workers": -1}, "num_workers"),
        ({"size": (0, 4)}, "canvas"),
        ({"scale_range": (2.0, 1.0)}, "scale_range"),
        ({"photometric": "wild"}, "wild"),
        ({"task_options": {"edges": {}}}, "not carried"),
        (
            {"tasks": ["depth"], "mask_tasks": ["depth", "edges"], "task_options": {"normals": {}}},
            "'normals'.*not carr",
        ),
        ({"task_options": {"depth": {"uint": "metres"}}}, "uint"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        make(None, **options)


def test_worker_errors_keep_their_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise DataError("photo.png cannot be decoded", "Copy it again.")

    data = make(num_workers=1)
    monkeypatch.setattr(type(data.dataset("train")), "load", broken)
    with pytest.raises(DataError, match=r"photo\.png cannot be decoded\s+Mend: Copy it again"):
        next(iter(data.train_dataloader()))
