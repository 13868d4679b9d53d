"""Splits of a folder of images: by list, by sub-folder, or by lot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtdense.core.errors import ConfigError, DataError
from mtdense.core.seeds import derive_seed
from mtdense.core.words import counted
from mtdense.data.io import EXTENSIONS, read_bytes

__all__ = ["SPLITS", "SplitRule", "check_fraction", "hold_out"]

SPLITS = ("train", "val", "test")
"""Names of the splits; the order belongs to the procedural scenes (see `ProceduralDataset.scene_index`)."""


@dataclass(frozen=True)
class SplitRule:
    """Says which images belong to "train", "val" and "test".

    Args:
        files: {split: text file with one image per line}, relative to the root. Lines are paths below the image folder;
            an extension or the image folder in front does no harm, "#" begins a comment.
        folders: {split: sub-folder of the image folder}.
        val_fraction: Where neither is given: share of the images, drawn by lot.
        test_fraction: The same for the test.
        seed: Seeds the lot. Neighbouring frames of a video fall into different splits then: list them instead.

    Raises:
        ConfigError: Options that contradict each other or make no sense.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.files and self.folders:
            raise ConfigError("both split_files and split_folders are given", "Keep one of them.")
        for split in (*self.files, *self.folders):
            if split not in SPLITS:
                raise ConfigError(f"unknown split {split!r}", f"Use {', '.join(SPLITS)}.")
        shares = (self.val_fraction, self.test_fraction)
        if min(shares) < 0 or sum(shares) >= 1:
            raise ConfigError(
                f"val_fraction {self.val_fraction} and test_fraction {self.test_fraction} leave nothing to train on",
                "Give shares from 0 to 1 whose sum is below 1.",
            )

    def select(self, split: str, stems: Sequence[str], root: Path, images: str) -> list[str]:
        """Images of a split, sorted.

        Args:
            split: "train", "val" or "test".
            stems: All images.
            root: Folder of the data set.
            images: Name of its image folder.

        Raises:
            DataError: The split does not exist, is empty, names unknown images, or shares images with another.
        """
        if self.files:
            chosen = {key: self._listed(root / file, stems, images) for key, file in self.files.items()}
        elif self.folders:
            chosen = {
                key: [stem for stem in stems if stem.startswith(folder.strip("/") + "/")]
                for key, folder in self.folders.items()
            }
        else:
            chosen = self._by_lot(stems)
        _check_disjoint(chosen)
        if split not in chosen:
            raise DataError(f"{root} has no {split} split", f"Name it in split_files or split_folders ({split}: ...).")
        if not chosen[split]:
            where = self.files.get(split) or self.folders.get(split) or f"{counted(len(stems), 'image')} by lot"
            raise DataError(f"the {split} split of {root} is empty ({where})", "Add images, or choose another split.")
        return sorted(chosen[split])

    @staticmethod
    def _listed(path: Path, stems: Iterable[str], images: str) -> list[str]:
        try:
            lines = read_bytes(path).decode("utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise DataError(f"the split file {path} cannot be read ({error})", "Correct split_files.") from error
        known = set(stems)
        chosen: list[str] = []
        for number, line in enumerate(lines, start=1):
            text = line.split("#", 1)[0].strip()
            if not text:
                continue
            stem = next((s for s in _readings(text, images) if s in known), None)
            if stem is None:
                raise DataError(f"{path}, line {number}: there is no image {text!r}", "Correct the line, or add it.")
            chosen.append(stem)
        if len(set(chosen)) != len(chosen):
            twice = next(stem for stem in chosen if chosen.count(stem) > 1)
            raise DataError(f"{path} lists the image {twice!r} twice", "Keep one line of it.")
        return chosen

    def _by_lot(self, stems: Sequence[str]) -> dict[str, list[str]]:
        # Sorted by a hash of each name, so that a few images more or less move only a few others.
        order = sorted(stems, key=lambda stem: derive_seed(self.seed, "split", stem))
        num_val, num_test = round(self.val_fraction * len(order)), round(self.test_fraction * len(order))
        rest = order[num_val + num_test :]
        return {"train": rest, "val": order[:num_val], "test": order[num_val : num_val + num_test]}


def hold_out(ids: Sequence[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Holds out images by lot, for data sets that publish no validation images.

    Each image draws by a hash of its id, so that a few images more or less move only a few others.

    Args:
        ids: Image ids, each once.
        fraction: Share to hold out; above 0 at least one image is held out.
        seed: Seeds the lot.

    Returns:
        Ids kept and ids held out, both in the order of `ids`.

    Raises:
        ConfigError: The fraction is not in [0, 1), or leaves no image.
    """
    check_fraction(fraction)
    if fraction == 0:
        return list(ids), []
    number = max(1, round(fraction * len(ids)))
    if number >= len(ids):
        raise ConfigError(
            f"val_fraction {fraction} of {counted(len(ids), 'image')} leaves none to train on",
            "Lower it, or add images.",
        )
    held = set(sorted(ids, key=lambda image_id: derive_seed(seed, "split", image_id))[:number])
    return [image_id for image_id in ids if image_id not in held], [image_id for image_id in ids if image_id in held]


def check_fraction(fraction: float) -> None:
    """Checks a share of images to hold out.

    Raises:
        ConfigError: It is not in [0, 1).
    """
    if not 0 <= fraction < 1:  # NaN fails, too
        raise ConfigError(f"val_fraction is {fraction}", "Give a share from 0 (train on all images) to below 1.")


def _readings(text: str, images: str) -> Iterable[str]:
    path = text.replace("\\", "/").removeprefix("./")
    bare = path[: -len(Path(path).suffix)] if Path(path).suffix.lower() in EXTENSIONS else path
    for candidate in (path, bare):
        yield candidate
        yield candidate.removeprefix(f"{images}/")


def _check_disjoint(chosen: Mapping[str, Sequence[str]]) -> None:
    owner: dict[str, str] = {}
    for split, stems in chosen.items():
        for stem in stems:
            if stem in owner:
                raise DataError(f"image {stem!r} is in the splits {owner[stem]} and {split}", "Keep it in one of them.")
            owner[stem] = split
