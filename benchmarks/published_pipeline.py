"""The published training pipeline of the ATRC and InvPT line of papers, step by step, with Pillow, OpenCV and NumPy.

What `mtdense bench data` measures ours against, and what ours is tested to agree with. Every step makes what the
published recipe says of the whole image, in the recipe's order and data types:

    decode, scale (0.5 to 2), crop (again while a class covers 75 %), flip, colours, normalise, pad, mark what to
    ignore, tensors

Samples are arrays (H, W, C) float32 by task. Pixels to ignore: 255, at last, in all channels. Random numbers are
drawn beforehand, so that they can be chosen.

* Brüggemann et al. Exploring Relational Context for Multi-Task Dense Prediction. ICCV 2021.
* Ye and Xu. Inverted Pyramid Multi-Task Transformer for Dense Scene Understanding. ECCV 2022.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import scipy.io
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

Floats = npt.NDArray[np.float32]
Arrays = dict[str, Floats]

IGNORE = 255
CROPS = 11
MAX_SHARE = 0.75
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
FILL = {"image": 0, "semseg": 255, "human_parts": 255, "saliency": 255, "edges": 255, "depth": 0, "normals": 0}


@dataclass(frozen=True)
class Colours:
    """What is done to the colours; None: nothing."""

    brightness: float | None = None
    contrast: float | None = None
    contrast_first: bool = True
    saturation: float | None = None
    hue: int | None = None


@dataclass(frozen=True)
class Draws:
    """The random numbers of a sample.

    Args:
        scale: Factor of the image's size.
        crops: Places of crops, from which the first one that will do is taken, else the last: shares in [0, 1) of the
            room above and to the left.
        flip: Mirror left to right.
        colours: See there.
    """

    scale: float
    crops: Sequence[tuple[float, float]]
    flip: bool
    colours: Colours


def draw(rng: np.random.Generator) -> Draws:
    """Draws the random numbers of a sample as published."""

    def maybe(low: float, high: float) -> float | None:
        return float(rng.uniform(low, high)) if rng.random() < 0.5 else None

    scale = float(rng.uniform(0.5, 2.0))
    crops = [(float(x), float(y)) for x, y in rng.random((CROPS, 2))]
    flip = bool(rng.random() < 0.5)
    brightness, contrast_first = maybe(-32, 32), bool(rng.random() < 0.5)
    contrast, saturation = maybe(0.5, 1.5), maybe(0.5, 1.5)
    hue = int(rng.integers(-18, 18)) if rng.random() < 0.5 else None
    return Draws(scale, crops, flip, Colours(brightness, contrast, contrast_first, saturation, hue))


# ---- decode ----------------------------------------------------------------------------------------------------------
def read_nyud(root: Path, image_id: str) -> Arrays:
    """Reads an image of NYUDv2 with its labels; classes 0 to 39, normals as components."""
    semseg = _picture(root / "segmentation" / f"{image_id}.png")
    semseg[semseg == 0] = IGNORE + 1
    sample = {
        "image": _picture(root / "images" / f"{image_id}.png", "RGB"),
        "semseg": semseg - 1,
        "depth": np.load(root / "depth" / f"{image_id}.npy").astype(np.float32),
        "normals": 2 * _picture(root / "normals" / f"{image_id}.png") / 255 - 1,
        "edges": _picture(root / "edge" / f"{image_id}.png") / 255,
    }
    return {name: array if array.ndim == 3 else array[..., None] for name, array in sample.items()}


def read_pascal(
    root: Path, image_id: str, part_of: Mapping[str, int], normals_classes: Collection[int], person: int = 15
) -> Arrays:
    """Reads an image of PASCALContext with its labels.

    Args:
        root: Folder of the data set.
        image_id: Image.
        part_of: Class of each part of a person.
        normals_classes: Classes of the label map where normals count.
        person: Class of persons among the objects.
    """
    image = _picture(root / "JPEGImages" / f"{image_id}.jpg", "RGB")
    folders = [root / "semseg" / name for name in ("VOC12", "pascal-context")]
    semseg = next(folder / f"{image_id}.png" for folder in folders if (folder / f"{image_id}.png").is_file())
    classes = _label_map(root, image_id)
    edges = _thin(np.abs(cv2.Laplacian(classes.astype(np.float64), cv2.CV_64F)) > 0)
    stored = 2 * _picture(root / "normals_distill" / f"{image_id}.png") / 255 - 1
    normals = np.zeros(stored.shape, np.float32)
    classes = _label_map(root, image_id)  # read for each task that needs it
    for number in np.unique(classes):
        if number in normals_classes:
            normals[classes == number] = stored[classes == number]
    sample = {
        "image": image,
        "semseg": _picture(semseg),
        "human_parts": _human_parts(root, image_id, image.shape[:2], part_of, person),
        "saliency": (_picture(root / "sal_distill" / f"{image_id}.png") / 255 > 0.5).astype(np.float32),
        "normals": normals,
        "edges": edges.astype(np.float32),
    }
    return {name: array if array.ndim == 3 else array[..., None] for name, array in sample.items()}


def _picture(path: Path, mode: str | None = None) -> Floats:
    with Image.open(path) as picture:
        return np.array(picture if mode is None else picture.convert(mode)).astype(np.float32)


def _label_map(root: Path, image_id: str) -> npt.NDArray[Any]:
    path = root / "pascal-context" / "trainval" / f"{image_id}.mat"
    return np.asarray(scipy.io.loadmat(str(path))["LabelMap"])


def _thin(edges: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    from skimage.morphology import thin

    return np.asarray(thin(edges), dtype=np.bool_)


def _human_parts(root: Path, image_id: str, size: tuple[int, ...], part_of: Mapping[str, int], person: int) -> Floats:
    label = np.zeros(size, np.float32)
    annotation = scipy.io.loadmat(str(root / "human_parts" / f"{image_id}.mat"), squeeze_me=False)["anno"]
    for item in annotation["objects"][0, 0].reshape(-1):
        if int(item["class_ind"].item()) != person or not item["parts"].size:
            continue
        for part in item["parts"].reshape(-1):
            label[part["mask"] > 0] = part_of[str(part["part_name"].item())]
    return label


# ---- steps -----------------------------------------------------------------------------------------------------------
def scale(sample: Arrays, factor: float) -> Arrays:
    """Scales the whole sample: the image bilinearly, labels by the nearest pixel; depth is divided by the factor."""
    scaled = {}
    for name, array in sample.items():
        size = int(array.shape[1] * factor), int(array.shape[0] * factor)
        how = cv2.INTER_LINEAR if name == "image" else cv2.INTER_NEAREST
        resized = np.asarray(cv2.resize(array.squeeze(), size, interpolation=how), dtype=np.float32)
        scaled[name] = resized if resized.ndim == 3 else resized[..., None]
        if name == "depth":
            scaled[name] /= factor
    return scaled


def crop(sample: Arrays, size: tuple[int, int], places: Sequence[tuple[float, float]]) -> Arrays:
    """Cuts out at most `size` at the first place where no class dominates, else at the last; see `Draws.crops`."""
    height, width = sample["image"].shape[:2]
    room = max(height - size[0], 0), max(width - size[1], 0)
    top = left = 0
    for down, right in places:
        top, left = int(down * (room[0] + 1)), int(right * (room[1] + 1))
        kinds, counts = np.unique(sample["semseg"][top : top + size[0], left : left + size[1]], return_counts=True)
        counts = counts[kinds != IGNORE]
        if len(counts) > 1 and counts.max() / counts.sum() < MAX_SHARE:
            break
    return {name: array[top : top + size[0], left : left + size[1]] for name, array in sample.items()}


def flip(sample: Arrays) -> Arrays:
    """Mirrors left to right; the first component of normals changes its sign."""
    flipped = {name: np.fliplr(array).copy() for name, array in sample.items()}
    if "normals" in flipped:
        flipped["normals"][..., 0] *= -1
    return flipped


def distort(image: Floats, colours: Colours) -> Floats:
    """Changes brightness, contrast, saturation and hue, in steps of whole numbers and by way of HSV."""
    picture = image.astype(np.uint8)
    if colours.brightness is not None:
        picture = _linear(picture, offset=colours.brightness)
    if colours.contrast_first and colours.contrast is not None:
        picture = _linear(picture, colours.contrast)
    if colours.saturation is not None:
        hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = _linear(hsv[..., 1], colours.saturation)
        picture = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.uint8)
    if colours.hue is not None:
        hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(np.int64) + colours.hue) % 180
        picture = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.uint8)
    if not colours.contrast_first and colours.contrast is not None:
        picture = _linear(picture, colours.contrast)
    return picture.astype(np.float32)


def _linear(values: npt.NDArray[Any], factor: float = 1.0, offset: float = 0.0) -> npt.NDArray[np.uint8]:
    return np.clip(values.astype(np.float32) * factor + offset, 0, 255).astype(np.uint8)


def normalise(image: Floats) -> Floats:
    """From 0..255 to ImageNet's normal range."""
    return (image / 255 - MEAN) / STD


