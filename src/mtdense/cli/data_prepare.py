"""`mtdense data prepare`: a data set as one file, a pack."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtdense.cli.data import add_data_arguments, named_data
from mtdense.core.errors import ConfigError, DataError
from mtdense.core.words import counted
from mtdense.data.pack import CODECS, PACK_SUFFIXES

if TYPE_CHECKING:
    from data_modules import DenseDataModule
    from mtdense.data import DenseDataset, RawImage
    from mtdense.data.pack_work import PackWork
    from mtdense.data.pack_writer import PackReport

__all__ = ["Comparison", "add_action", "compare", "run"]

_COMPARED = 32


def add_action(actions: argparse._SubParsersAction[Any]) -> None:
    """Adds `prepare`."""
    prepare = actions.add_parser("prepare", help="pack a data set into one file, to be used as `data.root`")
    add_data_arguments(prepare)
    prepare.add_argument("--out", type=Path, required=True, metavar="FILE.h5", help="pack to write")
    prepare.add_argument(
        "--codec",
        choices=CODECS,
        default="source",
        help="source: the files as they are; raw: decoded, large and fast (default: %(default)s)",
    )
    prepare.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that read and decode (default: %(default)s)"
    )
    prepare.add_argument("--overwrite", action="store_true", help="replace the file if there is one")
    prepare.add_argument("--json", type=Path, metavar="FILE", help="also write the result as JSON")
    prepare.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Writes the pack, or goes on with it, and compares it with the files.

    Raises:
        MTDenseError: A fault of options, data or disk, or a pack that does not give what the files give.
    """
    from mtdense.data.pack_writer import write_pack
    from mtdense.reports.canonical import write_atomic

    out: Path = args.out.expanduser()
    if out.suffix.lower() not in PACK_SUFFIXES:
        raise ConfigError(
            f"--out {out}", f"Give the file a name that ends in {PACK_SUFFIXES[0]}, by which packs are known."
        )
    if args.workers < 1:
        raise ConfigError(f"--workers is {args.workers}", "Give 1 or more.")
    data = named_data(args.dataset, args.root, args.config, args.options)
    datasets = _published(data)
    work, left_out = _work(data, datasets, args.codec, out)
    report = write_pack(work, out, workers=args.workers, overwrite=args.overwrite)
    packed = _published(named_data(args.dataset, str(out), args.config, args.options))
    compared = compare(datasets, packed, out)
    for line in _lines(report, compared, left_out):
        print(line)
    if args.json is not None:
        write_atomic(args.json, json.dumps(_facts(report, compared, left_out), indent=2, ensure_ascii=False) + "\n")
    return 0


def _published(data: DenseDataModule) -> dict[str, DenseDataset]:
    from data_modules import HeldOutDataModule

    if not isinstance(data, HeldOutDataModule):
        raise ConfigError(f"{data.name} data cannot be packed", "Packs are for the published data sets.")
    return {"train": data.published_train(), "test": data.open_published("test")}


def _work(data: Any, datasets: Mapping[str, DenseDataset], codec: str, out: Path) -> tuple[PackWork, list[str]]:
    """What to do, and the files that stay out."""
    from mtdense.data.location import PackPath
    from mtdense.data.pack_work import RawWork, SourceWork, find_files, fingerprint
    from mtdense.data.pack_writer import parts_folder

    root: Any = getattr(data, "root", None)
    if codec not in getattr(data, "pack_codecs", CODECS):
        raise ConfigError(f"{data.name} has no packs of codec {codec}", f"Use {' or '.join(data.pack_codecs)}.")
    leave = (out, parts_folder(out))
    files, left_out = ([], []) if isinstance(root, PackPath) else find_files(Path(str(root)), leave)
    if codec == "source":
        if not files:
            raise ConfigError(f"{root} is a pack already", "Give the folder of the data set, or use --codec raw.")
        images = sum(len(dataset) for dataset in datasets.values())
        version = datasets["train"].version
        return SourceWork(files, dataset=data.name, version=version, source=str(root), images=images), left_out
    if isinstance(root, PackPath) and root.pack.codec == "raw":
        raise ConfigError(f"{root} is a raw pack already", "Give the data set itself, or a pack of its files.")
    size = root.pack.header["bytes"] if isinstance(root, PackPath) else sum(file.size for file in files)
    reading = getattr(data, "reading", None)
    if reading is None:
        raise ConfigError(f"{data.name} has no raw packs", "Use --codec source.")
    sources = fingerprint(root, leave)
    facts = {"dataset": data.name, "source": str(root), "sources": sources, "original_bytes": size}
    return RawWork(datasets, data.tasks, reading, **facts), []


