"""The step-by-step published pipeline, and ours beside it on the same random numbers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import published_pipeline as published
from mtdense.core.seeds import derive_rng
from mtdense.data.nyud.atrc import NYUDAtrcDataset
from mtdense.data.nyud.atrc_writer import write_atrc_replica
from mtdense.data.pascal.context import PASCALContextDataset
from mtdense.data.pascal.context_writer import write_pascal_context_replica
from mtdense.data.pascal.facts import NORMALS_CLASSES, part_table
from mtdense.data.transform import JointTransform
from mtdense.tasks import build_tasks

STILL = published.Colours()
PASCAL = {"part_of": part_table(6), "normals_classes": NORMALS_CLASSES}


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("replicas")
    return {
        "nyud_atrc": write_atrc_replica(folder / "nyud", 3, 1, size=(96, 128)),
        "pascal_context": write_pascal_context_replica(folder / "pascal", 3, 1, size=(96, 128)),
    }


def read(name: str, root: Path):
    """Ours and theirs of each image."""
    ours = {"nyud_atrc": NYUDAtrcDataset, "pascal_context": PASCALContextDataset}[name](root, "train")
    tasks = build_tasks(ours.task_specs())
    for index, image_id in enumerate(ours.ids):
        if name == "nyud_atrc":
            theirs = published.read_nyud(root, image_id)
        else:
            theirs = published.read_pascal(root, image_id, **PASCAL)
        yield tasks, ours.load(index, list(tasks)), theirs


def both(name: str, root: Path, factor: float, size: tuple[int, int], flip: float):
    """The same image, cut and mirrored alike, by ours and theirs."""
    for number, (tasks, raw, theirs) in enumerate(read(name, root)):
        options = {"resize": None, "scale_choices": [factor], "flip_probability": flip}
        transform = JointTransform(tasks, size, train=True, **options)
        source = raw.image.shape[:2]
        geometry = transform._draw(source, source, raw.labels, derive_rng(number))[0]
        room = [whole - cut for whole, cut in zip(geometry.scaled, geometry.crop[2:], strict=True)]
        place = [(begin + 0.5) / (more + 1) for begin, more in zip(geometry.crop[:2], room, strict=True)]
        draws = published.Draws(factor, [(place[0], place[1])], bool(flip), STILL)
        yield raw.id, transform(raw, derive_rng(number)), published.augment(theirs, size, draws)


def check_labels(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], where: torch.Tensor) -> None:
    for task in {"semseg", "human_parts", "saliency", "edges"} & set(ours):
        assert torch.equal(ours[task][where].float(), theirs[task][0][where]), task
    if "depth" in ours:
        depth = torch.where(ours["depth"] < 0, 255.0, ours["depth"])
        torch.testing.assert_close(depth[where], theirs["depth"][0][where], rtol=1e-6, atol=0)
    length = theirs["normals"].norm(dim=0)
    there = where & (length > 0.5) & (length < 2)
    assert there.any()
    # The stored channels are left, up and towards the camera.
    found, expected = ours["normals"][:, there], (-theirs["normals"] / length)[:, there]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def levels(image: torch.Tensor) -> torch.Tensor:
    return (
        image * torch.from_numpy(published.STD)[:, None, None] + torch.from_numpy(published.MEAN)[:, None, None]
    ) * 255


@pytest.mark.parametrize("name", ["nyud_atrc", "pascal_context"])
@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize(("factor", "size"), [(1.0, (80, 100)), (1.0, (112, 144)), (2.0, (100, 90)), (2.0, (80, 280))])
def test_same_labels_and_nearly_the_same_image(roots, name, flip, factor, size):
    if name == "pascal_context":
        pytest.importorskip("skimage")
    for _, ours, theirs in both(name, roots[name], factor, size, flip):
        check_labels(ours["targets"], theirs, torch.ones(size, dtype=torch.bool))
        top, left, height, width = ours["meta"]["content"].tolist()
        inside = (slice(None), slice(top, top + height), slice(left, left + width))
        difference = (levels(theirs["image"]) - 255 * ours["image"])[inside].abs()
        # Theirs cuts the fraction off, ours rounds after each direction.
        assert difference.max() < (0.01 if factor == 1 else 2.01)
        outside = theirs["image"].clone()
        outside[inside] = 0
        assert not outside.any(), "padding is zero after normalising"


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_at_other_factors_labels_differ_at_borders_alone(roots, factor):
    # OpenCV's nearest pixel is the one at or above, ours the one whose centre is nearest.
    size = (48, 64)
    for _, ours, theirs in both("nyud_atrc", roots["nyud_atrc"], factor, size, 0.0):
        classes = theirs["semseg"][0].numpy()
        uniform = cv2.dilate(classes, np.ones((3, 3))) == cv2.erode(classes, np.ones((3, 3)))
        uniform[[0, -1]] = uniform[:, [0, -1]] = False
        assert uniform.mean() > 0.3
        equal = (ours["targets"]["semseg"].numpy() == classes)[uniform].mean()
        assert equal == 1 if factor > 1 else equal > 0.99  # shrinking, each keeps other pixels of thin things
        difference = (levels(theirs["image"]) - 255 * ours["image"]).abs()
        if factor > 1:
            assert difference.max() < 2.01
        else:  # ours averages where it shrinks
            assert difference.mean() < 15


def test_colours_by_hand():
    image = np.array([[[10, 100, 200], [250, 250, 250]]], np.float32)
    change = published.distort

    def changed(**values) -> list:
        return change(image, published.Colours(**values)).astype(int).tolist()[0]

    assert changed() == [[10, 100, 200], [250, 250, 250]]
    assert changed(brightness=20.5) == [[30, 120, 220], [255, 255, 255]]
    assert changed(brightness=-20.0) == [[0, 80, 180], [230, 230, 230]]
    assert changed(contrast=0.5) == [[5, 50, 100], [125, 125, 125]]
    assert changed(saturation=0.5)[1] == [250, 250, 250], "grey has no saturation"
    first, last = changed(brightness=20.0, contrast=1.5), changed(brightness=20.0, contrast=1.5, contrast_first=False)
    assert first == last, "without colours between them the order says nothing"
    turned = change(np.array([[[200, 0, 0]]], np.float32), published.Colours(hue=-18))  # from red 36 degrees back
    assert turned[0, 0, 0] == 200 and turned[0, 0, 2] == 120 and turned[0, 0, 1] == 0


def test_a_crop_is_drawn_again_while_a_class_dominates():
    semseg = np.zeros((40, 40, 1), np.float32)
    semseg[30:, 30:] = 1
    semseg[30:, 35:] = 2
    sample = {"image": np.zeros((40, 40, 3), np.float32), "semseg": semseg}
    corner = published.crop(sample, (10, 10), [(0, 0), (0.5, 0.5), (0.99, 0.99), (0, 0)])["semseg"]
    assert set(np.unique(corner)) == {1, 2}
    assert not published.crop(sample, (10, 10), [(0, 0), (0.2, 0.2)])["semseg"].any(), "the last one, if none will do"


def test_what_is_marked_as_ignored():
    normals = np.zeros((2, 2, 3), np.float32)
    normals[0, 0] = [0, 0, 1]
    parts = np.array([[0, 255], [0, 0]], np.float32)[..., None]
    marked = published.mark_ignored({"normals": normals, "human_parts": parts, "depth": normals[..., 2:]})
    assert (marked["normals"][1] == 255).all() and marked["normals"][0, 0].tolist() == [0, 0, 1]
    assert (marked["human_parts"] == 255).all()
    assert marked["depth"][..., 0].tolist() == [[1, 255], [255, 255]]
    some = published.mark_ignored({"human_parts": parts + (parts == 0) * np.float32(3)})["human_parts"]
    assert some[0, 0] == 3


def test_samples_depend_on_seed_epoch_and_image_alone(roots):
    data = published.PublishedPipeline("nyud_atrc", roots["nyud_atrc"], (64, 96))
    assert len(data) == 3
    first, other = data[1, 0], data[1, 1]
    assert all(torch.equal(first[name], value) for name, value in data[1, 0].items())
    assert not torch.equal(first["image"], other["image"])
    assert {name: tuple(value.shape) for name, value in first.items()} == {
        "image": (3, 64, 96),
        "semseg": (1, 64, 96),
        "depth": (1, 64, 96),
        "normals": (3, 64, 96),
        "edges": (1, 64, 96),
    }


def test_draws_are_as_published():
    draws = [published.draw(np.random.default_rng(seed)) for seed in range(400)]
    scales = [one.scale for one in draws]
    assert 0.5 <= min(scales) < 0.55 and 1.95 < max(scales) < 2
    assert abs(np.mean([one.flip for one in draws]) - 0.5) < 0.1
    hues = [one.colours.hue for one in draws if one.colours.hue is not None]
    assert min(hues) == -18 and max(hues) == 17 and abs(len(hues) / 400 - 0.5) < 0.1
    assert all(
        -32 <= (one.colours.brightness or 0) <= 32 and 0.5 <= (one.colours.contrast or 1) <= 1.5 for one in draws
    )
