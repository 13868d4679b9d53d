"""Figures while training and when predicting, through a trainer and through the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import Logger
from PIL import Image
from torch.utils.data import DataLoader

from mtdense.core.errors import ConfigError
from mtdense.models import MTLBaseline
from mtdense.reports import ArchitectureFigures
from mtdense.reports.architecture_figures import first_images
from tests.conftest import CONF
from tests.models.helpers import SPECS, make_batch


class Drawing(MTLBaseline):
    """Draws the mean of its first output, one row per image."""

    def figures(self, batch: Any, outputs: Any) -> dict[str, np.ndarray]:
        count = batch["image"].shape[0]
        assert outputs.final["semseg"].shape[0] == count
        return {"rows": np.full((count, 5, 3), 200, dtype=np.uint8)}


def loader(images: int = 3) -> DataLoader:
    batch = make_batch(SPECS, {name: [True] * images for name in SPECS})
    return DataLoader([batch], batch_size=None)


def trainer(folder: Path, callbacks: Sequence[ArchitectureFigures]) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=list(callbacks),
        max_epochs=2,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
    )


def test_each_validation_has_a_folder_and_training_is_untouched(tmp_path: Path) -> None:
    weights = []
    for callbacks in ([ArchitectureFigures(images=2)], []):
        L.seed_everything(0, verbose=False)
        model = Drawing(tasks=SPECS, backbone="tiny", preset="tiny")
        trainer(tmp_path, callbacks).fit(model, loader(), loader())
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
    folders = sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert folders == ["step-000001", "step-000002"]
    assert Image.open(tmp_path / "figures" / "step-000002" / "rows.png").size == (5, 2)
    assert (tmp_path / "figures" / "step-000002" / "predictions.png").is_file()


def test_loading_peers_draws_no_random_number(tmp_path: Path) -> None:
    peer = Drawing(tasks=SPECS, backbone="tiny", preset="tiny")
    file = tmp_path / "peer.ckpt"
    torch.save(
        {
            "state_dict": peer.state_dict(),
            "hyper_parameters": dict(peer.hparams),
            "mtdense": {"model_class": "mtdense.models.MTLBaseline"},
        },
        file,
    )
    after = []
    for peers in ([], [str(file)]):
        torch.manual_seed(3)
        callback = ArchitectureFigures(images=1, peers=peers)
        callback.setup(trainer(tmp_path, []), peer, "fit")
        after.append(torch.rand(1).item())
    assert after[0] == after[1]


class Gallery(Logger):
    """A logger that takes pictures, such as W&B's."""

    name = version = "gallery"

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[str, list[str]] = {}

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_image(self, key: str, images: list[str], step: int | None = None) -> None:
        self.taken[key] = images


def test_loggers_get_pictures_only_if_asked(tmp_path: Path) -> None:
    model = Drawing(tasks=SPECS, backbone="tiny", preset="tiny")
    for upload, keys in ((False, []), (True, ["figures/predictions", "figures/rows", "figures/peer/rows"])):
        gallery, callback = Gallery(), ArchitectureFigures(images=2, upload=upload)
        callback._loaded = {"peer": model}
        run = trainer(tmp_path, [callback])
        run.loggers = [gallery]
        run.predict(model, loader())
        assert list(gallery.taken) == keys
        assert all(Path(file).is_file() for files in gallery.taken.values() for file in files)
    # Figures of other networks lie in folders of their own.
    assert (tmp_path / "figures" / "peer" / "rows.png").is_file()


def test_first_images_cuts_all_that_belongs_to_them() -> None:
    batch = make_batch(SPECS, {name: [True, False, True] for name in SPECS})
    few = first_images(batch, 2)
    assert few["id"] == batch["id"][:2]
    assert few["meta"]["content"].shape == (2, 4)
    assert torch.equal(few["targets"]["depth"], batch["targets"]["depth"][:2])
    assert few["labelled"]["depth"].tolist() == [True, False]


def test_no_images_is_an_error() -> None:
    with pytest.raises(ConfigError, match="figures of 0 images"):
        ArchitectureFigures(images=0)


def test_predict_draws_on_request(mtdense_main: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    small = ("--data.train_images", "8", "--data.val_images", "4", "--data.test_images", "5")
    base = ("--config", "procedural/one-label/mtl_baseline-resnet18.yaml", "--config", CONF / "tiny.yaml", *small)
    code, err = mtdense_main("fit", *base, "--run_dir", tmp_path / "run")
    assert code == 0, err
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    code, err = mtdense_main("predict", "--ckpt_path", checkpoint, "--out", tmp_path / "out", "--figures", "2")
    assert code == 0, err
    assert (tmp_path / "out" / "figures" / "predictions.png").is_file()
    code, err = mtdense_main("test", "--ckpt_path", checkpoint, "--figures", "2")
    assert code == 1 and "--figures with `mtdense test`" in err
