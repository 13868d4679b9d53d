"""`mtdense bench data`: images per second of our pipeline beside the published one."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtdense.cli.data import named_data
from mtdense.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from mtdense.reports.bench.data import Pipeline, Throughput

__all__ = ["DATASETS", "add_action", "run"]

DATASETS = ("nyud_atrc", "pascal_context")
"""Data sets whose published pipeline there is."""

_PUBLISHED = "published"


def add_action(actions: argparse._SubParsersAction[Any]) -> None:
    """Adds `data`."""
    data = actions.add_parser("data", help="loading and augmentation beside the published pipeline, step by step")
    data.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS), help="which (all)")
    data.add_argument("--root", type=Path, help="folder of the one data set that is named (default: a replica)")
    data.add_argument("--images", type=int, default=24, help="training images of a replica (24)")
    data.add_argument("--runs", type=int, default=5, help="interleaved runs, of which the median counts (5)")
    data.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of worker processes (1 2)")
    data.add_argument("--work", type=Path, help="folder for replicas and packs, kept (default: a temporary one)")
    data.add_argument("--json", type=Path, help="file for the figures")
    data.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Writes replicas and packs, measures, prints tables, and writes the figures.

    Raises:
        ConfigError: Numbers below 1, a root for several data sets, or no checkout.
        DataError: A data set that cannot be read.
        MissingDependencyError: scikit-image is not installed.
    """
    from mtdense.core.optional import require
    from mtdense.reports.canonical import write_atomic
    from mtdense.reports.environment import device_name, versions

    if min(args.images, args.runs, *args.workers) < 1:
        raise ConfigError("--images, --runs or --workers below 1", "Give whole numbers of 1 or more.")
    if args.root is not None and len(args.datasets) != 1:
        raise ConfigError(f"--root {args.root} for {len(args.datasets)} data sets", "Name one with --datasets.")
    require("skimage.morphology", "bench")
    published = _published_code()
    figures = {}
    with tempfile.TemporaryDirectory(prefix="mtdense-bench-") as temporary:
        work = Path(temporary) if args.work is None else args.work.expanduser()
        for dataset in args.datasets:
            root = _replica(dataset, work, args.images) if args.root is None else args.root.expanduser()
            figures[dataset] = _measure(dataset, root, work, published, args.workers, args.runs)
    print(f"Medians of {args.runs} interleaved runs on {device_name()}; processor time is that of one process.")
    if args.json is not None:
        packages = ("torch", "numpy", "numba", "pillow", "opencv-python-headless", "albumentations", "scikit-image")
        body = {"data": figures, "runs": args.runs, "versions": versions(packages)}
        write_atomic(args.json, json.dumps(body, indent=2) + "\n")
        print(f"Wrote {args.json}")
    return 0


def _published_code() -> Any:
    import data_modules

    name = "benchmarks.published_pipeline"
    path = Path(data_modules.__file__).resolve().parents[1] / "benchmarks" / "published_pipeline.py"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"there is no {path}", "Run the benchmark in a checkout of the repository.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where workers and dataclasses look for it
    spec.loader.exec_module(module)
    return module


def _replica(dataset: str, work: Path, images: int) -> Path:
    from mtdense.data.replicas import write_replica

    return write_replica(dataset, work / dataset, images, 1)


def _measure(dataset: str, root: Path, work: Path, published: Any, workers: Sequence[int], runs: int) -> dict[str, Any]:
    from mtdense.reports.bench.data import measure_throughput, spent_by_stage

    work.mkdir(parents=True, exist_ok=True)
    places = {"files": root}
    for codec in ("source", "raw"):
        places[f"{codec} pack"] = work / f"{dataset}-{codec}.h5"
        _prepare(dataset, root, places[f"{codec} pack"], codec)
    ours = [_ours(dataset, name, place) for name, place in places.items()]
    pipelines = [_theirs(dataset, root, ours[0], published), *ours]
    found = measure_throughput(pipelines, workers, runs)
    stages = {pipeline.name: spent_by_stage(pipeline) for pipeline in pipelines}
    print(_text(dataset, found, stages, workers))
    return {
        row.pipeline: {
            "images_per_second": {str(number): list(rates) for number, rates in row.rates.items()},
            "processor_seconds": list(row.processor),
            "stages": stages[row.pipeline],
        }
        for row in found
    }


def _prepare(dataset: str, root: Path, out: Path, codec: str) -> None:
    # It brings torchmetrics and torchvision, for which no other command should wait.
    from mtdense.cli import data_prepare

    options = {"dataset": dataset, "root": str(root), "config": [], "options": [], "out": out, "codec": codec}
    data_prepare.run(argparse.Namespace(**options, workers=1, overwrite=True, json=None))


def _ours(dataset: str, name: str, place: Path) -> Pipeline:
    from mtdense.data import PartialLabelDataset
    from mtdense.data.photometric import Photometric
    from mtdense.data.transform import Geometry, JointTransform
    from mtdense.reports.bench.data import Pipeline

    data = named_data(dataset, str(place), [f"base/{dataset}.yaml"], ["--data.val_fraction=0.0"])
    data.setup("fit")
    loader = data.train_dataloader()
    samples = loader.dataset
    assert isinstance(samples, PartialLabelDataset)
    stages: dict[str, list[Callable[..., Any]]] = {
        "read and decode": [type(samples.dataset).load],
        "geometry": [JointTransform._draw, Geometry.resample_image, JointTransform._target],
        "colours": [Photometric.__call__],
    }
    return Pipeline(name, samples, len(samples), data.batch_size, loader.collate_fn, stages)


def _theirs(dataset: str, root: Path, ours: Pipeline, published: Any) -> Pipeline:
    from mtdense.data.pascal.facts import NORMALS_CLASSES, part_table
    from mtdense.reports.bench.data import Pipeline

    options = {}
    if dataset == "pascal_context":
        options = {"part_of": part_table(6), "normals_classes": NORMALS_CLASSES}
    size = ours.samples.transform.size  # type: ignore[attr-defined]  # a PartialLabelDataset with a JointTransform
    samples = published.PublishedPipeline(dataset, root, size, 0, options)
    if len(samples) != ours.images:
        raise DataError(f"{root} lists {len(samples)} images, of which we read {ours.images}", "Mend its lists.")
    stages: dict[str, list[Callable[..., Any]]] = {
        "read and decode": [published.read_nyud, published.read_pascal],
        "geometry": [published.scale, published.crop, published.flip, published.pad],
        "colours": [published.distort],
    }
    return Pipeline(_PUBLISHED, samples, len(samples), ours.batch_size, None, stages)


def _text(
    dataset: str, found: Sequence[Throughput], stages: Mapping[str, Mapping[str, float]], workers: Sequence[int]
) -> str:
    base = found[0]
    counts = [f"{number} worker{'s' * (number > 1)} [images/s]" for number in workers]
    names = list(stages[base.pipeline])
    cells = [(dataset, *(cell for count in counts for cell in (count, "")), "processor [ms]", "", *names)]
    for row in found:
        rates = [
            cell
            for number in workers
            for cell in (f"{row.rate(number):.1f}", f"{row.rate(number) / base.rate(number):.1f}x")
        ]
        spent = [f"{1e3 * stages[row.pipeline][stage]:.1f}" for stage in names]
        ratio = f"{base.processor_seconds / row.processor_seconds:.1f}x"
        cells.append((row.pipeline, *rates, f"{1e3 * row.processor_seconds:.1f}", ratio, *spent))
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    )
