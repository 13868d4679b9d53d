"""Numbers gathered over batches, and networks that cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mtdense.core.errors import ConfigError
from mtdense.models import MTLBaseline
from mtdense.models.diagnosis import Diagnosis
from mtdense.reports.diagnosis import Numbers, diagnose, peer_names
from tests.models.helpers import SPECS, make_batch


def network(**options: Any) -> MTLBaseline:
    return MTLBaseline(**{"tasks": SPECS, "backbone": "tiny", "preset": "tiny", **options})


def test_summary_by_hand() -> None:
    numbers = Numbers(["semseg", "depth"])
    pair = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 4.0], [4.0, 0.0]]])
    nothing = torch.full((1, 2, 2), float("nan"))
    change = torch.tensor([[1.0, 2.0], [3.0, 6.0], [5.0, 10.0]])
    for ids, far, near in ((["a", "b"], pair, change[:2]), (["c"], nothing, change[2:])):
        numbers.add(ids, {"far": Diagnosis("distance", far), "near": Diagnosis("change", near)})
    told = numbers.summary()
    deviation = 2.12132  # of 1 and 4: 3 / sqrt 2
    assert told["far"] == {
        "about": "distance",
        "images": 2,
        "mean": [[0.0, 2.5], [2.5, 0.0]],
        "std": [[0.0, deviation], [deviation, 0.0]],
        "pairs": {"mean": 2.5, "std": deviation},
        "per_image": {"a": [[0.0, 1.0], [1.0, 0.0]], "b": [[0.0, 4.0], [4.0, 0.0]], "c": [[None] * 2] * 2},
    }
    assert told["near"]["mean"] == [3.0, 6.0] and told["near"]["std"] == [2.0, 4.0]
    assert numbers.means()["far"].tolist() == [[0.0, 2.5], [2.5, 0.0]]


def test_one_image_has_no_deviation() -> None:
    numbers = Numbers(["depth"])
    numbers.add(["a"], {"near": Diagnosis("change", torch.tensor([[1.0]]))})
    assert numbers.summary()["near"] == {
        "about": "change",
        "images": 1,
        "mean": [1.0],
        "std": None,
        "per_image": {"a": [1.0]},
    }


def test_names_tell_networks_apart() -> None:
    model = network()
    runs = ["runs/x/checkpoints/last.ckpt", "runs/y/checkpoints/best.ckpt", "runs/y/checkpoints/last.ckpt"]
    assert peer_names([model], runs[:1]) == ["mtl_baseline"]
    assert peer_names([model] * 3, runs) == ["x", "y-1", "y-2"]


def test_only_as_many_images_run_as_are_drawn(tmp_path: Path) -> None:
    seen = []

    def batches() -> Any:
        for _ in range(5):
            seen.append(1)
            yield make_batch(SPECS)

    numbers = diagnose({"a": network()}, network().tasks, batches(), tmp_path, figures=3)
    assert numbers == {} and len(seen) == 3  # two images each; the third batch is the one not needed
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.png"]


class Fixed(MTLBaseline):
    """Takes images of one size alone."""

    def run_network(self, batch: Any) -> Any:
        raise RuntimeError("size mismatch\nand much more")


def test_a_network_of_another_size(tmp_path: Path) -> None:
    fixed = Fixed(tasks=SPECS, backbone="tiny", preset="tiny")
    with pytest.raises(ConfigError, match=r"^b does not take images of 32x40: size mismatch\n  Mend: compare networks"):
        diagnose({"a": network(), "b": fixed}, fixed.tasks, [make_batch(SPECS)], tmp_path)
