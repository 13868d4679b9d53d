"""Polygons as gtFine has them, from a map of instances."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from mtdense.data.cityscapes.facts import LABELS

__all__ = ["draw_outlines", "outlines"]


def outlines(instances: npt.NDArray[np.int32], label_ids: npt.NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Objects of a `_gtFine_polygons.json` that give the label ids back when they are drawn one over the other.

    The outer contour of every connected part of an instance, the largest first, for inner parts are drawn over outer
    ones; pixels that this leaves wrong (where borders interlock) follow as polygons of their own.

    Args:
        instances: (H, W) instances, each of one label.
        label_ids: (H, W) label ids.

    Returns:
        [{"label": name, "polygon": [[x, y], ...]}], at least two points each.
    """
    parts: list[tuple[float, dict[str, Any]]] = []
    for instance in np.unique(instances):
        mask = (instances == instance).astype(np.uint8)
        name = LABELS[label_ids[mask > 0][0]].name
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for contour in contours:
            area = cv2.contourArea(contour) + cv2.arcLength(contour, True) / 2
            parts.append((area, {"label": name, "polygon": _closed(contour[:, 0].tolist())}))
    objects = [part for _, part in sorted(parts, key=lambda part: -part[0])]
    height, width = label_ids.shape
    for y, x in np.argwhere(draw_outlines(objects, height, width) != label_ids).tolist():
        objects.append({"label": LABELS[label_ids[y, x]].name, "polygon": _closed([[x, y]])})
    return objects


def draw_outlines(objects: list[dict[str, Any]], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Label ids (H, W) of objects that are drawn in their order, as the tools of the data set draw them."""
    numbers = {label.name: label.id for label in LABELS}
    picture = Image.new("L", (width, height), 0)
    pencil = ImageDraw.Draw(picture)
    for entry in objects:
        pencil.polygon([(x, y) for x, y in entry["polygon"]], fill=numbers[entry["label"]])
    return np.array(picture)


def _closed(points: list[list[int]]) -> list[list[int]]:
    """A lone pixel is given twice: less than two points are no polygon."""
    return points if len(points) > 1 else points * 2
