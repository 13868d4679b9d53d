"""`mtdense data replica`: procedural scenes in the official layout of a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mtdense.core.errors import ConfigError
from mtdense.core.words import counted

__all__ = ["add_action", "run"]


def add_action(actions: argparse._SubParsersAction[Any]) -> None:
    """Adds `replica`."""
    replica = actions.add_parser("replica", help="write procedural scenes in the official layout of a data set")
    replica.add_argument("dataset", metavar="DATASET", help="such as nyud_atrc")
    replica.add_argument("--out", type=Path, required=True, metavar="DIR", help="new or empty folder to write to")
    replica.add_argument("--images", type=int, required=True, metavar="N", help="number of images, of all splits")
    replica.add_argument("--test_images", type=int, metavar="M", help="of these for the test (default: in proportion)")
    replica.add_argument("--seed", type=int, default=0, help="world of the scenes (default: %(default)s)")
    replica.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="of the images (default: as published)")
    replica.add_argument("--variant", help="for data sets with several archives: whose file types to write")
    replica.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Writes the replica and says what to do with it.

    Raises:
        ConfigError: An unknown data set or variant, or numbers that make no sense.
        DataError: The folder holds something else.
    """
    import data_modules  # noqa: F401 - with them comes what is published
    from mtdense.data.published import PublishedData
    from mtdense.data.replicas import split_images, write_replica

    if args.test_images is None:
        train, test = split_images(args.images, PublishedData.registered.get(args.dataset))
    elif 0 <= args.test_images <= args.images:
        train, test = args.images - args.test_images, args.test_images
    else:
        raise ConfigError(
            f"{args.test_images} of {counted(args.images, 'image')} for the test", "Give a number of 0 to --images."
        )
    options = {"size": args.size, "variant": args.variant}
    given = {name: value for name, value in options.items() if value is not None}
    write_replica(args.dataset, args.out, train, test, seed=args.seed, **given)
    print(f"Wrote {train} training and {counted(test, 'test image')} to {args.out}")
    print(f"Look at them: mtdense data show {args.dataset} --root {args.out} --out sheet.png")
    return 0
