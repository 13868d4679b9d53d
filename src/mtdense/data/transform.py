"""The joint transform: scale, crop, flip, pad, and colours, for an image and its labels together.

Each task says in its own room how its label follows (mirror, zoom, fill value); here is only the geometry. Everything
between the stored image and the canvas is one resampling: rows and columns to read are worked out first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from mtdense.core.errors import ConfigError, DataError
from mtdense.data.gather import gather
from mtdense.data.photometric import Photometric
from mtdense.data.sample import RawImage, Sample, SampleMeta
from mtdense.geometry import crop_camera, flip_camera, resize_camera
from mtdense.geometry.boxes import VehicleCamera
from mtdense.tasks.label_kind import ArrayAny, LabelKind

__all__ = ["Geometry", "JointTransform", "check_options", "check_score_size", "choose_crop"]

CROP_TRIES = 10
"""Crops that are drawn at most while one class covers too much (the published recipes' number)."""


@dataclass(frozen=True)
class Geometry:
    """Where each pixel of the canvas comes from: resize `source` to `scaled`, cut out the crop, mirror, pad.

    Args:
        source: Height and width of the stored image.
        scaled: Height and width of the whole image after scaling.
        crop: Top, left, height, width on the scaled image.
        canvas: Height and width of the result; the crop is centred on it.
        flip: Mirrored left to right.
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    crop: tuple[int, int, int, int]
    canvas: tuple[int, int]
    flip: bool = False

    @property
    def padding(self) -> tuple[int, int]:
        """Rows above and columns left of the content."""
        return (self.canvas[0] - self.crop[2]) // 2, (self.canvas[1] - self.crop[3]) // 2

    def indices(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Stored rows and columns nearest to the centres of the crop's pixels, before the mirror."""
        top, left, height, width = self.crop
        # Whole numbers only: the same result as resizing the whole map and then cropping, without rounding doubts.
        rows = ((2 * (top + np.arange(height)) + 1) * self.source[0]) // (2 * self.scaled[0])
        cols = ((2 * (left + np.arange(width)) + 1) * self.source[1]) // (2 * self.scaled[1])
        return rows, cols

    def resample_label(self, label: ArrayAny, mirrored: bool = False) -> ArrayAny:
        """The crop of a label (H, W) or (H, W, 3), nearest neighbour, its columns in reverse where `mirrored`."""
        rows, cols = self.indices()
        return gather(label, rows, cols[::-1].copy() if mirrored else cols)

    def resample_image(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The crop of an image (H, W, 3), mirrored where asked: bilinear, averaged where it shrinks."""
        top, left, height, width = self.crop
        if self.scaled == self.source:
            out = image[top : top + height, left : left + width]
        else:
            zoom_y, zoom_x = self.scaled[0] / self.source[0], self.scaled[1] / self.source[1]
            box = (
                left / zoom_x,
                top / zoom_y,
                min((left + width) / zoom_x, self.source[1]),
                min((top + height) / zoom_y, self.source[0]),
            )
            # Pillow's filter reads beyond the box where it needs to, so this equals resizing all and cropping.
            picture = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box=box)
            out = np.asarray(picture)
        return np.asarray(cv2.flip(out, 1), dtype=np.uint8) if self.flip else np.ascontiguousarray(out)

    def camera(self, camera: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Intrinsics of the canvas from those of the stored image."""
        moved = resize_camera(camera, self.scaled[1] / self.source[1], self.scaled[0] / self.source[0])
        moved = crop_camera(moved, self.crop[0], self.crop[1])
        if self.flip:
            moved = flip_camera(moved, self.crop[3])
        return crop_camera(moved, -self.padding[0], -self.padding[1])

    def meta(
        self,
        camera: npt.NDArray[np.float64] | None,
        baseline: float | None = None,
        mount: npt.NDArray[np.float64] | None = None,
    ) -> SampleMeta:
        """The sample's account of it (data version left empty)."""
        top, left, height, width = self.crop
        zoom_y, zoom_x = self.scaled[0] / self.source[0], self.scaled[1] / self.source[1]
        matrix = np.zeros((3, 3)) if camera is None else self.camera(camera)
        place = np.zeros((3, 4)) if mount is None else mount
        if mount is not None and self.flip:
            place = VehicleCamera(np.eye(3), mount, self.source).mirrored().camera_from_vehicle
        return SampleMeta(
            original_size=torch.tensor(self.source, dtype=torch.int64),
            content=torch.tensor([*self.padding, height, width], dtype=torch.int64),
            window=torch.tensor([top / zoom_y, left / zoom_x, height / zoom_y, width / zoom_x], dtype=torch.float32),
            zoom=torch.tensor((zoom_y * zoom_x) ** 0.5, dtype=torch.float32),
            flip=torch.tensor(self.flip),
            camera=torch.from_numpy(matrix.astype(np.float32)),
            baseline=torch.tensor(0.0 if baseline is None else baseline, dtype=torch.float32),
            mount=torch.from_numpy(place.astype(np.float32)),
            data_version="",
        )


def choose_crop(
    source: tuple[int, int],
    scaled: tuple[int, int],
    canvas: tuple[int, int],
    tasks: Mapping[str, LabelKind],
    labels: Mapping[str, ArrayAny],
    max_share: float | None,
    rng: np.random.Generator,
) -> tuple[int, int, int, int]:
    """Draws where to cut: uniformly, and again (at most `CROP_TRIES` times) while one class dominates.

    Args:
        source: Size of the stored image.
        scaled: Size of the image after scaling.
        canvas: Size to cut out; a smaller side is left whole.
        tasks: Tasks by name; `LabelKind.dominant_share` says whether a task has a say and what it sees.
        labels: Labels of this image that its label mask admits, and no others: what is not labelled must not move the
            crop.
        max_share: Largest admitted share of one class, of any task with a say; None: any crop will do.
        rng: The sample's generator.

    Returns:
        Top, left, height, width on the scaled image.
    """
    # Others would cost a crop each only to say that they have no say.
    asked = [name for name in labels if type(tasks[name]).dominant_share is not LabelKind.dominant_share]
    height, width = min(scaled[0], canvas[0]), min(scaled[1], canvas[1])
    room = (scaled[0] - height, scaled[1] - width)

    def draw() -> tuple[int, int, int, int]:
        return int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1)), height, width

    def dominated(crop: tuple[int, int, int, int], limit: float) -> bool:
        geometry = Geometry(source, scaled, crop, canvas)
        shares = (tasks[name].dominant_share(geometry.resample_label(labels[name])) for name in asked)
        return any(share is not None and share >= limit for share in shares)

    crop = draw()
    if max_share is None or room == (0, 0):
        return crop
    for _ in range(CROP_TRIES):
        if not dominated(crop, max_share):
            break
        crop = draw()
    return crop


