"""Tiles over pictures of any size, and what becomes of their overlaps."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from data_modules import NYUDAtrcDataModule
from mtdense.core.errors import ConfigError
from mtdense.data import JointTransform
from mtdense.data.sample import RawImage
from mtdense.models import DenseModule
from mtdense.models.checkpoint import CheckpointInfo
from mtdense.models.outputs import Outputs
from mtdense.reports.filled import filled_in_training
from mtdense.reports.predictor import Predictor
from mtdense.reports.tiles import Blend, plan_tiles
from mtdense.tasks import build_tasks
from tests.checkpoints import small_model


@pytest.mark.parametrize("source", [(96, 128), (20, 400), (300, 30), (7, 5), (1000, 1500)])
@pytest.mark.parametrize("zoom", [None, 1.0, 2.0, 5.0])
def test_tiles_cover_the_picture(source: tuple[int, int], zoom: float | None) -> None:
    plan = plan_tiles(source, (32, 40), zoom, 0.25)
    seen = np.zeros(plan.scaled, dtype=int)
    for tile in plan.tiles:
        top, left, height, width = tile.crop
        assert height <= 32 and width <= 40
        seen[top : top + height, left : left + width] += 1
    assert seen.min() >= 1
    fit = min(32 / source[0], 40 / source[1])
    assert plan.zoom == pytest.approx(max(plan.scaled[0] / source[0], plan.scaled[1] / source[1]) / fit, rel=0.15)
    assert len(plan.tiles) == 1 or zoom is not None
    if zoom is not None and fit < 1:
        assert max(plan.scaled[0] / source[0], plan.scaled[1] / source[1]) <= 1 + 1e-9


def test_neighbours_overlap_by_what_was_asked() -> None:
    plan = plan_tiles((320, 400), (32, 40), 4.0, 0.5)
    tops = sorted({tile.crop[0] for tile in plan.tiles})
    assert all(b - a <= 16 for a, b in itertools.pairwise(tops)) and tops[-1] + 32 == plan.scaled[0]


class SeesColours(nn.Module):
    """Red is depth, green over blue decides between two classes, all three are a direction: by pixel alone."""

    def forward(self, image: torch.Tensor) -> Outputs:
        semseg = torch.stack([image[:, 1], image[:, 2], image[:, 2] * 0 - 9], dim=1) * 20
        return Outputs({"semseg": semseg, "depth": image[:, :1] * 10, "normals": image * 2 - 1, "edges": image[:, :1]})


class Colours(DenseModule):
    """Around it."""

    method = "colours"

    def build_network(self) -> nn.Module:
        return SeesColours()

    def normalise(self, image: torch.Tensor, content: Any = None) -> torch.Tensor:
        return image


def colours() -> DenseModule:
    return Colours(tasks=small_model().hparams["tasks"], backbone="tiny", input_size=[32, 40])


def ramps(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    planes = rows * 200 / height + 20, columns * 200 / width + 20, 0 * rows + 120
    return np.stack(planes, axis=-1).astype(np.uint8)


def test_tiles_of_a_pixelwise_network_give_the_picture() -> None:
    """Against the formula on the picture's own pixels: whatever tiles do wrong, seams above all, would show."""
    picture = ramps(90, 200)
    found = Predictor(colours(), tile=5.0)(picture)
    assert len(found.plan.tiles) > 20
    unit = picture / 255
    assert found.values["semseg"].dtype == np.int64
    assert (found.values["semseg"] == (unit[..., 1] < unit[..., 2])).mean() > 0.99
    # A network that sees things larger takes them for nearer, so what it says is multiplied by the zoom.
    np.testing.assert_allclose(found.values["depth"], unit[..., 0] * 10 * found.plan.zoom, atol=0.05 * found.plan.zoom)
    vectors = unit * 2 - 1
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(found.values["normals"], axis=-1), 1, atol=1e-5)
    assert (found.values["normals"] * vectors).sum(-1).min() > 0.99
    assert found.values["edges"].min() > 0.5


def test_whole_pictures_keep_their_metres() -> None:
    for size in ((90, 200), (200, 90), (12, 15)):
        picture = ramps(*size)
        found = Predictor(colours(), tasks=["depth"])(picture)
        assert found.plan.zoom == 1 and len(found.plan.tiles) == 1
        np.testing.assert_allclose(found.values["depth"], picture[..., 0] / 255 * 10, atol=0.4)


class SeesSizes(nn.Module):
    """Takes what is white for nearer the larger it looks: 10 m where it is one pixel wide."""

    def forward(self, image: torch.Tensor) -> Outputs:
        width = image.sum((1, 2, 3)).div(3).sqrt().view(-1, 1, 1, 1)
        return Outputs({"depth": 10 / width.expand(-1, 1, *image.shape[2:])})


class Sizes(Colours):
    """Around it."""

    def build_network(self) -> nn.Module:
        return SeesSizes()


