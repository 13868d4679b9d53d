"""The files in which the prediction for one image is kept, by how labels of its task are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mtdense.core.errors import DataError
from mtdense.data.cityscapes.boxes3d import write_detections
from mtdense.data.cityscapes.detections3d import detected_vehicles
from mtdense.reports.access import array_of
from mtdense.reports.restore import CanvasGeometry, restore_prediction
from mtdense.tasks.base import ArrayAny, Task
from mtdense.tasks.detection_3d import Detection3D, Detections

__all__ = ["BOX_FILE", "Place", "compact", "draw_boxes", "safe_path", "write_boxes", "write_prediction"]

BOX_FILE = "_detections.json"
"""What follows an image's id in the name of the file of its 3-D boxes."""

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Place:
    """Where the prediction for an image goes, and what of it is wanted.

    Args:
        folder: Folder of the task.
        image_id: Id, which may have sub-folders.
        pictures: Write pictures.
        arrays: Write values.
    """

    folder: Path
    image_id: str
    pictures: bool
    arrays: bool

    def path(self, suffix: str) -> Path:
        """File with something behind the id; see `safe_path`."""
        return safe_path(self.folder, self.image_id, suffix)


def write_prediction(
    task: Task, prediction: Any, geometry: CanvasGeometry, shown: Callable[[], Picture], place: Place
) -> None:
    """Writes what is wanted of a prediction, on the grid of the stored image.

    Args:
        task: Task of the prediction.
        prediction: Of one image, on the canvas: a tensor, or `Detections`.
        geometry: Where the image lies on the canvas.
        shown: Gives the image on the canvas, (H, W, 3), if it is needed.
        place: Where to.
    """
    if isinstance(prediction, Detections):
        _write_boxes(task, prediction, geometry, shown, place)
    else:
        _write_map(task, restore_prediction(task, array_of(prediction), geometry), place)


def _write_map(task: Task, values: ArrayAny, place: Place) -> None:
    if place.pictures:
        Image.fromarray(task.draw(values)).save(place.path(".png"))
    if place.arrays:
        np.save(place.path(".npy"), compact(values), allow_pickle=False)


def _write_boxes(
    task: Task, found: Detections, geometry: CanvasGeometry, shown: Callable[[], Picture], place: Place
) -> None:
    if place.pictures:
        over, above = draw_boxes(task, found, _stored_image(shown(), geometry))
        Image.fromarray(over).save(place.path(".png"))
        Image.fromarray(above).save(place.path("_above.png"))
    if place.arrays:
        write_boxes(task, found, place.path(BOX_FILE))


def draw_boxes(task: Task, found: Detections, stored: Picture) -> tuple[Picture, Picture]:
    """Boxes in the stored image, and seen from above.

    Args:
        task: Their task.
        found: Boxes, on the canvas.
        stored: The image at its own size, (H, W, 3).
    """
    table = found.on_stored()
    inside = table.within((0, 0, *table.size))
    return task.draw_over(stored, inside), task.draw(inside)


def write_boxes(task: Task, found: Detections, path: Path) -> None:
    """Writes boxes in the official format of Cityscapes 3D.

    Args:
        task: Their task.
        found: Boxes, on the canvas.
        path: The file. What is before the last underscore of its name names the image, as the official evaluation has
            it: end it with `BOX_FILE`.

    Raises:
        DataError: The camera has no known place in the vehicle.
    """
    assert isinstance(task, Detection3D)
    stored = found.on_stored()
    write_detections(path, detected_vehicles(stored.scored(), stored.camera(), task.class_names))


def _stored_image(canvas: Picture, geometry: CanvasGeometry) -> Picture:
    """What the canvas shows of the stored image, at its size; the rest is black."""
    top, left, height, width = geometry.content
    content = Image.fromarray(canvas[top : top + height, left : left + width])
    if geometry.flip:
        content = content.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    start_y, start_x, tall, wide = (round(v) for v in geometry.window)
    whole = Image.new("RGB", geometry.original_size[::-1])
    whole.paste(content.resize((max(1, wide), max(1, tall)), Image.Resampling.BILINEAR), (start_x, start_y))
    return np.asarray(whole, dtype=np.uint8)


def safe_path(folder: Path, image_id: str, suffix: str) -> Path:
    """File of an image below `folder`, with its parent folders made.

    Args:
        folder: Folder that must not be left.
        image_id: Id; "/" separates sub-folders.
        suffix: Appended as it is, such as ".png".

    Raises:
        DataError: The id is empty, absolute, climbs with "..", holds a backslash, a drive or a control character, or
            leads out of the folder through a link.
    """
    parts = image_id.split("/")
    bad = (
        any(part in ("", ".", "..") for part in parts)
        or "\\" in image_id
        or any(ord(character) < 32 for character in image_id)
        or PurePosixPath(image_id).is_absolute()
        or bool(PureWindowsPath(image_id).drive)
    )
    path = folder.joinpath(*parts[:-1], parts[-1] + suffix)
    if bad or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"the image id {image_id!r} leads out of the folder {folder}",
            'rename the image: ids are relative names without "..", backslashes or control characters.',
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def compact(values: ArrayAny) -> ArrayAny:
    """Smallest type that holds class ids; float32 for everything else."""
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.uint8 if values.max(initial=0) <= 255 else np.int32)
    return values.astype(np.float32)
