"""Boxes of a handful of streets are learned: targets, losses, decoding and score fit together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mtdense.data.cityscapes.vehicles_writer import write_cityscapes_3d_replica
from tests.whole_run import Main

# Training cities of the replica, and cities of the validation list to show the same streets in.
CITIES = {"aachen": "frankfurt", "bochum": "lindau"}


def show_training_streets_again(root: Path) -> None:
    """Makes the validation images copies of the training images: one that is in both lists is refused."""
    for kind in (path for path in root.iterdir() if path.is_dir()):
        shutil.rmtree(kind / "val")
        for city, other in CITIES.items():
            (kind / "val" / other).mkdir(parents=True)
            for path in (kind / "train" / city).iterdir():
                shutil.copyfile(path, kind / "val" / other / path.name.replace(city, other))


@pytest.mark.slow
def test_boxes_of_a_few_streets_are_learned(mtdense_main: Main, tmp_path: Path) -> None:
    root, run = tmp_path / "streets", tmp_path / "run"
    write_cityscapes_3d_replica(root, 8, 4, seed=0, size=(96, 192))
    show_training_streets_again(root)
    method = tmp_path / "single_task.yaml"
    method.write_text("model: {class_path: mtdense.models.SingleTask}\n", encoding="utf-8")
    code, said = mtdense_main(
        *("fit", "--config", "base/evidence_streets_3d.yaml", "--config", str(method)),
        *("--data.root", str(root), "--data.tasks", "[detection_3d]", "--data.val_fraction", "0"),
        *("--model.lr", "1e-3", "--trainer.max_steps", "800", "--trainer.val_check_interval", "null"),
        *("--trainer.check_val_every_n_epoch", "1", "--run_dir", str(run), "--seed_everything", "0"),
    )
    assert code == 0, said
    code, said = mtdense_main("test", "--ckpt_path", str(run / "checkpoints" / "last.ckpt"))
    assert code == 0, said
    metrics = json.loads((run / "records" / "test.json").read_text(encoding="utf-8"))["metrics"]
    scores = {metric["name"]: metric["value"] for metric in metrics}
    # 0.44 where it was written; 0.0002 after the few steps of the comparison.
    assert scores["mDS"] > 0.3
