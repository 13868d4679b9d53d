"""Our metrics beside the nearest of torchmetrics, and odsF beside thinning and matching by public libraries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import BinaryPrecisionRecallCurve, MulticlassJaccardIndex
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError

from mtdense.core.progress import track
from mtdense.core.seeds import derive_rng
from mtdense.data.procedural import ProceduralScenes
from mtdense.metrics import AbsoluteError, MaxF, MeanIoU, OdsF, RootMeanSquaredError
from mtdense.metrics.functional.odsf import ods
from mtdense.metrics.functional.thinning import thin
from mtdense.reports.bench.odsf_by_libraries import counts_by_libraries
from mtdense.reports.bench.timing import Comparison, compare

__all__ = ["bench_metrics", "edge_example"]

Pairs = list[tuple[Tensor, Tensor]]
Size = tuple[int, int]


def bench_metrics(
    runs: int = 5, batch: int = 4, seed: int = 0, size: Size = (512, 512), edge_size: Size = (321, 481)
) -> list[Comparison]:
    """Measures every metric that has a named counterpart, on one core.

    A twentieth of the pixels of the random maps is to be ignored. Edges are those of procedural scenes, one image per
    run, with 101 thresholds.

    Args:
        runs: Interleaved runs; the median counts.
        batch: Images per run of the metrics that take batches.
        seed: Seed of the random maps and scenes.
        size: Height and width of the maps.
        edge_size: Height and width of the scenes whose edges are scored.

    Returns:
        One comparison per metric, seconds per image.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steps: list[Callable[[], Comparison]] = [
            *_on_maps((runs, batch, *size), seed),
            partial(_odsf, runs, seed, edge_size),
        ]
        return [step() for step in track(steps, "Measuring")]
    finally:
        torch.set_num_threads(threads)


def _on_maps(shape: tuple[int, ...], seed: int) -> list[Callable[[], Comparison]]:
    """mIoU, maxF, RMSE and absErr."""
    generator = torch.Generator().manual_seed(seed)
    ignored = torch.rand(shape, generator=generator) < 0.05
    classes = torch.randint(0, 21, (2, *shape), generator=generator)
    classes[1][ignored] = 255
    chances = torch.rand(shape, generator=generator)
    salient = (torch.rand(shape, generator=generator) < chances).long().masked_fill(ignored, 255)
    depth = torch.rand((2, *shape), generator=generator) * 9 + 1
    thresholds = torch.arange(1, 20) / 20
    curve = BinaryPrecisionRecallCurve(thresholds=thresholds, ignore_index=255)
    jaccard = MulticlassJaccardIndex(21, ignore_index=255)
    squared = MeanSquaredError(squared=False)
    return [
        partial(_against, "mIoU, 21 classes", MeanIoU(21, ignore_index=255), jaccard, list(zip(*classes, strict=True))),
        partial(_against, "maxF, 19 thresholds", MaxF(), curve, list(zip(chances, salient, strict=True)), _max_f),
        partial(_against, "RMSE", RootMeanSquaredError(), squared, list(zip(*depth, strict=True))),
        partial(_against, "absErr", AbsoluteError(), MeanAbsoluteError(), list(zip(*depth, strict=True))),
    ]


def _against(
    name: str, ours: Metric, theirs: Metric, pairs: Pairs, finish: Callable[[Any], Any] | None = None
) -> Comparison:
    def calls(metric: Metric, finish: Callable[[Any], Any] | None) -> list[Callable[[], Any]]:
        def call(pair: tuple[Tensor, Tensor]) -> Any:
            metric.reset()
            metric.update(*pair)
            value = metric.compute()
            return value if finish is None else finish(value)

        return [partial(call, pair) for pair in pairs]

    return compare(
        name,
        f"torchmetrics {type(theirs).__name__}",
        calls(ours, None),
        calls(theirs, finish),
        items=len(pairs[0][0]),
        tolerance=1e-4,
        state_bytes=_state_bytes(ours, pairs),
    )


def _max_f(curve: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The highest F with beta^2 = 0.3 of a precision-recall curve; its last point belongs to no threshold."""
    precision, recall = curve[0][:-1], curve[1][:-1]
    return torch.nan_to_num(1.3 * precision * recall / (0.3 * precision + recall)).max()


def _odsf(runs: int, seed: int, size: Size) -> Comparison:
    examples = [edge_example(index, seed, size) for index in range(runs)]
    metric = OdsF(max_dist=0.0075)

    def ours(pred: npt.NDArray[np.float32], target: npt.NDArray[np.bool_]) -> float:
        metric.reset()
        metric.update(torch.from_numpy(pred)[None], torch.from_numpy(target)[None])
        return float(metric.compute())

    return compare(
        f"odsF, 101 thresholds, {size[0]}x{size[1]}",
        "scikit-image thin + SciPy maximum_bipartite_matching",
        [partial(ours, *example) for example in examples],
        [partial(_ods_by_libraries, *example) for example in examples],
        items=1,
        tolerance=1e-6,
        state_bytes=_state_bytes(metric, [(torch.from_numpy(a)[None], torch.from_numpy(b)[None]) for a, b in examples]),
    )


def _ods_by_libraries(pred: npt.NDArray[np.float32], target: npt.NDArray[np.bool_]) -> float:
    return ods(counts_by_libraries(pred, target))


def edge_example(
    index: int, seed: int = 0, size: Size = (321, 481)
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """An edge prediction such as a network makes, and its thin target, of one procedural scene.

    The true edges are blurred, fade in places, and compete with the gradient of the picture.

    Args:
        index: Scene.
        seed: Seed of scene and prediction.
        size: Height and width.

    Returns:
        (H, W) float32 in [0, 1] in steps of 1/255, and (H, W) bool.
    """
    scene = ProceduralScenes(size, seed).render(index)
    rng = derive_rng(seed, "bench edges", index)
    grey = cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    texture = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    edges = cv2.GaussianBlur(scene.edges.astype(np.float32), (0, 0), 1.5)
    fading = cv2.resize(rng.random((12, 16), dtype=np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    strength = 0.8 * edges / edges.max() * np.clip(fading * 1.5, 0, 1) + 0.5 * texture / max(texture.max(), 1.0)
    strength += 0.03 * rng.random(strength.shape, dtype=np.float32)
    target = thin(scene.edges > 0.5)
    return np.floor(255 * np.clip(strength, 0, 1)).astype(np.float32) / 255, target


def _state_bytes(metric: Metric, pairs: Pairs) -> int:
    """Memory of the states once all pairs were added."""
    metric.reset()
    for pair in pairs:
        metric.update(*pair)
    states = [getattr(metric, name) for name in metric._defaults]
    return sum(part.nbytes for state in states for part in (state if isinstance(state, list) else [state]))