class JointTransform:
    """Brings an image and its labels to the canvas, at random for training, without randomness for evaluation.

    In training: scale (base fit, then a random factor), random crop, mirror, colours, centred padding. In evaluation:
    base fit, centre crop where the image is still larger than the canvas, centred padding. A zoom by the random factor
    is told to the tasks (depth is divided by it); the base fit is not, so metres stay metres in evaluation.

    Args:
        tasks: Tasks by name: these targets a sample has.
        size: Height and width of the canvas.
        train: Random augmentation (else the options below, save `resize`, do nothing).
        resize: "fit" scales each image, aspect kept, to the largest size that the canvas holds; None leaves its size.
        scale_range: Smallest and largest random factor, drawn uniformly.
        scale_choices: Or: factors of which one is drawn.
        crop_max_share: See `choose_crop`; 0.75 in the InvPT line; None: off.
        flip_probability: Probability of a mirror, left to right.
        photometric: "none", "mild" or "strong", see `Photometric`.
        score_size: Evaluation: height and width of the targets, where they are not those of the canvas; of its aspect.

    Raises:
        ConfigError: An option out of range, or both kinds of factors.
    """

    def __init__(
        self,
        tasks: Mapping[str, LabelKind],
        size: Sequence[int],
        *,
        train: bool,
        resize: str | None = "fit",
        scale_range: Sequence[float] | None = None,
        scale_choices: Sequence[float] | None = None,
        crop_max_share: float | None = None,
        flip_probability: float = 0.0,
        photometric: str = "none",
        score_size: Sequence[int] | None = None,
    ) -> None:
        check_options(size, resize, scale_range, scale_choices, crop_max_share, flip_probability)
        check_score_size(score_size, size, resize)
        self.tasks = dict(tasks)
        self.size = (int(size[0]), int(size[1]))
        self.train = train
        self.resize = resize
        self.scale_range = scale_range
        self.scale_choices = scale_choices
        self.crop_max_share = crop_max_share
        self.flip_probability = flip_probability
        self.photometric = Photometric(photometric if train else "none")
        self.score_size = self.size if score_size is None or train else (int(score_size[0]), int(score_size[1]))

    def __call__(self, raw: RawImage, rng: np.random.Generator) -> Sample:
        """Transforms one image.

        Args:
            raw: The image with the labels that may be used; a task of this transform without a label there is
                unlabelled. Labels of other tasks are not looked at.
            rng: The sample's own generator; not used in evaluation.

        Raises:
            DataError: A label's size differs from the image's.
        """
        source = (int(raw.image.shape[0]), int(raw.image.shape[1]))
        labels = {name: label for name, label in raw.labels.items() if name in self.tasks}
        for name, label in labels.items():
            size = self.tasks[name].label_size(label)
            if size != source:
                raise DataError(
                    f"image {raw.id!r} has {source[0]}x{source[1]} pixels but its {name} label {size[0]}x{size[1]}",
                    "Give image and label one size.",
                )
        base = self._base_size(source)
        if self.train:
            geometry, zoom, colour_seed = self._draw(source, base, labels, rng)
            scored = geometry
            image = self.photometric(geometry.resample_image(raw.image), colour_seed)
        else:
            geometry, zoom = _centred(source, base, self.size), 1.0
            scored = _centred(source, self._base_size(source, self.score_size), self.score_size)
            image = geometry.resample_image(raw.image)
        return Sample(
            image=_image_tensor(image, geometry),
            targets={name: self._target(task, labels.get(name), scored, zoom) for name, task in self.tasks.items()},
            labelled={name: name in labels for name in self.tasks},
            id=raw.id,
            meta=geometry.meta(raw.camera, raw.baseline),
        )

    def _base_size(self, source: tuple[int, int], size: tuple[int, int] | None = None) -> tuple[int, int]:
        if self.resize is None:
            return source
        size = size or self.size
        zoom = min(size[0] / source[0], size[1] / source[1])
        return _scaled(source[0], zoom, size[0]), _scaled(source[1], zoom, size[1])

    def _draw(
        self, source: tuple[int, int], base: tuple[int, int], labels: Mapping[str, ArrayAny], rng: np.random.Generator
    ) -> tuple[Geometry, float, int]:
        """Draws geometry, zoom against the base size, and the seed of the colours."""
        factor = 1.0
        if self.scale_range is not None:
            factor = float(rng.uniform(self.scale_range[0], self.scale_range[1]))
        elif self.scale_choices is not None:
            factor = float(self.scale_choices[int(rng.integers(len(self.scale_choices)))])
        scaled = (_scaled(base[0], factor), _scaled(base[1], factor))
        flip = bool(rng.random() < self.flip_probability)
        colour_seed = int(rng.integers(2**32))
        # Last, as the number of tries depends on labels: nothing else shall.
        crop = choose_crop(source, scaled, self.size, self.tasks, labels, self.crop_max_share, rng)
        zoom = float(np.sqrt(scaled[0] / base[0] * scaled[1] / base[1]))  # what rounding to pixels made of the factor
        return Geometry(source, scaled, crop, self.size, flip), zoom, colour_seed

    @staticmethod
    def _target(task: LabelKind, label: ArrayAny | None, geometry: Geometry, zoom: float) -> Any:
        if label is None:
            return task.to_target(task.invalid_label(*geometry.canvas))
        return task.to_target(task.place_label(label, geometry, zoom))


