"""Draws 3-D boxes in their image, and from above."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from mtdense.geometry.boxes import CORNERS, EDGES, NEAR, box_corners, convert_boxes
from mtdense.geometry.cameras import project
from mtdense.tasks.colours import GREY, class_palette
from mtdense.tasks.detection_3d.label import BoxLabel

__all__ = ["draw_boxes", "draw_from_above"]

_DARKER = 0.45
_METRES_AHEAD, _PIXELS_PER_METRE = 90, 4
_FRONT = [CORNERS.index(name) for name in ("FLB", "FRB", "FRT", "FLT")]


def draw_boxes(image: npt.NDArray[np.uint8], label: BoxLabel, num_classes: int) -> npt.NDArray[np.uint8]:
    """The image, darkened, with the edges of all boxes; a cross marks the front.

    Args:
        image: (H, W, 3) RGB.
        label: Boxes of this image.
        num_classes: Number of classes, for the colours.

    Returns:
        (H, W, 3). Regions to ignore are grey rectangles.
    """
    height, width = image.shape[:2]
    # Drawn larger and shrunk: edges are to be seen in small images without covering their vehicles.
    factor = max(1, round(480 / height))
    dark = Image.fromarray((image * _DARKER).astype(np.uint8))
    picture = dark.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    pencil = ImageDraw.Draw(picture)
    thick = max(1, height * factor // 240)
    colours = class_palette(num_classes)
    for box in label.ignored:
        pencil.rectangle([tuple(point) for point in _points(box.reshape(2, 2), factor)], outline=GREY, width=thick)
    corners = box_corners(convert_boxes(label.boxes, "S", label.camera))
    # The nearest last: it is the one that hides the others.
    for place in np.argsort(-corners[..., 2].mean(axis=1), kind="stable"):
        colour = colours[int(label.classes[place])]
        lines = [*EDGES.tolist(), [_FRONT[0], _FRONT[2]], [_FRONT[1], _FRONT[3]]]
        for start, end in lines:
            seen = _ahead(corners[place, start], corners[place, end])
            if seen is not None:
                ends = _points(project(seen, label.camera.matrix), factor)
                pencil.line([tuple(point) for point in ends], fill=colour, width=thick)
    if factor > 1:
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture, dtype=np.uint8)


def _points(pixels: npt.NDArray[np.float64], factor: int) -> list[list[float]]:
    """Places on the enlarged picture; far out of it they are moved nearer, as drawing knows no large numbers."""
    moved: list[list[float]] = np.clip((pixels + 0.5) * factor - 0.5, -1e5, 1e5).tolist()
    return moved


def _ahead(start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """The part (2, 3) of an edge in S that lies before the camera."""
    near = 10 * NEAR
    if max(start[2], end[2]) <= near:
        return None
    points = np.stack([start, end])
    for this, other in ((0, 1), (1, 0)):
        if points[this, 2] < near:
            share = (near - points[this, 2]) / (points[other, 2] - points[this, 2])
            points[this] = points[this] + share * (points[other] - points[this])
    return points


def draw_from_above(label: BoxLabel, num_classes: int, below: BoxLabel | None = None) -> npt.NDArray[np.uint8]:
    """Boxes from above, the camera in the middle of the lower border, looking up; arcs stand every 20 m.

    Args:
        label: Boxes, each in the colour of its class, with a line from its middle to its front.
        num_classes: Number of classes, for the colours.
        below: Further boxes, drawn first in grey: labels, to compare.

    Returns:
        (360, 360, 3): 90 m ahead, 45 m to each side.
    """
    side = _METRES_AHEAD * _PIXELS_PER_METRE
    picture = Image.new("RGB", (2 * side, 2 * side), (28, 28, 34))
    pencil = ImageDraw.Draw(picture)
    scale = 2 * _PIXELS_PER_METRE
    for metres in range(20, _METRES_AHEAD + 1, 20):
        reach = metres * scale
        pencil.arc([side - reach, 2 * side - reach, side + reach, 2 * side + reach], 180, 360, fill=(70, 70, 80))
    colours = class_palette(num_classes)
    for boxes, grey in ((below, True), (label, False)):
        if boxes is None:
            continue
        seen = convert_boxes(boxes.boxes, "S", boxes.camera)
        corners = box_corners(seen)
        for place, colour in enumerate(boxes.classes.tolist()):
            paint = GREY if grey else colours[colour]
            footprint = corners[place, :4][:, [0, 2]]
            front = footprint[_FRONT[:2]].mean(axis=0)
            points = [(side + x * scale, 2 * side - z * scale) for x, z in np.clip(footprint, -1e4, 1e4)]
            pencil.line([*points, points[0]], fill=paint, width=2)
            middle = seen.centers[place, [0, 2]]
            ends = [(side + x * scale, 2 * side - z * scale) for x, z in np.clip([middle, front], -1e4, 1e4)]
            pencil.line(ends, fill=paint, width=2)
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), dtype=np.uint8)
