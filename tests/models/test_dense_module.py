"""Options of DenseModule that no architecture changes."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from mtdense.core.errors import ConfigError
from mtdense.models import MTLBaseline
from tests.models.helpers import SPECS, make_batch


def build(**kwargs: Any) -> MTLBaseline:
    return MTLBaseline(tasks=SPECS, backbone="tiny", preset="tiny", **kwargs)


def test_families_set_pool_and_scale() -> None:
    dmtl, atrc = build().reducer, build(loss_family="atrc").reducer
    assert (dmtl.pool, dmtl.scale) == ("image", "task_count_ratio")
    assert (atrc.pool, atrc.scale) == ("batch", "labelled_count")
    own = build(loss_family="atrc", pool="image").reducer
    assert (own.pool, own.scale) == ("image", "labelled_count")


def test_loss_weights() -> None:
    assert build().loss_weights == {"semseg": 1.0, "depth": 1.0, "normals": 10.0}
    assert build(loss_weights={"depth": 3}).loss_weights["depth"] == 3.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_weights": {"edges": 1.0}}, "`loss_weights` names edges"),
        ({"loss_weights": {"depth": -1.0}}, "loss weight of 'depth' is -1"),
        ({"loss_family": "mine"}, "unknown loss family 'mine'"),
        ({"normalization": "weights", "backbone": "tiny"}, None),
    ],
)
def test_bad_options(options: dict[str, Any], message: str | None) -> None:
    if message is None:
        MTLBaseline(tasks=SPECS, preset="tiny", **options)
        return
    with pytest.raises(ConfigError, match=message):
        build(**options)


def test_hparams_rebuild_the_model() -> None:
    model = build(lr=0.5, loss_weights={"depth": 2.0})
    hparams = dict(model.hparams)
    assert hparams["tasks"] == SPECS
    assert hparams["preset"] == "tiny"
    assert hparams["lr"] == 0.5
    assert "kwargs" not in hparams
    again = MTLBaseline(**hparams)
    assert dict(again.hparams) == hparams


def test_task_absent_from_the_batch_counts_as_unlabelled() -> None:
    model = build()
    batch = make_batch()
    del batch["targets"]["depth"], batch["labelled"]["depth"]
    losses = model.losses(model(batch["image"]), batch)
    assert losses["depth"].item() == 0.0
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_normalise_and_padding() -> None:
    model = build()
    image = torch.full((1, 3, 4, 4), 0.5)
    out = model.normalise(image, torch.tensor([[1, 0, 2, 3]]))
    expected = (0.5 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(out[0, :, 1, 0], expected)
    assert not out[:, :, 0].any()
    assert not out[:, :, :, 3].any()
    assert not out[:, :, 3].any()


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_schedule_by_epochs_ends_with_the_last_epoch(accumulate: int) -> None:
    batches, epochs = 8, 4
    rates: list[float] = []

    class Recording(MTLBaseline):
        def on_train_epoch_start(self) -> None:
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    model = Recording(
        tasks=SPECS, backbone="tiny", preset="tiny", schedule="poly", schedule_interval="epoch", lr=1.0, poly_power=1.0
    )
    trainer = L.Trainer(
        max_epochs=epochs,
        accumulate_grad_batches=accumulate,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader([make_batch(SPECS)] * batches, batch_size=None))
    assert rates == pytest.approx([1.0, 0.75, 0.5, 0.25])
