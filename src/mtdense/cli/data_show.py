"""`mtdense data show`: images of a data set with all their labels, and what the label mask makes of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from mtdense.cli.data import add_data_arguments, named_data
from mtdense.core.errors import ConfigError
from mtdense.core.progress import track
from mtdense.core.words import counted

__all__ = ["add_action", "run"]


def add_action(actions: argparse._SubParsersAction[Any]) -> None:
    """Adds `show`."""
    show = actions.add_parser("show", help="draw images with all their labels, and mark what the label mask leaves out")
    add_data_arguments(show)
    show.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="picture to write")
    show.add_argument("--images", type=int, default=6, metavar="N", help="spread over the split (default: %(default)s)")
    show.add_argument("--split", choices=("train", "val", "test"), default="train", help="default: %(default)s")
    show.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Draws the sheet; training images have the label mask that `mtdense fit` would draw.

    Raises:
        MTDenseError: Any fault of configuration, data or file.
    """
    from mtdense.data import full_label_mask
    from mtdense.reports import ContactRow, contact_sheet
    from mtdense.tasks import build_label_kinds

    if args.images < 1 or args.out.suffix.lower() != ".png":
        raise ConfigError(f"{args.images} images in {args.out}", "Ask for 1 or more, in a file that ends in .png.")
    data = named_data(args.dataset, args.root, args.config, args.options)
    dataset = data.dataset(args.split)
    mask = data.label_mask if args.split == "train" else full_label_mask(dataset, data.tasks)
    number = min(args.images, len(dataset))
    chosen = [round(place) for place in np.linspace(0, len(dataset) - 1, number)]
    rows, used, withheld = [], 0, 0
    for index in track(chosen, "Reading images"):
        there = [task for task in data.tasks if task in dataset.available(index)]
        raw = dataset.load(index, there)
        hidden = [task for task in there if task not in mask.tasks_of(index)]
        rows.append(ContactRow(raw.image, raw.labels, id=raw.id, withheld=hidden))
        used, withheld = used + len(there) - len(hidden), withheld + len(hidden)
    contact_sheet(rows, build_label_kinds(data.task_specs), args.out)
    print(
        f"Wrote {args.out}: {number} of {counted(len(dataset), f'{args.split} image')} of {data.name}, "
        f"{', '.join(data.tasks)}"
    )
    print(f"labels used: {used}; left out by the label mask ({data.label_setting}): {withheld}")
    return 0
