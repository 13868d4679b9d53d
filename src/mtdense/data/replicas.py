"""Replicas by name: procedural scenes in the official layout of a data set."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean
from mtdense.core.words import counted
from mtdense.data.published import PublishedData

__all__ = ["REPLICA_WRITERS", "split_images", "write_replica"]

REPLICA_WRITERS: Mapping[str, str] = {
    "cityscapes": "mtdense.data.cityscapes.official_writer:write_cityscapes_replica",
    "cityscapes_3d": "mtdense.data.cityscapes.vehicles_writer:write_cityscapes_3d_replica",
    "cityscapes_mtan": "mtdense.data.cityscapes.mtan_writer:write_cityscapes_mtan_replica",
    "nyud_atrc": "mtdense.data.nyud.atrc_writer:write_atrc_replica",
    "nyud_mtan": "mtdense.data.nyud.mtan_writer:write_mtan_replica",
    "nyud_official": "mtdense.data.nyud.official_writer:write_official_replica",
    "pascal_context": "mtdense.data.pascal.context_writer:write_pascal_context_replica",
}
"""{id of the data set: module and function that write its replica, `(root, train, test, seed=..., size=..., ...)`}."""


def write_replica(dataset: str, root: str | Path, train: int, test: int, **options: Any) -> Path:
    """Writes a replica; see the writers themselves.

    Args:
        dataset: Id of the data set.
        root: Folder to write to: new, empty, or of the same replica.
        train: Number of training images.
        test: Number of test images.
        **options: Others of the writer, such as `seed`, `size` and `variant`.

    Returns:
        The folder, or the file of a data set that is one file.

    Raises:
        ConfigError: There is no such writer, it has no such option, or the option makes no sense.
        DataError: The folder holds something else.
    """
    if dataset not in REPLICA_WRITERS:
        hint = did_you_mean(dataset, REPLICA_WRITERS)
        raise ConfigError(f"no replica can be written of {dataset!r}", f"{hint}Known: {', '.join(REPLICA_WRITERS)}.")
    module, _, name = REPLICA_WRITERS[dataset].partition(":")
    write: Callable[..., Path] = getattr(importlib.import_module(module), name)
    known = [option for option in inspect.signature(write).parameters if option not in ("root", "train", "test")]
    for option in options:
        if option not in known:
            raise ConfigError(f"a replica of {dataset} has no {option!r}", f"Leave it out; known: {', '.join(known)}.")
    return write(root, train, test, **options)


def split_images(images: int, published: PublishedData | None) -> tuple[int, int]:
    """Shares images among training and test as the published ones are, at least one for each.

    Args:
        images: Number in all.
        published: What is known of the data set; None: a third is for the test.

    Returns:
        Training and test images.

    Raises:
        ConfigError: Fewer than two images.
    """
    if images < 2:
        raise ConfigError(
            f"a replica of {counted(images, 'image')}", "Ask for 2 or more: one to train, one for the test."
        )
    counts = {"train": 2, "test": 1} if published is None else published.counts
    test = round(images * counts["test"] / (counts["train"] + counts["test"]))
    test = min(max(test, 1), images - 1)
    return images - test, test
