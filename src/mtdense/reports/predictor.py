"""From photographs of any size to predictions at that size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean
from mtdense.data.dataset import collate
from mtdense.data.given_camera import GivenCamera
from mtdense.data.sample import Batch, RawImage, Sample
from mtdense.data.transform import Geometry
from mtdense.models import DenseModule
from mtdense.reports.tiles import Blend, TilePlan, plan_tiles
from mtdense.tasks import Task
from mtdense.tasks.base import ArrayAny

__all__ = ["Predicted", "Predictor", "numbered_classes"]


@dataclass
class Predicted:
    """What the network says of a picture.

    Args:
        id: The picture's.
        image: (H, W, 3) uint8 RGB.
        values: {task: prediction (H, W) or (H, W, 3)}: class ids, probabilities, unit vectors, or the task's unit.
        plan: How the picture was looked at.
        objects: {task: what it found}, of tasks whose predictions are no maps: 3-D boxes, on the network's canvas.
    """

    id: str
    image: npt.NDArray[np.uint8]
    values: dict[str, ArrayAny]
    plan: TilePlan
    objects: dict[str, Any] = field(default_factory=dict)


class Predictor:
    """Predicts on pictures of any size and aspect, one at a time.

    Without tiles a picture is scaled, aspect kept, to what fits the network's size, or what pictures filled of it in
    training. With tiles it is scaled to `tile`
    times that, and the network looks at overlapping parts of its own size; where they overlap, probabilities, vectors
    or values are averaged, fading from one to the other. What tiles or another size than that of training do to a
    task's values is undone (`Task.zoom_label`: metres are multiplied by it). Either way soft predictions are brought to
    the picture's own grid before classes are decided, so borders are smooth.

    Args:
        model: The network, see `mtdense.load`; it is put into evaluation mode and on `device`.
        tasks: Tasks to predict; None: all.
        camera: What the pictures were taken with. Tasks of things in space (3-D boxes) need it.
        size: Height and width that the network sees; None: of its training images. Of a network that does not say what
            those had, this is taken for it.
        filled: Height and width that pictures filled of training images, see `filled_in_training`; None: all.
        tile: Scale of the tiles, from 1 on; None: no tiles.
        overlap: Share of a tile that a neighbour sees too.
        batch_size: Tiles at a time.
        device: Such as "cuda:0"; "auto" takes the first GPU if there is one.

    Raises:
        ConfigError: An unknown task, one that needs a camera where there is none, or an option that makes no sense.
    """

    def __init__(
        self,
        model: DenseModule,
        *,
        tasks: Sequence[str] | None = None,
        camera: GivenCamera | None = None,
        size: Sequence[int] | None = None,
        filled: Sequence[int] | None = None,
        tile: float | None = None,
        overlap: float = 0.25,
        batch_size: int = 4,
        device: str = "cpu",
    ) -> None:
        self.tasks = _chosen(model, tasks)
        self.camera = camera
        found = [name for name, task in self.tasks.items() if task.output_kind != "map"]
        self.maps = {name: task for name, task in self.tasks.items() if name not in found}
        self.size = _canvas(model, size)
        self.trained_size = _canvas(model, model.hparams["input_size"] or self.size)
        self.filled = None if filled is None else _canvas(model, filled)
        _check_spatial(found, list(self.maps), camera, tile, None if self.size == self.trained_size else self.size)
        self.tile = tile
        self.overlap = overlap
        if batch_size < 1:
            raise ConfigError(f"{batch_size} tiles at a time", "give 1 or more.")
        self.batch_size = batch_size
        plan_tiles(self.size, self.size, tile, overlap)  # says now what is wrong with them
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.device = torch.device(device)
            self.model = model.eval().to(self.device)
        except (RuntimeError, AssertionError) as error:
            said = str(error).splitlines()[0]
            raise ConfigError(f"--device {device}: {said}", "`mtdense doctor` says what there is.") from error

    def __call__(self, picture: npt.NDArray[np.uint8] | RawImage, id: str = "picture") -> Predicted:
        """Predicts.

        Args:
            picture: (H, W, 3) uint8 RGB, or a `RawImage`, whose id is taken.
            id: Of a picture that is an array; networks that draw noise draw it from this.

        Raises:
            ConfigError: No picture.
            DataError: One too large to blend, or with a camera of another aspect.
        """
        raw = picture if isinstance(picture, RawImage) else RawImage(id, picture)
        if raw.image.ndim != 3 or raw.image.shape[2] != 3 or raw.image.dtype != np.uint8 or 0 in raw.image.shape:
            raise ConfigError(
                f"{raw.id} is {raw.image.dtype} of shape {raw.image.shape}", "give RGB pictures (H, W, 3) of uint8."
            )
        source = int(raw.image.shape[0]), int(raw.image.shape[1])
        plan = plan_tiles(source, self.size, self.tile, self.overlap, self.filled or self.trained_size, self._room())
        blends = {name: Blend(task, plan) for name, task in self.maps.items()}
        objects: dict[str, Any] = {}
        for first, batch in self._batches(raw, plan):
            soft, found = self._predict(batch)
            objects |= found
            for name, maps in soft.items():
                for place, values in enumerate(maps):
                    blends[name].add(first + place, values)
        values = {name: blend.prediction() for name, blend in blends.items()}
        return Predicted(raw.id, raw.image, values, plan, objects)

    def _room(self) -> tuple[int, int] | None:
        """What of the canvas a whole picture may fill: as much as in training."""
        if self.filled is None:
            return None
        rows, columns = (
            round(size * part / whole)
            for size, part, whole in zip(self.size, self.filled, self.trained_size, strict=True)
        )
        return rows, columns

    def _batches(self, raw: RawImage, plan: TilePlan) -> Iterator[tuple[int, Batch]]:
        """(number of its first tile, batch)."""
        for first in range(0, len(plan.tiles), self.batch_size):
            tiles = plan.tiles[first : first + self.batch_size]
            single = len(plan.tiles) == 1
            yield (
                first,
                collate(
                    [self._sample(raw, t, raw.id if single else f"{raw.id}#{first + i}") for i, t in enumerate(tiles)]
                ),
            )

    @torch.no_grad()
    def _predict(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Soft maps of all tiles, and what was found in the one tile there is then."""
        moved = move_data_to_device(batch, self.device)
        outputs = self.model.run_network(moved)
        soft = {name: task.soften(task.at_size(outputs.final[name], self.size)) for name, task in self.maps.items()}
        others = [name for name in self.tasks if name not in self.maps]
        found = {name: self.tasks[name].predict_batch(outputs.final[name], self.size, moved)[0] for name in others}
        return soft, found

    def _sample(self, raw: RawImage, tile: Geometry, id: str) -> Sample:
        pixels = tile.resample_image(raw.image)
        top, left = tile.padding
        planes = np.zeros((3, *tile.canvas), dtype=np.uint8)
        for plane, channel in zip(planes, cv2.split(pixels), strict=True):
            plane[top : top + pixels.shape[0], left : left + pixels.shape[1]] = channel
        image = torch.from_numpy(planes).to(torch.float32).div_(255)
        matrix, mount = None, None
        if self.camera is not None:
            height, width = raw.image.shape[:2]
            matrix, mount = self.camera.matrix_of((height, width), raw.id), self.camera.mount
        meta = tile.meta(matrix, mount=mount)
        meta["data_version"] = "pictures"
        return Sample(image=image, targets={}, labelled={}, id=id, meta=meta)