def pad(sample: Arrays, size: tuple[int, int]) -> Arrays:
    """Pads to `size`, the content in the middle."""
    padded = {}
    for name, array in sample.items():
        height, width = array.shape[:2]
        top, left = max(size[0] - height, 0) // 2, max(size[1] - width, 0) // 2
        padded[name] = array
        if (height, width) != size:
            padded[name] = np.full((*size, array.shape[2]), FILL[name], np.float32)
            padded[name][top : top + height, left : left + width] = array
    return padded


def mark_ignored(sample: Arrays) -> Arrays:
    """Writes 255 where there is no normal or depth, and all over a map without human parts."""
    marked = dict(sample)
    if "normals" in sample:
        x, y, z = np.moveaxis(sample["normals"], -1, 0)
        marked["normals"] = sample["normals"].copy()
        marked["normals"][np.sqrt(x**2 + y**2 + z**2) == 0] = IGNORE
    if "depth" in sample:
        marked["depth"] = sample["depth"].copy()
        marked["depth"][sample["depth"] == 0] = IGNORE
    if "human_parts" in sample:
        parts = sample["human_parts"]
        marked["human_parts"] = np.full_like(parts, IGNORE) if ((parts == 0) | (parts == IGNORE)).all() else parts
    return marked


def to_tensors(sample: Arrays) -> dict[str, Tensor]:
    """Tensors (C, H, W) float32."""
    return {name: torch.from_numpy(array.transpose(2, 0, 1)).float().contiguous() for name, array in sample.items()}