# ---- is it the same? -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Comparison:
    """Images that were read from both, and found equal.

    Args:
        images: How many.
        files_per_second: Images per second, from the files.
        first_per_second: From the pack, for the first time: with checksums.
        pack_per_second: From the pack, later.
    """

    images: int
    files_per_second: float
    first_per_second: float
    pack_per_second: float


def compare(files: Mapping[str, DenseDataset], packed: Mapping[str, DenseDataset], out: Path) -> Comparison:
    """Reads some images from the files and from the pack, in this process.

    Raises:
        DataError: The pack gives something else.
    """
    spent = [0.0, 0.0, 0.0]
    number = 0
    for split, dataset in files.items():
        other = packed[split]
        if list(dataset.ids) != list(other.ids) or dataset.version != other.version:
            raise _differs(out, f"the images of {split}")
        for index in sorted({int(i) for i in np.linspace(0, len(dataset) - 1, min(len(dataset), _COMPARED // 2))}):
            tasks = sorted(other.available(index))
            found = []
            for place, source in enumerate((dataset, other, other)):
                start = time.perf_counter()
                found.append(source.load(index, tasks))
                spent[place] += time.perf_counter() - start
            if not _equal(*found[:2]):
                raise _differs(out, f"image {dataset.ids[index]!r}")
            number += 1
    files_rate, first, later = (number / max(seconds, 1e-9) for seconds in spent)
    return Comparison(number, files_rate, first, later)


def _equal(one: RawImage, other: RawImage) -> bool:
    pairs: list[tuple[Any, Any]] = [(one.image, other.image), (one.camera, other.camera)]
    pairs += [(label, other.labels.get(task)) for task, label in one.labels.items()]
    return one.id == other.id and all(_bits(a) == _bits(b) for a, b in pairs)


def _bits(array: Any) -> tuple[Any, ...] | None:
    return None if array is None else (array.dtype, array.shape, array.tobytes())


def _differs(out: Path, what: str) -> DataError:
    return DataError(
        f"{out} does not give what the files give ({what})",
        "Were files changed meanwhile? Run it again with --overwrite.",
    )


# ---- what is said ----------------------------------------------------------------------------------------------------
def _facts(report: PackReport, compared: Comparison, left_out: list[str]) -> dict[str, Any]:
    return {
        "path": str(report.path),
        "header": report.header,
        "size": report.size,
        "share_of_originals": report.size / report.original_bytes,
        "images": report.images,
        "parts": report.parts,
        "parts_before": report.parts_before,
        "seconds": report.seconds,
        "images_per_second": report.images_per_second,
        "compared": vars(compared),
        "left_out": left_out,
    }


def _lines(report: PackReport, compared: Comparison, left_out: list[str]) -> list[str]:
    header = report.header
    share = report.size / report.original_bytes
    rate = report.images_per_second
    lines = [
        f"{report.path}: {header['dataset']}, {header['version']}, codec {header['codec']}",
        f"{counted(report.images, 'image')} in {header['entries']} entries, {_size(report.size)}, "
        f"{share:.1%} of the files",
    ]
    if report.parts_before:
        there = "all" if report.parts_before == report.parts else f"{report.parts_before} of {report.parts}"
        lines.append(f"went on from an earlier run: {there} parts were there")
    if rate is not None:
        lines.append(f"packed at {rate:.1f} images/s")
    lines.append(
        f"compared with the files: {counted(compared.images, 'image')} equal; "
        f"read at {compared.files_per_second:.1f} images/s from the files, "
        f"{compared.first_per_second:.1f} from the pack with checksums, "
        f"{compared.pack_per_second:.1f} once they are verified"
    )
    if left_out:
        lines.append(f"left out (archives and packs): {', '.join(left_out)}")
    return [*lines, f"index sha256 {header['index_sha256']}", f"use it by --data.root {report.path}"]


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