def _chosen(model: DenseModule, names: Sequence[str] | None) -> dict[str, Task]:
    chosen = list(model.tasks) if names is None else list(dict.fromkeys(names))
    for name in chosen:
        if name not in model.tasks:
            raise ConfigError(
                f"the network does not predict {name!r}",
                f"{did_you_mean(name, tuple(model.tasks))}It predicts {', '.join(model.tasks)}.",
            )
    if not chosen:
        raise ConfigError("no task to predict", f"name some of {', '.join(model.tasks)}.")
    return {name: model.tasks[name] for name in chosen}


def numbered_classes(tasks: Mapping[str, Task]) -> str:
    """What to say where legends can only number classes: their names come with the data of the training."""
    names = [name for name, task in tasks.items() if task.spec.get("class_names", ()) is None]
    return f"classes of {', '.join(names)} have numbers, as the training's data gave no `class_names`" if names else ""


def _check_spatial(
    names: Sequence[str],
    maps: Sequence[str],
    camera: GivenCamera | None,
    tile: float | None,
    size: tuple[int, int] | None,
) -> None:
    """Refuses things in space where nothing tells the camera, where tiles would cut them, or at a size not trained."""
    if not names:
        return
    rest = f"or leave {', '.join(names)} out: `--tasks {' '.join(maps)}`" if maps else "or predict on its data set"
    if camera is None:
        raise ConfigError(
            f"{', '.join(names)} of pictures whose camera nobody told: there are no boxes in space without it",
            f"give it (`--camera fx,fy,cx,cy`, or a camera.json or gtBbox3d.json of Cityscapes), {rest}.",
        )
    if tile is not None:
        raise ConfigError(f"{', '.join(names)} in tiles: a box may lie in several", f"leave out `--tile`, {rest}.")
    if size is not None:
        raise ConfigError(
            f"{', '.join(names)} at {size[0]}x{size[1]}: boxes are as far as they look at the size of training",
            f"leave out `--size`, {rest}.",
        )


def _canvas(model: DenseModule, size: Sequence[int] | None) -> tuple[int, int]:
    size = model.hparams["input_size"] if size is None else size
    if size is None:
        raise ConfigError("the checkpoint does not say its input size", "give `--size HEIGHT WIDTH`.")
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(f"size {list(size)} is no size", "give height and width in pixels.")
    return int(size[0]), int(size[1])
