"""Overlap of turned rectangles against clipping of polygons in plain Python, and suppression against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtdense.geometry.rotated_iou import rotated_corners, rotated_iou, rotated_iou_matrix, rotated_nms

Point = tuple[float, float]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


# ---- another way -----------------------------------------------------------------------------------------------------
def corners(x: float, z: float, width: float, length: float, angle: float) -> list[Point]:
    cos, sin = math.cos(angle), math.sin(angle)
    ends = [(-width / 2, -length / 2), (width / 2, -length / 2), (width / 2, length / 2), (-width / 2, length / 2)]
    return [(x + a * cos + b * sin, z + b * cos - a * sin) for a, b in ends]


def area(polygon: list[Point]) -> float:
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs) / 2


def cut(polygon: list[Point], a: Point, b: Point) -> list[Point]:
    """What of a polygon lies to the left of a line."""
    left = [(b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]) for p in polygon]
    kept = []
    for i, (point, side) in enumerate(zip(polygon, left, strict=True)):
        before, side_before = polygon[i - 1], left[i - 1]
        if (side > 0) != (side_before > 0):
            t = side_before / (side_before - side)
            kept.append((before[0] + t * (point[0] - before[0]), before[1] + t * (point[1] - before[1])))
        if side > 0:
            kept.append(point)
    return kept


def clipped_iou(one: list[float], other: list[float]) -> float:
    polygon, window = corners(*one), corners(*other)  # type: ignore[call-arg]
    whole = area(polygon) + area(window)
    for a, b in zip(window, window[1:] + window[:1], strict=True):
        polygon = cut(polygon, a, b)
    shared = area(polygon) if polygon else 0.0
    return shared / (whole - shared)


def rectangles(count: int, seed: int, spread: float = 4.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(count, 2, generator=generator, dtype=torch.float64) * spread
    sides = torch.rand(count, 2, generator=generator, dtype=torch.float64) * torch.tensor([4.0, 9.0]) + 0.05
    angle = torch.rand(count, 1, generator=generator, dtype=torch.float64) * 14 - 7
    return torch.cat([place, sides, angle], dim=1)


# ---- overlap ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("device", DEVICES)
def test_equals_clipping_of_polygons(device):
    one, other = rectangles(1500, 0), rectangles(1500, 1)
    # Equal, turned by a half and a quarter, in one another, without a turn, and all but equal.
    other[:600] = one[:600]
    other[100:200, 4] += math.pi
    other[200:300, 4] += math.pi / 2
    other[300:400, 2:4] /= 2
    one[400:500, 4] = other[400:500, 4] = 0
    other[500:600] += 1e-9 * torch.randn(100, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    other[600:650] = one[600:650]  # side by side, with a side in common
    other[600:650, 0] += one[600:650, 2] * one[600:650, 4].cos()
    other[600:650, 1] -= one[600:650, 2] * one[600:650, 4].sin()
    expected = torch.tensor([clipped_iou(a, b) for a, b in zip(one.tolist(), other.tolist(), strict=True)])
    found = rotated_iou(one.to(device), other.to(device))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.cpu(), expected.double(), atol=1e-6, rtol=0)  # the other way has its own errors
    exact = torch.tensor([clipped_iou(a, b) for a, b in zip(one[650:].tolist(), other[650:].tolist(), strict=True)],
                         dtype=torch.float64)  # fmt: skip
    torch.testing.assert_close(found[650:].cpu(), exact, atol=1e-11, rtol=0)
    torch.testing.assert_close(found[:200].cpu(), torch.ones(200, dtype=torch.float64), atol=1e-12, rtol=0)
    assert found[600:650].max() < 1e-12
    assert (exact > 0).sum() > 300
    torch.testing.assert_close(rotated_iou(one.float().to(device), other.float().to(device)).cpu(),
                               found.float().cpu(), atol=2e-5, rtol=0)  # fmt: skip


def test_by_hand():
    square = torch.tensor([0.0, 0.0, 2.0, 2.0, 0.0])
    beside = torch.tensor([1.0, 0.0, 2.0, 2.0, 0.0])
    assert rotated_iou(square, beside).item() == pytest.approx(2 / 6)
    # A square and the same turned by an eighth share an octagon: 8 (sqrt 2 - 1).
    turned = torch.tensor([0.0, 0.0, 2.0, 2.0, math.pi / 4])
    octagon = 8 * (math.sqrt(2) - 1)
    assert rotated_iou(square, turned).item() == pytest.approx(octagon / (8 - octagon))
    # Long along z; a quarter turn takes that to x.
    long = torch.tensor([0.0, 0.0, 1.0, 4.0, 0.0])
    lying = torch.tensor([0.0, 0.0, 4.0, 1.0, math.pi / 2])
    assert rotated_iou(long, lying).item() == pytest.approx(1.0)


def test_the_turn_is_that_about_the_axis_that_points_down():
    ends = rotated_corners(torch.tensor([5.0, 7.0, 0.002, 2.0, 0.3], dtype=torch.float64))
    front = ends[2:].mean(dim=0) - torch.tensor([5.0, 7.0])
    torch.testing.assert_close(front, torch.tensor([math.sin(0.3), math.cos(0.3)], dtype=torch.float64))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=6, max_size=6), st.lists(st.floats(0.01, 20), min_size=4, max_size=4))
def test_overlap_does_not_depend_on_order_or_place(numbers, sides):
    x, z, first, second, move, turn = numbers
    one = torch.tensor([0.0, 0.0, sides[0], sides[1], first], dtype=torch.float64)
    other = torch.tensor([x, z, sides[2], sides[3], second], dtype=torch.float64)
    iou = rotated_iou(one, other)
    assert 0 <= iou <= 1
    torch.testing.assert_close(rotated_iou(other, one), iou, atol=1e-12, rtol=0)
    cos, sin = math.cos(turn), math.sin(turn)
    moved = torch.tensor([x * cos + z * sin + 50 * move, z * cos - x * sin, *sides[2:], second + turn]).double()
    shifted = torch.tensor([50 * move, 0.0, *sides[:2], first + turn]).double()
    torch.testing.assert_close(rotated_iou(shifted, moved), iou, atol=1e-4, rtol=0)
    assert clipped_iou(one.tolist(), other.tolist()) == pytest.approx(float(iou), abs=1e-9)


@pytest.mark.parametrize("device", DEVICES)
def test_matrix(device):
    one, other = rectangles(30, 3, 20).to(device), rectangles(40, 4, 20).to(device)
    matrix = rotated_iou_matrix(one, other)
    torch.testing.assert_close(matrix, rotated_iou(one[:, None], other[None]), atol=1e-12, rtol=0)
    assert (matrix == 0).any()
    assert rotated_iou_matrix(one[:0], other).shape == (0, 40)
    assert rotated_iou_matrix(one, other[:0]).shape == (30, 0)


def test_gradients_exist():
    one = rectangles(20, 5, 1).requires_grad_()
    rotated_iou(one, rectangles(20, 6, 1)).sum().backward()
    assert one.grad is not None
    assert one.grad.isfinite().all()


# ---- suppression -----------------------------------------------------------------------------------------------------
def plain_nms(boxes: Tensor, scores: Tensor, max_overlap: float, labels: Tensor | None = None) -> list[int]:
    overlaps = rotated_iou(boxes[:, None], boxes[None]).tolist()
    classes = [0] * len(boxes) if labels is None else labels.tolist()
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -float(scores[i])):  # stable
        if all(overlaps[i][j] <= max_overlap or classes[i] != classes[j] for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("count", "spread"), [(0, 1.0), (1, 1.0), (60, 3.0), (400, 12.0), (300, 300.0)])
def test_nms_equals_its_definition(count, spread, device):
    boxes = rectangles(count, 7, spread)
    generator = torch.Generator().manual_seed(8)
    scores = torch.rand(count, generator=generator).mul(20).round() / 20  # many are equal
    labels = torch.randint(0, 3, (count,), generator=generator)
    there = [part.to(device) for part in (boxes, scores, labels)]
    expected = plain_nms(boxes, scores, 0.3, labels)
    assert rotated_nms(there[0], there[1], 0.3, there[2]).tolist() == expected
    assert rotated_nms(there[0], there[1], 0.3).tolist() == plain_nms(boxes, scores, 0.3)
    assert rotated_nms(there[0], there[1], 0.3, there[2], max_boxes=5).tolist() == expected[:5]
    assert rotated_nms(there[0], there[1], 1.0).tolist() == plain_nms(boxes, scores, 1.0)


def test_equal_rectangles_leave_one():
    boxes = rectangles(1, 9).expand(500, 5)
    assert rotated_nms(boxes, torch.linspace(0, 1, 500), 0.3).tolist() == [499]
    assert rotated_nms(boxes.float(), torch.ones(500), 0.3).tolist() == [0]


def test_what_was_removed_removes_nothing():
    # The second overlaps both others, which are apart.
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0, 0.0], [1.0, 0.0, 2.0, 2.0, 0.0], [2.0, 0.0, 2.0, 2.0, 0.0]])
    assert rotated_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.3).tolist() == [0, 2]
    assert rotated_nms(boxes, torch.tensor([0.8, 0.9, 0.7]), 0.3).tolist() == [1]
    assert rotated_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.34).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.0, 0.0, 0.0, 1.0, 0.0], "above 0"),
        ([0.0, 0.0, 1.0, -1.0, 0.0], "above 0"),
        ([math.nan, 0.0, 1.0, 1.0, 0.0], "finite"),
        ([0.0, 0.0, 1.0, 1.0, math.inf], "finite"),
        ([0.0, 0.0, 1.0, 1.0], r"\(\.\.\., 5\)"),
    ],
)
def test_bad_rectangles(row, message):
    boxes = torch.tensor([row])
    with pytest.raises(ValueError, match=message):
        rotated_nms(boxes, torch.ones(1), 0.3)
    with pytest.raises(ValueError, match=message):
        rotated_iou_matrix(boxes, boxes)


def test_bad_scores_and_labels():
    boxes = rectangles(2, 0)
    with pytest.raises(ValueError, match="2 numbers"):
        rotated_nms(boxes, torch.ones(3), 0.3)
    with pytest.raises(ValueError, match="2 numbers"):
        rotated_nms(boxes, torch.tensor([1.0, math.nan]), 0.3)
    with pytest.raises(ValueError, match="2 classes"):
        rotated_nms(boxes, torch.ones(2), 0.3, torch.ones(3))
    with pytest.raises(ValueError, match="floating point"):
        rotated_iou(boxes.long(), boxes)
