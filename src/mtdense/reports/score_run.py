"""Scores of predictions in files, whoever wrote them, by the metrics of the suite."""

from __future__ import annotations

import hashlib
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mtdense.core.errors import DataError
from mtdense.core.progress import track
from mtdense.metrics import StreamingMetric
from mtdense.metrics.functional.odsf import (
    average_precision,
    best_counts,
    edge_counts,
    ods,
    ois,
    precision_recall,
    seism_target,
    seism_thresholds,
)
from mtdense.reports.run_record import MetricValue
from mtdense.reports.score_coding import binary_map, check_size, one_channel, strength
from mtdense.reports.score_files import Pair, naming, read_stored
from mtdense.tasks.base import ArrayAny

__all__ = [
    "EdgeProtocol",
    "MapScoring",
    "Score",
    "check_strengths",
    "highest",
    "in_order",
    "peak_share",
    "score_edges",
    "score_maps",
]

T = TypeVar("T")
S = TypeVar("S")
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EdgeProtocol:
    """What decides an F-measure of boundaries, besides the images.

    Args:
        name: "pascal_context", "nyud", or "custom".
        max_dist: Largest distance of a pair, as a fraction of the image diagonal.
        target_kind: "labels" takes the boundaries of the regions of a label map, as SEISM does; "edges" takes an edge
            map as it is.
        thresholds: Number of thresholds.
        nms: Non-maximum suppression of the prediction.
    """

    name: str = "custom"
    max_dist: float = 0.0075
    target_kind: str = "edges"
    thresholds: int = 101
    nms: bool = True


@dataclass
class Score:
    """What a folder of predictions scores.

    Args:
        task: Task.
        ids: Images, in the order of `per_image`.
        figures: Scores of all images together; the first is the task's own.
        per_image: {id: {name: value}}; a value is left out where the image has nothing to score.
        protocol: Conventions, as plain values.
        details: What belongs to the figures, as plain values: curves, classes.
    """

    task: str
    ids: list[str]
    figures: list[MetricValue]
    per_image: dict[str, dict[str, float]]
    protocol: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """Everything but the single images, by name; the checksum tells lists of images apart."""
        listed = "\n".join(sorted(self.ids)).encode()
        return {
            "task": self.task,
            **{figure.name: figure.value for figure in self.figures},
            "images": len(self.ids),
            "ids_sha256": hashlib.sha256(listed).hexdigest(),
            "protocol": self.protocol,
            **self.details,
        }


@dataclass(frozen=True)
class MapScoring:
    """How maps of one task are scored.

    Args:
        task: Task.
        metrics: {name: metric}, updated by (prediction, target, valid); the first is the task's own.
        unit: Unit of metrics that state none.
        load: A pair of files to prediction, target and valid pixels, each with a batch axis, and the peak of a
            prediction of whole numbers as a share of its range (1 for others). Called in threads.
        protocol: Conventions, as plain values.
        details: What else to say in the end, as plain values, and further figures {name: (value, unit)}.
        image_metrics: {name: metric} that score an image alone; those not named are as in `metrics`.
    """

    task: str
    metrics: Mapping[str, StreamingMetric]
    load: Callable[[Pair], tuple[Tensor, Tensor, Tensor, float]]
    protocol: dict[str, Any]
    unit: str = ""
    details: Callable[[], dict[str, Any]] = dict
    image_metrics: Mapping[str, StreamingMetric] = field(default_factory=dict)

    def add(self, *maps: Tensor) -> dict[str, float]:
        """Adds an image to all metrics; {name: its own value}, where it has one."""
        values = {name: float(metric(*maps)) for name, metric in self.metrics.items()}
        for name, metric in self.image_metrics.items():
            metric.reset()
            values[name] = float(metric(*maps))
        return {name: value for name, value in values.items() if np.isfinite(value)}


def score_maps(scoring: MapScoring, pairs: Sequence[Pair], workers: int = 1) -> Score:
    """Scores maps pixel by pixel.

    Args:
        scoring: How; its metrics are filled.
        pairs: The images.
        workers: Threads that read files.

    Raises:
        DataError: A file is missing, damaged, of another size than its target or of impossible values.
    """
    per_image: dict[str, dict[str, float]] = {}
    peaks = []
    loaded = in_order(scoring.load, pairs, workers)
    for pair, (*maps, peak) in track(zip(pairs, loaded, strict=True), f"Scoring {scoring.task}", total=len(pairs)):
        peaks.append(peak)
        with warnings.catch_warnings():
            # An image without a label is no news; a data set without one is, below.
            warnings.simplefilter("ignore", UserWarning)
            per_image[pair.id] = scoring.add(*maps)
    check_strengths(peaks)
    figures = [
        MetricValue(
            scoring.task,
            name,
            float(metric.compute()),
            metric.unit or scoring.unit,
            bool(metric.higher_is_better),
            i == 0,
        )
        for i, (name, metric) in enumerate(scoring.metrics.items())
    ]
    return Score(scoring.task, [p.id for p in pairs], figures, per_image, scoring.protocol, scoring.details())


