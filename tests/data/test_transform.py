"""The joint transform: geometry of image, labels and camera, and what each task does to its label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.sample import RawImage
from mtdense.data.transform import CROP_TRIES, Geometry, JointTransform, choose_crop
from mtdense.geometry import backproject, camera_matrix, project
from mtdense.tasks import build_tasks

TASKS = build_tasks(
    {"semseg": {"num_classes": 13}, "human_parts": {}, "saliency": {}, "edges": {}, "depth": {}, "normals": {}}
)
CAMERA = camera_matrix(50.0, 52.0, 19.3, 14.8)


def raw_image(height: int = 30, width: int = 40, seed: int = 0, **labels: np.ndarray) -> RawImage:
    rng = np.random.default_rng(seed)
    return RawImage("a", rng.integers(0, 256, (height, width, 3), dtype=np.uint8), labels, CAMERA)


def semseg(height: int = 30, width: int = 40) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 13, (height, width))


def transform(size: tuple[int, int], train: bool = True, **options: Any) -> JointTransform:
    return JointTransform(TASKS, size, train=train, **{"resize": None, **options})


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- no randomness asked for: nothing changes ------------------------------------------------------------------------
@pytest.mark.parametrize("train", [True, False])
def test_identity(train: bool) -> None:
    raw = raw_image(semseg=semseg())
    sample = transform((30, 40), train)(raw, rng())
    assert sample["image"].dtype == torch.float32
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0).mul(255).round().numpy(), raw.image)
    np.testing.assert_array_equal(sample["targets"]["semseg"], raw.labels["semseg"])
    assert sample["targets"]["semseg"].dtype == torch.int64
    assert sample["labelled"] == {name: name == "semseg" for name in TASKS}
    meta = sample["meta"]
    assert meta["original_size"].tolist() == [30, 40]
    assert meta["content"].tolist() == [0, 0, 30, 40]
    assert meta["window"].tolist() == [0, 0, 30, 40]
    assert meta["zoom"].item() == 1
    assert not meta["flip"]
    np.testing.assert_allclose(meta["camera"], CAMERA, rtol=1e-6)


def test_unlabelled_targets_are_invalid_everywhere() -> None:
    targets = transform((30, 40))(raw_image(), rng())["targets"]
    for name, task in TASKS.items():
        assert not task.valid(targets[name][None]).any(), name
    assert targets["normals"].shape == (3, 30, 40)


# ---- padding ---------------------------------------------------------------------------------------------------------
def test_padding_is_centred_and_filled_by_each_task() -> None:
    labels = {
        "semseg": np.full((3, 4), 7),
        "human_parts": np.full((3, 4), 2),
        "saliency": np.ones((3, 4), np.int64),
        "edges": np.ones((3, 4), np.float32),
        "depth": np.full((3, 4), 2.5, np.float32),
        "normals": np.tile(np.array([0, 0, -1], np.float32), (3, 4, 1)),
    }
    sample = transform((6, 9), train=False)(raw_image(3, 4, **labels), rng())
    top, left = 1, 2  # floor of half of 3 rows and of 5 columns
    assert sample["meta"]["content"].tolist() == [top, left, 3, 4]
    inside = np.zeros((6, 9), bool)
    inside[top : top + 3, left : left + 4] = True
    fill = {"semseg": 255, "human_parts": 255, "saliency": 255, "edges": 255, "depth": -1, "normals": 0}
    for name, target in sample["targets"].items():
        values = target.numpy()
        assert (values[..., ~inside] == fill[name]).all(), name
        np.testing.assert_array_equal(TASKS[name].valid(target[None])[0].numpy(), inside, err_msg=name)
    assert not sample["image"].numpy()[:, ~inside].any()
    np.testing.assert_allclose(sample["meta"]["camera"][:2, 2], [CAMERA[0, 2] + left, CAMERA[1, 2] + top], rtol=1e-6)


def test_a_map_without_parts_is_finished_to_nothing() -> None:
    sample = transform((3, 4))(raw_image(3, 4, human_parts=np.zeros((3, 4), np.int64)), rng())
    assert (sample["targets"]["human_parts"] == 255).all()


# ---- mirror ----------------------------------------------------------------------------------------------------------
def test_flip_mirrors_all_and_negates_x_of_normals() -> None:
    normals = np.zeros((1, 3, 3), np.float32)
    normals[0, 0] = [0.6, 0, -0.8]
    normals[0, 2] = [0, 0.6, -0.8]
    depth = np.array([[1.0, 2.0, -1.0]], np.float32)
    raw = raw_image(1, 3, normals=normals, depth=depth, semseg=np.array([[1, 2, 3]]))
    sample = transform((1, 3), flip_probability=1.0)(raw, rng())
    np.testing.assert_allclose(sample["targets"]["normals"][:, 0, 2], [-0.6, 0, -0.8], atol=1e-6)
    np.testing.assert_allclose(sample["targets"]["normals"][:, 0, 0], [0, 0.6, -0.8], atol=1e-6)
    assert sample["targets"]["depth"].tolist() == [[-1.0, 2.0, 1.0]]
    assert sample["targets"]["semseg"].tolist() == [[3, 2, 1]]
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0).mul(255).round().numpy(), raw.image[:, ::-1])
    assert bool(sample["meta"]["flip"])


# ---- scale -----------------------------------------------------------------------------------------------------------
def test_zoom_divides_depth_but_leaves_the_invalid() -> None:
    depth = np.full((20, 30), 3.0, np.float32)
    depth[:10] = -1
    sample = transform((20, 30), scale_choices=[1.5])(raw_image(20, 30, depth=depth), rng())
    values = set(sample["targets"]["depth"].unique().tolist())
    assert values <= {-1.0, 2.0} and 2.0 in values
    assert sample["meta"]["zoom"].item() == pytest.approx(1.5)


def test_the_actual_zoom_counts_not_the_wanted_one() -> None:
    depth = np.full((10, 10), 3.0, np.float32)
    sample = transform((11, 11), scale_choices=[1.14])(raw_image(10, 10, depth=depth), rng())  # 11.4 pixels become 11
    assert sample["targets"]["depth"].unique().item() == pytest.approx(3 / 1.1)


def test_base_fit_leaves_metres_alone() -> None:
    depth = np.full((60, 80), 3.0, np.float32)
    for train in (True, False):
        sample = transform((32, 40), train, resize="fit")(raw_image(60, 80, depth=depth), rng())
        assert sample["meta"]["content"].tolist() == [1, 0, 30, 40]
        assert set(sample["targets"]["depth"].unique().tolist()) == {-1.0, 3.0}
        assert sample["meta"]["zoom"].item() == pytest.approx(0.5)


@pytest.mark.parametrize("source", [(480, 641), (37, 500), (500, 37), (3, 2), (1, 1), (64, 80)])
def test_fit_never_exceeds_the_canvas(source: tuple[int, int]) -> None:
    sample = transform((64, 80), train=False, resize="fit")(raw_image(*source), rng())
    _, _, height, width = sample["meta"]["content"].tolist()
    assert height <= 64 and width <= 80 and (height == 64 or width == 80)
    assert sample["meta"]["window"].tolist() == pytest.approx([0, 0, *source], abs=1e-4)


def test_evaluation_takes_the_centre_of_what_is_too_large() -> None:
    sample = transform((10, 20), train=False)(raw_image(30, 40, semseg=(label := semseg())), rng())
    np.testing.assert_array_equal(sample["targets"]["semseg"], label[10:20, 10:30])
    assert sample["meta"]["window"].tolist() == [10, 10, 10, 20]


def test_evaluation_draws_nothing() -> None:
    options = {"scale_range": (0.5, 2.0), "flip_probability": 1.0, "photometric": "strong", "crop_max_share": 0.75}
    generator = rng()
    sample = transform((30, 40), train=False, **options)(raw_image(semseg=semseg()), generator)
    assert generator.bit_generator.state == rng().bit_generator.state
    plain = transform((30, 40), train=False)(raw_image(semseg=semseg()), rng())
    assert torch.equal(sample["image"], plain["image"])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_resampling_equals_scaling_all_and_then_cropping(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(2, 24)), data.draw(st.integers(2, 24))
    scaled = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50))
    top, left = data.draw(st.integers(0, scaled[0] - 1)), data.draw(st.integers(0, scaled[1] - 1))
    crop = (top, left, data.draw(st.integers(1, scaled[0] - top)), data.draw(st.integers(1, scaled[1] - left)))
    raw = raw_image(height, width)
    label = np.arange(height * width).reshape(height, width)
    part = Geometry((height, width), scaled, crop, (crop[2], crop[3]))
    whole = Geometry((height, width), scaled, (0, 0, *scaled), scaled)
    cut = np.s_[top : top + crop[2], left : left + crop[3]]
    np.testing.assert_array_equal(part.resample_label(label), whole.resample_label(label)[cut])
    difference = part.resample_image(raw.image).astype(int) - whole.resample_image(raw.image)[cut]
    assert np.abs(difference).max() <= 2


def test_labels_are_sampled_at_pixel_centres() -> None:
    label = np.arange(4)[None].repeat(2, 0)
    twice = Geometry((2, 4), (4, 8), (0, 0, 4, 8), (4, 8)).resample_label(label)
    assert twice[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    half = Geometry((2, 4), (1, 2), (0, 0, 1, 2), (1, 2)).resample_label(label)
    assert half[0].tolist() == [1, 3]  # the centres of both halves lie on borders; the right pixel is taken


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), resize=st.sampled_from([None, "fit"]))
def test_no_class_is_invented(seed: int, resize: str | None) -> None:
    label = np.random.default_rng(seed).choice([0, 5, 12, 255], (30, 40))
    parts = np.random.default_rng(seed).choice([0, 6], (30, 40))
    options = {"scale_range": (0.4, 2.5), "flip_probability": 0.5, "resize": resize, "crop_max_share": 0.5}
    sample = transform((24, 36), **options)(raw_image(semseg=label, human_parts=parts), rng(seed))
    assert set(sample["targets"]["semseg"].unique().tolist()) <= {0, 5, 12, 255}
    assert set(sample["targets"]["human_parts"].unique().tolist()) <= {0, 6, 255}


# ---- camera ----------------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), resize=st.sampled_from([None, "fit"]))
def test_a_point_lands_on_the_pixel_that_shows_it(seed: int, resize: str | None) -> None:
    # The label stores the stored pixel's own coordinates, so it tells where each canvas pixel came from.
    rows, columns = np.mgrid[0:30, 0:40]
    positions = np.stack([columns, rows, np.ones_like(rows)], -1).astype(np.float32)
    depth = np.random.default_rng(seed).uniform(1, 4, (30, 40)).astype(np.float32)
    points = backproject(depth, CAMERA)

    generator = transform((26, 35), scale_range=(0.5, 3.0), flip_probability=0.5, resize=resize)
    base = generator._base_size((30, 40))
    geometry, zoom, _ = generator._draw((30, 40), base, {}, rng(seed))
    shown = geometry.resample_label(positions)[..., :2].astype(int)
    if geometry.flip:
        shown = shown[:, ::-1]
    point = points[shown[..., 1], shown[..., 0]] * ([-1, 1, 1] if geometry.flip else [1, 1, 1])
    found = project(point, geometry.camera(CAMERA))
    top, left = geometry.padding
    v, u = np.mgrid[top : top + shown.shape[0], left : left + shown.shape[1]]
    # Nearest neighbour is off by half a stored pixel at most, plus rounding of its index.
    limit = 0.5 * max(geometry.scaled[0] / 30, geometry.scaled[1] / 40) + 1e-6
    assert np.abs(found - np.stack([u, v], -1)).max() <= max(limit, 0.5)
    # Depth divided by the zoom is the same world, smaller: the points project to the same place.
    np.testing.assert_allclose(project(point / zoom, geometry.camera(CAMERA)), found, atol=1e-9)


def test_unknown_cameras_are_zero() -> None:
    raw = raw_image()
    raw.camera = None
    assert not transform((30, 40))(raw, rng())["meta"]["camera"].any()


# ---- crop ------------------------------------------------------------------------------------------------------------
def crowded() -> np.ndarray:
    """Class 0 almost everywhere, a mixture in the last quarter of the columns."""
    label = np.zeros((30, 80), np.int64)
    label[:, 60:] = np.random.default_rng(0).integers(1, 13, (30, 20))
    return label


def crops(labels: dict[str, np.ndarray], max_share: float | None, tries: int = 200) -> list[tuple[int, ...]]:
    return [choose_crop((30, 80), (30, 80), (30, 20), TASKS, labels, max_share, rng(s)) for s in range(tries)]


def test_crops_are_uniform_without_a_limit() -> None:
    lefts = [crop[1] for crop in crops({"semseg": crowded()}, None, 2000)]
    assert (min(lefts), max(lefts)) == (0, 60)
    assert abs(np.mean(lefts) - 30) < 1.7  # four sigma of 17.6 / sqrt(2000)


def test_a_dominating_class_makes_for_another_crop() -> None:
    label = crowded()

    def bad(crop: tuple[int, ...]) -> bool:
        return bool(TASKS["semseg"].dominant_share(label[:, crop[1] : crop[1] + 20]) >= 0.75)

    free = np.mean([bad(crop) for crop in crops({"semseg": label}, None)])
    limited = np.mean([bad(crop) for crop in crops({"semseg": label}, 0.75)])
    assert free > 0.7
    # Eleven draws all bad: free ** 11.
    assert limited < free ** (CROP_TRIES + 1) + 0.1


def test_a_share_equal_to_the_limit_is_too_much() -> None:
    label = np.zeros((30, 80), np.int64)
    label[:, ::4] = 1  # exactly 75 percent zeros in any 20 columns
    limited = crops({"semseg": label}, 0.75, 20)
    assert limited != crops({"semseg": label}, None, 20)
    assert crops({"semseg": label}, 0.76, 20) == crops({"semseg": label}, None, 20)


def test_only_tasks_with_a_say_move_the_crop() -> None:
    labels = {"depth": np.ones((30, 80), np.float32), "saliency": np.zeros((30, 80), np.int64)}
    assert crops(labels, 0.5, 20) == crops({}, 0.5, 20) == crops({}, None, 20)


def test_crop_does_not_draw_where_there_is_no_room() -> None:
    assert choose_crop((30, 80), (30, 80), (40, 90), TASKS, {"semseg": crowded()}, 0.1, rng()) == (0, 0, 30, 80)


# ---- randomness ------------------------------------------------------------------------------------------------------
def test_a_sample_is_a_function_of_its_generator() -> None:
    options = {"scale_range": (0.5, 2.0), "flip_probability": 0.5, "photometric": "strong", "crop_max_share": 0.75}
    one, two = (transform((24, 32), **options) for _ in range(2))
    raw = raw_image(semseg=semseg())
    two(raw, rng(99))  # whatever was drawn before must not matter
    first, second, other = one(raw, rng(5)), two(raw, rng(5)), two(raw, rng(6))
    assert torch.equal(first["image"], second["image"])
    assert torch.equal(first["targets"]["semseg"], second["targets"]["semseg"])
    assert not torch.equal(first["image"], other["image"])


def test_scale_range_is_covered() -> None:
    zooms = [transform((8, 8), scale_range=(0.5, 2.0))(raw_image(64, 64), rng(s))["meta"]["zoom"] for s in range(200)]
    assert 0.48 < min(zooms) < 0.56 and 1.9 < max(zooms) < 2.02


def test_flip_probability() -> None:
    flips = [bool(transform((8, 8), flip_probability=0.3)(raw_image(8, 8), rng(s))["meta"]["flip"]) for s in range(500)]
    assert abs(np.mean(flips) - 0.3) < 0.09


# ---- faults ----------------------------------------------------------------------------------------------------------
def test_sizes_that_differ() -> None:
    with pytest.raises(DataError, match=r"'a' has 30x40 pixels but its semseg label 30x39"):
        transform((30, 40))(raw_image(semseg=semseg(30, 39)), rng())


@pytest.mark.parametrize(
    "options",
    [
        {"scale_range": (2.0, 1.0)},
        {"scale_range": (0.0, 1.0)},
        {"scale_choices": []},
        {"scale_choices": [1.0], "scale_range": (1.0, 2.0)},
        {"crop_max_share": 0.0},
        {"flip_probability": 1.5},
        {"photometric": "wild"},
        {"resize": "stretch"},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Mend"):
        transform((8, 8), **options)


def test_a_canvas_that_is_none() -> None:
    with pytest.raises(ConfigError, match="canvas"):
        transform((0, 8))


def test_targets_of_another_size_in_evaluation() -> None:
    """Each target pixel is the stored one nearest to its centre; training does not know of it."""
    tasks = build_tasks({"depth": {"unit": "disparity"}})
    stored = np.arange(32.0, dtype=np.float32).reshape(4, 8)
    raw = RawImage("a", np.zeros((4, 8, 3), np.uint8), {"depth": stored})
    for size, expected in (((8, 16), stored.repeat(2, 0).repeat(2, 1)), ((2, 4), stored[1::2, 1::2])):
        sample = JointTransform(tasks, (4, 8), train=False, score_size=size)(raw, np.random.default_rng(0))
        assert sample["image"].shape == (3, 4, 8)
        np.testing.assert_array_equal(sample["targets"]["depth"], expected)
    trained = JointTransform(tasks, (4, 8), train=True, score_size=(8, 16))(raw, np.random.default_rng(0))
    assert trained["targets"]["depth"].shape == (4, 8)


@pytest.mark.parametrize(
    ("score_size", "resize", "message"),
    [((8, 8), "fit", "another aspect"), ((8, 16), None, "resize: fit"), ((0, 0), "fit", "no size")],
)
def test_score_sizes_that_make_no_sense(score_size: tuple[int, int], resize: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        JointTransform({}, (4, 8), train=False, resize=resize, score_size=score_size)
