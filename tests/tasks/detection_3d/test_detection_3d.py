"""The network side of 3-D detection: goals and losses by hand, angle codes, what unlabelled images do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mtdense.core.errors import ConfigError
from mtdense.geometry.quaternions import euler_from_quaternion, rotation_angle
from mtdense.tasks import Detection3D, build_label_kinds, build_tasks
from mtdense.tasks.base import LossTerms
from mtdense.tasks.detection_3d.angles import CODINGS
from mtdense.tasks.detection_3d.grid import Grid
from mtdense.tasks.detection_3d.target import target_of
from mtdense.training import PartialLabelReducer
from tests.tasks.detection_3d.streets import SIZES, label, noise, street


# ---- the specification -----------------------------------------------------------------------------------------------
def test_specification() -> None:
    task = Detection3D(angle_coding="taskprompter", direction_offset=0.5, box_relu=True, base_size=[4.0, 2.0, 1.5])
    assert Detection3D(**task.spec) == task != Detection3D() and task.meaning == Detection3D().meaning
    assert build_tasks({"detection_3d": None}) == build_label_kinds({"detection_3d": None})
    assert Detection3D().num_outputs == 6 + 13 + 2 + 1 and task.num_outputs == 6 + 13 + 6 + 1
    assert list(task.output_groups.values()) == [6, 2, 1, 3, 3, 4, 6, 1]
    assert Detection3D().offset == math.pi / 4 and Detection3D(angle_coding="taskprompter").offset == 0


@pytest.mark.parametrize(
    "options",
    [
        {"angle_coding": "euler"},
        {"direction_offset": float("nan")},
        {"level_ranges": [0.2, 0.1]},
        {"level_ranges": 0.2},
        {"cell_points": "corner"},
        {"learn_from_empty": 1},
        {"base_depth": 0.0},
        {"base_size": [1.0, 1.0]},
        {"min_score": 1.5},
        {"max_boxes": 0},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"detection_3d.{next(iter(options))}"):
        Detection3D(**options)


def test_levels_that_do_not_fit_the_ranges() -> None:
    task = Detection3D()
    assert len(task.at_size(noise(task, 1), (0, 0))) == 5
    assert len(task.at_size(noise(task, 1)[0], (0, 0))) == 1
    with pytest.raises(ConfigError, match="3 levels"):
        task.at_size(noise(task, 1)[:3], (0, 0))


# ---- angles ----------------------------------------------------------------------------------------------------------
quaternions = st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1)


@settings(max_examples=150, deadline=None)
@given(rotation=quaternions, offset=st.floats(-4, 4))
def test_codes_name_every_orientation(rotation: list[float], offset: float) -> None:
    q = torch.tensor([rotation], dtype=torch.float64)
    q = q / q.norm()
    for coding in CODINGS.values():
        angles = coding.encode(q)
        # Where a bin begins, rounding decides which half turn it is.
        binned = angles[0, list(coding.binned)].numpy()
        assume(min(abs(math.remainder(angle - offset, math.pi)) for angle in binned) > 1e-9)
        # What a network is asked for: angles but for half turns where there are bins, and the bins.
        known = angles.clone()
        known[:, list(coding.binned)] += math.pi
        again = coding.decode(coding.resolve(known, coding.bins(angles, offset), offset))
        turned = rotation_angle(q.numpy(), again.numpy())[0]
        assert min(turned, 2 * np.pi - turned) < 1e-6
        assert again.norm().item() == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:Gimbal lock")
@pytest.mark.parametrize("pitch", [math.pi / 2, -math.pi / 2])
@pytest.mark.parametrize("axes", ["YXZ", "ZXY"])
def test_codes_at_their_poles(axes: str, pitch: float) -> None:
    for angle in (-3.0, 0.4, 2.0):
        q = torch.tensor(Rotation.from_euler(axes, [angle, pitch, 0.7]).as_quat()[[3, 0, 1, 2]])[None]
        q = q if axes == "YXZ" else q[:, [1, 2, 3, 0]]  # the public code's order
        coding = CODINGS["fixed" if axes == "YXZ" else "taskprompter"]
        assert rotation_angle(q.numpy(), coding.decode(coding.encode(q)).numpy())[0] < 1e-6


def test_codes_are_those_of_scipy() -> None:
    q = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = q / q.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(CODINGS["fixed"].encode(q), euler_from_quaternion(q.numpy(), "YXZ"), atol=1e-9)
    # The quirk: scalar first handed to a function that wants it last.
    published = Rotation.from_quat(q.numpy()).as_euler("ZXY")
    np.testing.assert_allclose(CODINGS["taskprompter"].encode(q), published, atol=1e-9)


def test_angles_of_level_vehicles() -> None:
    """In S a turn to the left is one about -y; the published code has half a turn more, and half turns elsewhere."""
    yaw = 0.3
    seen = torch.tensor([[math.cos(yaw / 2), 0.0, -math.sin(yaw / 2), 0.0]], dtype=torch.float64)
    np.testing.assert_allclose(CODINGS["fixed"].encode(seen), [[-yaw, 0, 0]], atol=1e-12)
    first, second, third = CODINGS["taskprompter"].encode(seen)[0].tolist()
    assert abs(first) == pytest.approx(math.pi) and second == pytest.approx(0, abs=1e-12)
    assert math.remainder(third - (-yaw + math.pi), 2 * math.pi) == pytest.approx(0, abs=1e-12)


def test_bins_begin_at_the_offset() -> None:
    fixed, published = CODINGS["fixed"], CODINGS["taskprompter"]
    angles = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0, 0], [math.pi, 0, 0], [-0.01, -0.01, 3.2]])
    assert fixed.bins(angles, math.pi / 4).tolist() == [[1], [0], [0], [1]]
    assert published.bins(angles, 0.0).tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 1, 1]]


# ---- goals -----------------------------------------------------------------------------------------------------------
def test_goals_by_hand() -> None:
    # At C (20, -0.25 + 0.25, 0): in S (0, 0, 20), seen in the middle of the image, (127.5, 63.5).
    target = target_of(label([[21.5, -0.25, 1.25]], [0.0], [3]))
    task = Detection3D()
    goals = task.goals(target, SIZES)
    left, top, right, bottom = target.modal[0].tolist()
    # Nine metres high or wide at most: 12.8 px on the nearer side; only the finest level (up to 12 px) sees to it that
    # no side is farther, so cells of both of the two finest may find it.
    reach = max(127.5 - left, right - 127.5, 63.5 - top, bottom - 63.5)
    assert 5 < reach < 12
    cells = torch.nonzero(goals.found)[:, 0].tolist()
    # Cell (7, 15) of the finest: its middle is (123.5, 59.5).
    place = 7 * 32 + 15
    assert place in cells and all(cell < 16 * 32 + 8 * 16 for cell in cells)
    expected = [-0.5, -0.5, 20.0, 4.0, 1.8, 1.5, 0.0, 0.0, 0.0]
    expected += [(123.5 - left) / 8, (59.5 - top) / 8, (right - 123.5) / 8, (bottom - 59.5) / 8]
    np.testing.assert_allclose(goals.code[place], expected, atol=1e-5)
    assert goals.classes[place] == 3 and goals.bins[place].tolist() == [1]
    assert goals.centerness[place].item() == pytest.approx(math.exp(-2.5 * math.sqrt(0.5) / (1.414 * 1.5)))
    apart = goals.code[cells, :2]
    assert (apart.abs() < 1.5).all() and (goals.classes[~goals.found] == 6).all()
    # All cells of the finest level near enough whose farthest side is in range, no others.
    for row in range(16):
        for column in range(32):
            x, y = column * 8 + 3.5, row * 8 + 3.5
            near = max(abs(x - 127.5), abs(y - 63.5)) < 12
            fits = max(x - left, right - x, y - top, bottom - y) <= 12
            assert bool(goals.found[row * 32 + column]) == (near and fits)


def test_published_points_of_cells() -> None:
    """Half a cell of 768x1536, in pixels of 1024x2048, rounded down: 5, 10, 21, 21 and 42 behind the first pixel."""
    sizes = [(96, 192), (48, 96), (24, 48), (24, 48), (12, 24)]
    grid = Grid.of(sizes, (768, 1536), torch.device("cpu"), floored=True)
    stored = (grid.points + 0.5) / 0.75 - 0.5
    starts = [sum(grid.counts[:i]) for i in range(5)]
    for start, offset, stride in zip(
        starts, (5, 10, 21, 21, 42), (32 / 3, 64 / 3, 128 / 3, 128 / 3, 256 / 3), strict=True
    ):
        torch.testing.assert_close(stored[start], torch.full((2,), float(offset)))
        torch.testing.assert_close(stored[start + 1], torch.tensor([offset + stride, offset]))
    middle = Grid.of(sizes, (768, 1536), torch.device("cpu"))
    assert middle.points[0].tolist() == [3.5, 3.5] and middle.points[starts[4]].tolist() == [31.5, 31.5]


def test_the_nearest_of_several_centres_wins() -> None:
    target = target_of(label([[21.5, -0.25, 1.25], [41.5, -1.25, 1.25]], [0.0, 0.0], [0, 1]))
    goals = Detection3D().goals(target, [(16, 32)])
    row = goals.classes.view(16, 32)[7]
    # Centres at x = 127.5 and 130.7: the cell whose middle is 131.5 belongs to the second.
    assert row[15] == 0 and row[16] == 1


def test_boxes_behind_the_camera_and_none_at_all() -> None:
    task = Detection3D()
    behind = target_of(label([[-20.0, 0.0, 1.0]], [0.0]))
    assert not task.goals(behind, SIZES).found.any()
    nobody = target_of(label(np.zeros((0, 3)), []))
    goals = task.goals(nobody, SIZES)
    assert not goals.found.any() and (goals.classes == 6).all()
    terms = task.loss_terms(noise(task, 2), [behind, nobody], torch.tensor([True, True]))
    assert terms.counts.tolist() == [[0, 1], [0, 1]] and torch.isfinite(task.loss_value(terms)).all()
    assert not terms.sums[:, 1:].any() and (terms.sums[:, 0] > 0).all()
    published = Detection3D(learn_from_empty=False)
    terms = published.loss_terms(noise(task, 2), [street(), nobody], torch.tensor([True, True]))
    assert terms.counts[1].tolist() == [0, 0] and published.loss_value(terms)[1] == 0
    assert terms.counts[0, 1] == 1 and terms.counts[0, 0] > 0


# ---- losses ----------------------------------------------------------------------------------------------------------
def test_loss_by_hand() -> None:
    """One cell of one level, which is to find a box."""
    task = Detection3D(class_names=["car"])
    target = target_of(label([[21.5, -0.25, 1.25]], [0.4], [0]))
    size = [(1, 1)]
    raw = torch.zeros(1, task.num_outputs, 1, 1)
    values = task.channels.split(raw[0, :, 0, 0])
    goals = task.goals(target, size)
    assert goals.found.all()
    values["classes"][0], values["centerness"][0] = 0.5, -0.25
    values["rotation"][0], values["direction"][1] = 1.0, 2.0
    terms = task.loss_terms((torch.cat(list(values.values())).view(raw.shape),), [target], torch.tensor([True]))
    code = goals.code[0].tolist()
    p = 1 / (1 + math.exp(-0.5))
    focal = 0.25 * (1 - p) ** 2 * -math.log(p)
    assert terms.sums[0, 0].item() == pytest.approx(5 * focal, rel=1e-5)

    def smooth(a: float, b: float) -> float:
        d = abs(a - b)
        return 4.5 * d * d if d < 1 / 9 else d - 1 / 18

    expected = sum(smooth(0, c) for c in code[:2]) + 0.2 * smooth(1, code[2]) + sum(smooth(1, c) for c in code[3:6])
    yaw = code[6]
    assert yaw == pytest.approx(-0.4, abs=1e-6)
    expected += 5 * smooth(math.sin(1) * math.cos(yaw), math.cos(1) * math.sin(yaw))
    expected += 5 * sum(smooth(0, c) for c in code[7:9]) + sum(smooth(0, c) for c in code[9:])
    assert terms.sums[0, 1].item() == pytest.approx(expected, rel=1e-4)
    assert goals.bins.tolist() == [[1]]
    assert terms.sums[0, 2].item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
    c = goals.centerness[0].item()
    s = 1 / (1 + math.exp(0.25))
    assert terms.sums[0, 3].item() == pytest.approx(-c * math.log(s) - (1 - c) * math.log(1 - s), rel=1e-5)
    sums = terms.sums[0].tolist()
    assert terms.counts.tolist() == [[1, 1]]
    assert task.loss_value(terms).item() == pytest.approx(sums[0] / 2 + sum(sums[1:]), rel=1e-5)


def test_the_published_angles_are_compared_but_for_half_turns() -> None:
    task = Detection3D(angle_coding="taskprompter")
    ideal = task.ideal_levels([street()], SIZES)
    turned = [level.clone() for level in ideal]
    place = sum(list(task.output_groups.values())[:4])
    for level in turned:
        level[:, place : place + 3] += math.pi
    valid = torch.tensor([True])
    straight, half = (task.loss_terms(levels, [street()], valid).sums[0] for levels in (ideal, turned))
    np.testing.assert_allclose(straight[1], 0, atol=1e-6)
    np.testing.assert_allclose(half[1], 0, atol=1e-6)
    fixed = Detection3D()
    levels = [level.clone() for level in fixed.ideal_levels([street()], SIZES)]
    for level in levels:
        level[:, place + 1] += math.pi  # pitch: no bins
    assert fixed.loss_terms(levels, [street()], valid).sums[0, 1] > 1


def test_ideal_levels_have_the_least_loss() -> None:
    for task in (Detection3D(), Detection3D(angle_coding="taskprompter", base_depth=20.0, base_size=[4.0, 1.8, 1.5])):
        valid = torch.tensor([True])
        best = task.loss_terms(task.ideal_levels([street()], SIZES), [street()], valid).sums[0]
        other = task.loss_terms(noise(task, 1), [street()], valid).sums[0]
        # What is left of the centerness is its own entropy.
        assert best[:3].max() < 1e-3 < other[:3].min() and best[3] < other[3]


def test_losses_add_up_over_images_and_scale_with_their_sums() -> None:
    task, targets = Detection3D(), [street(), target_of(label([[21.5, -0.25, 1.25]], [0.0]))]
    levels, valid = noise(task, 2), torch.tensor([True, True])
    both = task.loss_terms(levels, targets, valid)
    for i in range(2):
        one = task.loss_terms([level[i : i + 1] for level in levels], targets[i : i + 1], valid[:1])
        torch.testing.assert_close(one.sums[0], both.sums[i])
        assert one.counts[0].tolist() == both.counts[i].tolist()
    doubled = task.loss_value(LossTerms(2 * both.sums, both.counts))
    torch.testing.assert_close(doubled, 2 * task.loss_value(both))


def test_unlabelled_images_change_nothing() -> None:
    task, labelled = Detection3D(), torch.tensor([True, False])
    results = []
    for rubbish in (False, True):
        levels = [level.clone() for level in noise(task, 2)]
        other = street() if rubbish else task.to_target(task.invalid_label(128, 256))
        if rubbish:
            other.table[1:] = float("nan")
            for level in levels:
                level[1] = float("nan")
        levels = [level.requires_grad_() for level in levels]
        terms = task.loss_terms(levels, [street(), other], task.counted([street(), other], labelled))
        reducer = PartialLabelReducer("batch", "labelled_count")
        value = reducer({"detection_3d": task}, {"detection_3d": terms}, {"detection_3d": labelled})["detection_3d"]
        value.backward()
        results.append((value.item(), [level.grad for level in levels], terms))
    (clean, grads, terms), (dirty, dirty_grads, dirty_terms) = results
    assert clean == dirty > 0 and torch.equal(terms.counts, dirty_terms.counts)
    assert terms.counts[1].tolist() == [0, 0] and not terms.sums[1].any()
    for a, b in zip(grads, dirty_grads, strict=True):
        assert a is not None and b is not None and torch.equal(a, b) and not a[1].any() and a[0].any()


def test_what_gets_a_gradient() -> None:
    """Cells without a box teach classes only."""
    task, target = Detection3D(), street()
    levels = tuple(level.requires_grad_() for level in noise(task, 1))
    task.loss_value(task.loss_terms(levels, [target], torch.tensor([True]))).sum().backward()
    found, start = task.goals(target, SIZES).found, 0
    assert found.any()
    for level, (height, width) in zip(levels, SIZES, strict=True):
        assert level.grad is not None
        grad, here = level.grad[0].flatten(1), found[start : start + height * width]
        assert grad[:6].all() and not grad[6:, ~here].any() and grad[6:, here].any(dim=0).all()
        start += height * width