def score_edges(pairs: Sequence[Pair], protocol: EdgeProtocol, workers: int = 1, mat_key: str | None = None) -> Score:
    """Scores edge maps by the F-measure of boundaries.

    Args:
        pairs: The images.
        protocol: Conventions.
        workers: Threads, each of which scores whole images.
        mat_key: Name of the array in .mat files.

    Raises:
        DataError: A file is missing, damaged, of another size than its target or of impossible values.
        ConfigError: The protocol makes no sense.
    """
    thresholds = seism_thresholds(protocol.thresholds)

    def score(pair: Pair) -> tuple[Counts, float]:
        stored = read_stored(pair.pred, mat_key)
        pred = strength(stored, pair.pred)
        targets = [_edge_target(path, protocol.target_kind, mat_key) for path in pair.targets]
        for target, path in zip(targets, pair.targets, strict=True):
            check_size(pred, pair.pred, target, path)
        with naming(pair.pred):
            counts = edge_counts(pred, targets, max_dist=protocol.max_dist, thresholds=thresholds, nms=protocol.nms)
        return counts, peak_share(stored)

    single, peaks = [], []
    for counts, peak in track(in_order(score, pairs, workers), "Scoring edges", total=len(pairs)):
        single.append(counts)
        peaks.append(peak)
    check_strengths(peaks)
    return _edge_score(pairs, protocol, thresholds, np.stack(single))


def check_strengths(peaks: Sequence[float]) -> None:
    """Checks that predictions of whole numbers use the range of their type.

    Args:
        peaks: The highest value of each prediction as a share of its type's range.

    Raises:
        DataError: All values are zeros and ones, or 8 bits in a 16-bit file.
    """
    if peaks and 0 < max(peaks) <= 1 / 255:
        raise DataError(
            f"the strongest prediction in all {len(peaks)} images is {max(peaks) * 255:.3g} of 255",
            "Store probabilities times 255 (8 bits) or 65535 (16 bits), or as floats in [0, 1].",
        )


def in_order(function: Callable[[T], S], items: Sequence[T], workers: int) -> Iterator[S]:
    """Yields the results of a function in the order of the items, computed ahead by threads, a few at a time.

    The first error ends it, and nothing that has not begun is begun then.
    """
    waiting: deque[Future[S]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def peak_share(stored: ArrayAny) -> float:
    """The highest value of a map of whole numbers as a share of its type's range; 1 for other maps."""
    if stored.dtype.kind not in "iu":
        return 1.0
    return float(stored.max()) / (255 if stored.dtype == np.uint8 else 65535)


def highest(f: npt.NDArray[np.float64]) -> int:
    """Place of the highest F, the first of several; NaN is none."""
    return int(np.nan_to_num(f, nan=-1.0).argmax())


def _edge_target(path: Path, kind: str, mat_key: str | None) -> npt.NDArray[np.bool_]:
    stored = one_channel(read_stored(path, mat_key), path)
    if kind == "edges":
        return np.asarray(binary_map(stored, path) == 1)
    if stored.dtype.kind == "f" and np.isfinite(stored).all() and (stored == np.rint(stored)).all():
        stored = stored.astype(np.int64)  # MATLAB and NumPy files often hold ids as floating point
    with naming(path):
        return seism_target(stored)


def _edge_score(
    pairs: Sequence[Pair], protocol: EdgeProtocol, thresholds: npt.NDArray[np.float64], single: Counts
) -> Score:
    """The score of counts (N, K, 4)."""
    total = single.sum(axis=0)
    values = {
        "ods": ods(total),
        "ois": ois(np.sum([best_counts(counts) for counts in single], axis=0)),
        "average_precision": average_precision(total),
    }
    figures = [MetricValue("edges", name, value, "fraction", True, name == "ods") for name, value in values.items()]
    precision, recall, f = precision_recall(total)
    best = highest(f)
    if np.isnan(f[best]):
        warnings.warn("neither predictions nor targets have an edge; the scores are NaN", UserWarning, stacklevel=3)
    per_image = {}
    for pair, counts in zip(pairs, single, strict=True):
        p, r, own = precision_recall(counts)
        row = {"f": own[best], "precision": p[best], "recall": r[best], "best_f": own[highest(own)]}
        row["best_threshold"] = thresholds[highest(own)]
        per_image[pair.id] = {name: float(value) for name, value in row.items() if np.isfinite(value)}
    annotators = sorted({len(pair.targets) for pair in pairs})
    details = {
        "best_threshold": float(thresholds[best]),
        "best_precision": float(precision[best]),
        "best_recall": float(recall[best]),
        "thresholds": thresholds.tolist(),
        "counts": total.tolist(),
        "counts_columns": ["cntR", "sumR", "cntP", "sumP"],
    }
    described = {**vars(protocol), "annotators": annotators[0] if len(annotators) == 1 else annotators}
    return Score("edges", [pair.id for pair in pairs], figures, per_image, described, details)
