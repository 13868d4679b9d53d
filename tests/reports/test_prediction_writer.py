from __future__ import annotations

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from mtdense.core.errors import DataError
from mtdense.reports import PredictionWriter, safe_path
from mtdense.reports.prediction_files import compact
from tests.reports.helpers import FakeData, random_batch, tasks_of


class Echo(L.LightningModule):
    """Predicts the targets themselves."""

    def __init__(self):
        super().__init__()
        self.tasks = tasks_of("semseg", "depth", "normals")

    def predict_step(self, batch, batch_idx):
        return {"id": batch["id"], "predictions": batch["targets"], "meta": batch["meta"]}


def predict(tmp_path, batches, writer):
    trainer = L.Trainer(
        default_root_dir=tmp_path,
        callbacks=[writer],
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return trainer.predict(Echo(), FakeData(batches))


def test_pictures_and_arrays_on_the_original_grid(tmp_path):
    batch = random_batch()
    batch["id"] = ["living/room.1", "b"]
    batch["meta"]["original_size"][0] = torch.tensor([20, 24])
    batch["meta"]["content"][0] = torch.tensor([3, 2, 10, 12])
    batch["meta"]["window"][0] = torch.tensor([0.0, 0.0, 20.0, 24.0])
    assert predict(tmp_path, [batch], PredictionWriter(sheet=1)) is None
    out = tmp_path / "predictions"
    ids = np.load(out / "semseg" / "living" / "room.1.npy")
    assert (ids.dtype, ids.shape) == (np.uint8, (20, 24))
    np.testing.assert_array_equal(ids[::2, ::2], batch["targets"]["semseg"][0, 3:13, 2:14].numpy())
    np.testing.assert_array_equal(np.load(out / "semseg" / "b.npy"), batch["targets"]["semseg"][1].numpy())
    normals = np.load(out / "normals" / "living" / "room.1.npy")
    assert (normals.dtype, normals.shape) == (np.float32, (20, 24, 3))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    picture = np.asarray(Image.open(out / "depth" / "b.png"))
    depth = np.load(out / "depth" / "b.npy")
    np.testing.assert_array_equal(picture, tasks_of("depth")["depth"].draw(depth))
    assert Image.open(out / "contact_sheet.png").format == "PNG"


def test_several_batches_and_another_folder(tmp_path):
    writer = PredictionWriter(out=str(tmp_path / "there"), arrays=False)
    predict(tmp_path, [random_batch(0), random_batch(2)], writer)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert names == [f"there/{task}/image{i}.png" for task in ("depth", "normals", "semseg") for i in range(4)]


@pytest.mark.parametrize(
    "image_id",
    ["../x", "a/../../x", "/etc/x", "a//x", "", "a/", ".", "..", "a\\..\\x", "C:x", "a\nb", "a\0b", "./x"],
)
def test_an_id_cannot_leave_the_folder(tmp_path, image_id):
    with pytest.raises(DataError, match="leads out of the folder") as caught:
        safe_path(tmp_path / "out", image_id, ".png")
    assert repr(image_id) in caught.value.problem
    assert not (tmp_path / "out").exists()


def test_a_link_cannot_lead_out_either(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="leads out"):
        safe_path(tmp_path / "out", "link/x", ".png")


def test_predict_refuses_to_climb(tmp_path):
    batch = random_batch()
    batch["id"][1] = "../../outside"
    with pytest.raises(DataError, match="outside"):
        predict(tmp_path / "run", [batch], PredictionWriter())
    assert not list(tmp_path.rglob("outside*"))


def test_class_ids_take_the_smallest_type():
    assert compact(np.array([0, 255])).dtype == np.uint8
    assert compact(np.array([0, 256])).dtype == np.int32
    assert compact(np.array([0.5])).dtype == np.float32