def augment(sample: Arrays, size: tuple[int, int], draws: Draws) -> dict[str, Tensor]:
    """All steps after decoding."""
    sample = scale(sample, draws.scale)
    sample = crop(sample, size, draws.crops)
    if draws.flip:
        sample = flip(sample)
    sample["image"] = distort(sample["image"], draws.colours)
    sample["image"] = normalise(sample["image"])
    return to_tensors(mark_ignored(pad(sample, size)))


class PublishedPipeline(Dataset[dict[str, Tensor]]):
    """The training images of NYUDv2 or PASCALContext through the published pipeline.

    Args:
        dataset: "nyud_atrc" or "pascal_context".
        root: Its folder.
        size: Height and width of samples.
        seed: Seeds the augmentation, with the key of a sample.
        options: More arguments of `read_pascal`.
    """

    def __init__(
        self, dataset: str, root: Path, size: tuple[int, int], seed: int = 0, options: Mapping[str, Any] | None = None
    ) -> None:
        self.read = {"nyud_atrc": read_nyud, "pascal_context": read_pascal}[dataset]
        lists = {"nyud_atrc": "gt_sets", "pascal_context": "ImageSets/Context"}
        self.ids = (root / lists[dataset] / "train.txt").read_text(encoding="utf-8").split()
        self.root, self.size, self.seed, self.options = root, size, seed, dict(options or {})

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        """The sample of an image in an epoch."""
        index, epoch = key
        draws = draw(np.random.default_rng((self.seed, epoch, index)))
        return augment(self.read(self.root, self.ids[index], **self.options), self.size, draws)