@pytest.mark.parametrize("unit", ["metres", "disparity"])
def test_metres_are_those_of_the_size_of_training(unit: str) -> None:
    picture = np.zeros((120, 150, 3), np.uint8)
    picture[40:70, 60:90] = 255  # 8 pixels wide where the picture fits 32 x 40
    model = Sizes(tasks={"depth": {"unit": unit}}, backbone="tiny", input_size=[32, 40])
    # Another aspect, too: the picture's own size on the canvas counts.
    found = [Predictor(model, size=size)(picture) for size in (None, (64, 80), (16, 20), (64, 40), (120, 300))]
    assert [f.plan.zoom for f in found] == pytest.approx([1, 2, 0.5, 1, 3.75])
    # This network of disparity is as wrong as it can be; it is undone the other way.
    wanted = [10 / 8] * 5 if unit == "metres" else [10 / 8 / f.plan.zoom**2 for f in found]
    assert [float(f.values["depth"].mean()) for f in found] == pytest.approx(wanted, rel=0.02)


def test_pictures_fill_what_they_filled_in_training(tmp_path: Path) -> None:
    """NYUD-v2 is padded, not scaled: pictures of its size are seen as its test images are, and metres are metres."""
    options: dict[str, Any] = {"size": (448, 576), "flip_probability": 0.0}
    for changed, wanted in (({"resize": None}, (425, 560)), ({}, None), ({"resize": None, "size": (425, 560)}, None)):
        data = NYUDAtrcDataModule(root=str(tmp_path), tasks=["depth"], **{**options, **changed})
        stored = {"input_size": data.size}
        info = CheckpointInfo(tmp_path, "", stored, "data_modules.NYUDAtrcDataModule", dict(data.hparams), {}, {})
        assert filled_in_training(info) == wanted
        # Another class may mean something else by that name, such as crops drawn by lot.
        assert filled_in_training(replace(info, data_class="mine.RoomsDataModule")) is None
    picture = np.random.default_rng(0).integers(0, 256, (425, 560, 3), dtype=np.uint8)
    kinds = {"depth": build_tasks({"depth": {}})["depth"]}
    sample = JointTransform(kinds, (448, 576), train=False, resize=None)(
        RawImage("a", picture), np.random.default_rng()
    )
    model = Colours(tasks={"depth": {}}, backbone="tiny", input_size=[448, 576])
    predictor = Predictor(model, filled=(425, 560))
    seen: list[torch.Tensor] = []
    model.network.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    found = predictor(picture)
    with torch.no_grad():
        wanted_input = model.normalise(sample["image"][None], sample["meta"]["content"][None])
    assert torch.equal(seen[0], wanted_input) and found.plan.zoom == 1
    assert Predictor(model, filled=(425, 560), size=(224, 288))(picture).plan.zoom == pytest.approx(0.5, rel=0.01)
    tiled = Predictor(model, filled=(425, 560), tile=1.0)(np.repeat(np.repeat(picture, 2, 0), 2, 1))
    assert tiled.plan.zoom == pytest.approx(448 / 425, rel=0.001)  # tiles are full


def test_blending_is_in_probabilities_and_directions() -> None:
    tasks = build_tasks({"semseg": {"num_classes": 2}, "normals": {}})
    plan = plan_tiles((1, 60), (1, 40), 1.5, 0.5)  # two tiles that share columns 20 to 39
    assert [tile.crop[1] for tile in plan.tiles] == [0, 20]
    semseg = Blend(tasks["semseg"], plan)
    # Sure of class 0 on the left, barely for class 1 on the right: the sure one wins the middle of the overlap.
    semseg.add(0, torch.tensor([1.0, 0.0]).view(2, 1, 1).expand(2, 1, 40))
    semseg.add(1, torch.tensor([0.45, 0.55]).view(2, 1, 1).expand(2, 1, 40))
    ids = semseg.prediction()[0]
    assert ids[:36].max() == 0 and ids[40:].min() == 1
    normals = Blend(tasks["normals"], plan)
    normals.add(0, torch.tensor([0.0, 0.0, -1.0]).view(3, 1, 1).expand(3, 1, 40))
    normals.add(1, torch.tensor([-1.0, 0.0, 0.0]).view(3, 1, 1).expand(3, 1, 40))
    vectors = normals.prediction()[0]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-6)
    assert (np.diff(vectors[:, 0]) <= 1e-6).all() and vectors[0, 2] == -1 and vectors[-1, 0] == -1


def test_what_makes_no_sense() -> None:
    model = small_model()
    for options, words in (
        ({"tasks": ["dept"]}, "Did you mean 'depth'"),
        ({"tasks": []}, "no task"),
        ({"tile": 0.5}, "1 to 64"),
        ({"overlap": 0.9}, "0 to 0.5"),
        ({"size": [0, 4]}, "no size"),
        ({"batch_size": 0}, "0 tiles"),
        ({"device": "cuda:77"}, "--device cuda:77"),
    ):
        with pytest.raises(ConfigError) as caught:
            Predictor(model, **options)
        assert words in str(caught.value)
    with pytest.raises(ConfigError, match="float64 of shape"):
        Predictor(model)(np.zeros((4, 4, 3)))
    with pytest.raises(ConfigError, match="does not say its input size"):
        Predictor(small_model(input_size=None))
