"""An unlabelled target must not influence anything: not the batch, not the crop, not the weights, not a metric."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from data_modules import ProceduralDataModule
from mtdense.core.seeds import derive_rng
from mtdense.data import transform
from mtdense.data.procedural_dataset import ProceduralDataset
from mtdense.data.sample import RawImage
from mtdense.models import MTLBaseline
from mtdense.reports import weights_checksum
from mtdense.tasks import build_tasks

TASKS = ["semseg", "depth", "normals"]
STOLEN: dict[str, dict[str, np.ndarray]] = {}


class TamperedDataset(ProceduralDataset):
    """Gives labels that nobody asked for as well: noise, 255, or nothing at all."""

    tamper = "nothing"

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        raw = super().load(index, tasks)
        labels = dict(raw.labels)
        for name, task in build_tasks({t: self.task_specs()[t] for t in TASKS}).items():
            if name not in tasks and self.tamper != "nothing":
                labels[name] = self._junk(task, raw.image.shape[:2], raw.id)
        STOLEN[raw.id] = labels
        return RawImage(raw.id, raw.image, labels, raw.camera)

    def _junk(self, task: Any, size: tuple[int, int], image_id: str) -> np.ndarray:
        blank = task.invalid_label(*size)
        if self.tamper == "255":
            return np.full_like(blank, 255)
        rng = derive_rng("noise", image_id, task.name)
        if task.name == "semseg":
            # Large patches, so that crops differ in how much one class covers.
            return np.kron(rng.integers(0, 3, (4, 4)), np.ones((size[0] // 4, size[1] // 4))).astype(blank.dtype)
        return rng.normal(size=blank.shape).astype(blank.dtype)


class TamperedData(ProceduralDataModule):
    """Training images from `TamperedDataset`."""

    tamper = "nothing"

    def make_dataset(self, split: str) -> ProceduralDataset:
        if split != "train":
            return super().make_dataset(split)
        dataset = TamperedDataset(self.size, split, self.lengths[split])
        dataset.tamper = self.tamper
        return dataset


def run(tamper: str, steps: int) -> tuple[list[Any], str, dict[str, float]]:
    """Batches of an epoch, weights after `steps` steps, and validation metrics."""
    options: dict[str, Any] = {"scale_range": (1.0, 2.0), "crop_max_share": 0.4, "photometric": "mild"}
    data = TamperedData(
        train_images=12,
        val_images=4,
        tasks=TASKS,
        size=(32, 40),
        batch_size=4,
        label_setting="one-label",
        **options,
    )
    data.tamper = tamper
    data.setup("fit")
    batches = list(data.train_dataloader())
    L.seed_everything(0)
    model = MTLBaseline(tasks=data.task_specs, backbone="tiny", preset="tiny", lr=1e-3)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        val_check_interval=steps,
        check_val_every_n_epoch=None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(model, data)
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    return batches, weights_checksum(model.state_dict()), metrics


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def test_noise_255_and_nothing_are_bit_identical() -> None:
    batches, weights, metrics = run("nothing", 20)
    assert metrics["val/depth/RMSE"] > 0
    assert any(not bool(flags.all()) for batch in batches for flags in batch["labelled"].values())
    for tamper in ("noise", "255"):
        other_batches, other_weights, other_metrics = run(tamper, 20)
        assert same(other_batches, batches), tamper
        assert other_weights == weights, tamper
        assert other_metrics == metrics, tamper


def test_a_crop_that_looks_at_unlabelled_targets_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = transform.choose_crop
    call = transform.JointTransform.__call__
    current: list[str] = []

    def remember(self: Any, raw: RawImage, rng: np.random.Generator) -> Any:
        current[:] = [raw.id]
        return call(self, raw, rng)

    def peek(source: Any, scaled: Any, canvas: Any, tasks: Any, labels: Any, share: Any, rng: Any) -> Any:
        return honest(source, scaled, canvas, tasks, STOLEN.get(current[0], labels), share, rng)

    monkeypatch.setattr(transform.JointTransform, "__call__", remember)
    monkeypatch.setattr(transform, "choose_crop", peek)
    STOLEN.clear()
    clean = run("nothing", 1)
    for tamper in ("noise", "255"):
        assert not same(run(tamper, 1)[0], clean[0]), tamper