def _centred(source: tuple[int, int], base: tuple[int, int], canvas: tuple[int, int]) -> Geometry:
    """The centre of the scaled image, as large as the canvas holds."""
    height, width = min(base[0], canvas[0]), min(base[1], canvas[1])
    return Geometry(source, base, ((base[0] - height) // 2, (base[1] - width) // 2, height, width), canvas)


def _scaled(length: int, factor: float, limit: int | None = None) -> int:
    scaled = max(1, round(length * factor))
    return scaled if limit is None else min(scaled, limit)


def _image_tensor(image: npt.NDArray[np.uint8], geometry: Geometry) -> Tensor:
    top, left = geometry.padding
    planes = np.zeros((3, *geometry.canvas), dtype=np.uint8)
    for plane, channel in zip(planes, cv2.split(image), strict=True):
        plane[top : top + image.shape[0], left : left + image.shape[1]] = channel
    return torch.from_numpy(planes).to(torch.float32).div_(255)


def check_options(
    size: Sequence[int],
    resize: str | None,
    scale_range: Sequence[float] | None,
    scale_choices: Sequence[float] | None,
    crop_max_share: float | None,
    flip_probability: float,
) -> None:
    """Checks the options of `JointTransform`, without building one.

    Raises:
        ConfigError: An option out of range, or both kinds of factors.
    """
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(f"size {list(size)} is no canvas", "Give height and width in pixels, for example [96, 128].")
    if resize not in (None, "fit"):
        raise ConfigError(f"unknown resize {resize!r}", 'Use "fit", or null to leave the size of the images.')
    if scale_range is not None and scale_choices is not None:
        raise ConfigError("both scale_range and scale_choices are given", "Keep one of them.")
    if scale_range is not None and not (len(scale_range) == 2 and 0 < scale_range[0] <= scale_range[1]):
        raise ConfigError(f"scale_range {list(scale_range)} is no range", "Give [smallest, largest], both above 0.")
    if scale_choices is not None and (not scale_choices or min(scale_choices) <= 0):
        raise ConfigError(f"scale_choices {list(scale_choices)} is no choice", "Give one factor above 0 or more.")
    if crop_max_share is not None and not 0 < crop_max_share <= 1:
        raise ConfigError(f"crop_max_share {crop_max_share} is no share", "Give a number in (0, 1], or null.")
    if not 0 <= flip_probability <= 1:
        raise ConfigError(f"flip_probability {flip_probability} is no probability", "Give a number from 0 to 1.")


def check_score_size(score_size: Sequence[int] | None, size: Sequence[int], resize: str | None) -> None:
    """Checks that targets of this size can be compared with predictions of the canvas.

    Raises:
        ConfigError: No size, another aspect than the canvas, or images that are not fitted to it.
    """
    if score_size is None:
        return
    if len(score_size) != 2 or min(score_size) < 1:
        raise ConfigError(f"score_size {list(score_size)} is no size", "Give height and width in pixels, or null.")
    if score_size[0] * size[1] != score_size[1] * size[0]:
        raise ConfigError(
            f"score_size {score_size[0]}x{score_size[1]} has another aspect than size {size[0]}x{size[1]}",
            "Give both one aspect, or score at the size of the network: `score_size: null`.",
        )
    if resize != "fit":
        raise ConfigError("score_size without `resize: fit`", "Set `resize: fit`, or `score_size: null`.")
