"""Boundary F-measure of edge maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtdense.core.errors import ConfigError, DataError
from mtdense.metrics.base import StreamingMetric
from mtdense.metrics.curve import plot_precision_recall
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
from mtdense.metrics.job_queue import JobQueue
from mtdense.metrics.odsf_input import EdgeMaps, Maps, read_images

__all__ = ["OdsF"]

TargetKind = Literal["edges", "labels"]
Counts = npt.NDArray[np.int64]


class _Joined:
    """A state of `OdsF`: whoever reads it (sync, copies, checkpoints) first waits for the images under way."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, metric: OdsF | None, owner: type | None = None) -> Tensor:
        if metric is None:
            raise AttributeError(self.name)
        metric._settle()
        state: Tensor = metric.__dict__[self.name]
        return state

    def __set__(self, metric: OdsF, value: Tensor) -> None:
        metric.__dict__[self.name] = value


class OdsF(StreamingMetric):
    """F-measure of boundaries at the one threshold that is best for the data set ("odsF"); a fraction in 0..1.

    What SEISM measures (Pont-Tuset and Marques, PAMI 2016), whose MATLAB scripts are behind the tables of multi-task
    dense prediction: per threshold, predicted edges are thinned and matched one-to-one with the target's within a
    distance; matches are summed over images. The matching is as large as can be, where theirs falls short of it by some
    pixels at random. `OdsF.pascal_context()` and `OdsF.nyud()` give the two published protocols. The list of images is
    part of a protocol, too: published values for PASCAL-Context mostly use 2498 of its 5105 test images. Published
    predictions went through 8-bit PNG files; give `(255 * p).to(torch.uint8)` to do the same.

    Args:
        max_dist: Largest distance of a match as a fraction of the image diagonal.
        thresholds: Number of thresholds K: .001, .01, .02, ..., .99, .999 with 101.
        nms: Suppress non-maxima of the predicted strength first.
        target_kind: "edges": targets are edge maps, used as they are (BSDS). "labels": targets are maps of regions,
            whose thinned boundaries count; SEISM does so with the class map of PASCAL-Context and with the edge map of
            NYUD-v2 itself.
        workers: Threads that score images while the caller goes on; within the cores that this rank has to itself.
            0 scores in `update`. The result is the same.
        ignore_index: Value of "labels" that marks padding and missing labels; None where every value is a label. In
            edge maps it is always 255.

    Raises:
        ConfigError: An option makes no sense.
    """

    unit: ClassVar[str | None] = "fraction"
    scored: ClassVar[str] = "edge"
    higher_is_better: bool = True
    edge_sums = _Joined()
    best_sums = _Joined()

    def __init__(
        self,
        max_dist: float = 0.0075,
        thresholds: int = 101,
        nms: bool = True,
        target_kind: TargetKind = "edges",
        workers: int = 0,
        ignore_index: int | None = None,
    ) -> None:
        if not 0 <= max_dist < 1:
            raise ConfigError(
                f"OdsF got max_dist={max_dist!r}",
                "Give a fraction of the image diagonal: 0.0075 (PASCAL-Context, BSDS) or 0.011 (NYUD-v2).",
            )
        if target_kind not in ("edges", "labels"):
            raise ConfigError(f"OdsF got target_kind={target_kind!r}", "Choose 'edges' or 'labels'.")
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
            raise ConfigError(f"OdsF got workers={workers!r}", "Give a whole number of threads, 0 for none.")
        # Before the base class sets the states: reading them asks the queue.
        self._queue: JobQueue[tuple[Counts, Counts]] = JobQueue(workers)
        self._failure: Exception | None = None
        super().__init__()
        self.max_dist = max_dist
        self.thresholds = seism_thresholds(thresholds)
        self.nms = nms
        self.target_kind: TargetKind = target_kind
        self.ignore_index = ignore_index
        self._seen = self._seen_before = 0
        self._add_count("edge_sums", (thresholds, 4))
        self._add_count("best_sums", (4,))

    @classmethod
    def pascal_context(cls, **options: Any) -> Self:
        """The protocol of PASCAL-Context; targets are its maps of 459 classes, at the size of the original image.

        Args:
            **options: Other arguments of the class.
        """
        return cls(**{"max_dist": 0.0075, "target_kind": "labels", **options})

    @classmethod
    def nyud(cls, **options: Any) -> Self:
        """The protocol of NYUD-v2; targets are its edge maps (0, 1 and 255 for padding).

        Args:
            **options: Other arguments of the class.
        """
        return cls(**{"max_dist": 0.011, "target_kind": "labels", "ignore_index": 255, **options})

    @property
    def workers(self) -> int:
        """Threads asked for."""
        return self._queue.workers

    @property
    def protocol(self) -> str:
        """What decides on comparability, but for the list of images."""
        nms = "" if self.nms else ", no NMS"
        return f"max_dist={self.max_dist:g}, {len(self.thresholds)} thresholds{nms}, targets={self.target_kind}"

    def update(self, preds: Maps, target: Maps | Sequence[Maps], valid: Maps | None = None) -> None:
        """Adds a batch; images without a pixel that counts are left out, as published evaluations do.

        Padding is cut off: images are scored at the size of the rectangle of pixels that count, and left out where that
        is one row or column. Others inside it are neither edges nor predicted, and no boundary runs between them and
        those that count.

        Args:
            preds: Edge strength, probabilities or uint8 (B, H, W); or a list of (H, W) of different sizes.
            target: (B, H, W), or a list with (H, W), or a list or (A, H, W) tensor of several annotators' maps, per
                image. Edge maps are bool, or numbers 0, 1 (edge) and 255 (does not count); label maps are integers.
            valid: (B, H, W) bool or a list of (H, W), pixels that count besides; None for all.

        Raises:
            DataError: Shapes do not fit, or values are out of range. With workers, an image may be found out later, by
                whatever reads the result; the message names it by its number since the last reset.
        """
        ignored = 255 if self.target_kind == "edges" else self.ignore_index
        # The caller may reuse its memory while a thread still reads it.
        binary, copy = self.target_kind == "edges", self.workers > 0
        images = list(read_images(preds, target, valid, ignored, binary, self._seen, copy))
        with self._remembering_failure():
            results = [
                result
                for index, image in images
                if image is not None
                for result in self._queue.submit(index, self._count, image)
            ]
        self._seen += len(images)
        self._add(results)

    def compute(self) -> Tensor:
        """odsF; NaN with a warning where there was no edge at all."""
        return self._scored(ods(self.edge_sums.cpu().numpy()))

    @property
    def counts(self) -> Tensor:
        """(K, 4) int64 per threshold: target pixels matched and all, predicted pixels matched and all.

        Summed over ranks, as the other properties; in a distributed run all ranks must read it.
        """
        with self.sync_context():
            return self.edge_sums.clone()

    @property
    def ois(self) -> Tensor:
        """F-measure when every image has its own best threshold."""
        with self.sync_context():
            return self._scored(ois(self.best_sums.cpu().numpy()))

    @property
    def average_precision(self) -> Tensor:
        """Area under the precision-recall curve."""
        with self.sync_context():
            return self._scored(average_precision(self.edge_sums.cpu().numpy()))

    def reset(self) -> None:
        """Forgets all images, those under way and their errors included."""
        self._queue.discard()
        self._failure = None
        self._seen = self._seen_before
        super().reset()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Adds a batch and gives its own score; see `update`."""
        # The base class resets, scores the batch alone and then adds what was before.
        self._seen_before = self._seen
        try:
            return super().forward(*args, **kwargs)
        finally:
            self._seen_before = 0

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Sums states over ranks; what all results are read through.

        Raises:
            DataError: An image was found out in a thread.
        """
        self._join()
        super().sync(*args, **kwargs)

    @property
    def metric_state(self) -> dict[str, Tensor | list[Tensor]]:
        """The sums, for `merge_state`.

        Raises:
            DataError: An image was found out in a thread.
        """
        self._join()
        return super().metric_state

    def plot(self, ax: Any | None = None) -> Any:
        """Draws recall and precision over thresholds, with a mark where F is highest.

        Args:
            ax: Matplotlib axes to draw in; None for a new figure.

        Returns:
            Figure and axes.

        Raises:
            DataError: There was no edge at all.
            MissingDependencyError: Matplotlib is not installed.
        """
        precision, recall, f = precision_recall(self.counts.cpu().numpy())
        if np.isnan(f).all():
            raise DataError("there is no edge to draw a curve of", "Call `update` first.")
        best = int(np.nanargmax(f))
        return plot_precision_recall(precision.tolist(), recall.tolist(), best, f"odsF {f[best]:.3f}", ax)

    def _count(self, image: EdgeMaps) -> tuple[Counts, Counts]:
        targets = image.targets
        if self.target_kind == "labels":
            targets = [seism_target(target, image.valid) for target in targets]
        maps = [target.astype(bool) if image.valid is None else target.astype(bool) & image.valid for target in targets]
        counts = edge_counts(image.pred, maps, max_dist=self.max_dist, thresholds=self.thresholds, nms=self.nms)
        return counts, best_counts(counts)

    def _join(self) -> None:
        with self._remembering_failure():
            self._add(self._queue.join())

    def _settle(self) -> None:
        """Waits for the images under way; their errors are for those who read results, not for copies and devices."""
        with suppress(Exception):
            self._join()

    def _copy_state_dict(self) -> dict[str, Tensor | list[Any]]:
        self._join()
        return super()._copy_state_dict()

    @contextmanager
    def _remembering_failure(self) -> Iterator[None]:
        """After an error in a thread, which may belong to an earlier batch, there is no result until the next reset."""
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except Exception as error:
            self._failure = error if self._queue.threaded else None
            raise

    def _add(self, results: Sequence[tuple[Counts, Counts]]) -> None:
        if results:
            for name, sums in zip(("edge_sums", "best_sums"), zip(*results, strict=True), strict=True):
                # Not by name: reading a state would wait for the images under way.
                state = self.__dict__[name]
                self.__dict__[name] = state + torch.from_numpy(np.sum(sums, axis=0)).to(state.device)

    def _scored(self, value: float) -> Tensor:
        return self._score(torch.tensor(value, dtype=torch.float64), self.edge_sums[:, [1, 3]].sum())

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return super().__getstate__()
