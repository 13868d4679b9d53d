"""odsF threshold by threshold with public libraries: what ours is measured against."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import KDTree

from mtdense.core.optional import require
from mtdense.metrics.functional.edge_nms import suppress_non_maxima
from mtdense.metrics.functional.odsf import seism_thresholds

__all__ = ["counts_by_libraries"]


def counts_by_libraries(
    pred: npt.NDArray[np.float32], target: npt.NDArray[np.bool_], max_dist: float = 0.0075, number: int = 101
) -> npt.NDArray[np.int64]:
    """Counts (K, 4) of one image as `edge_counts` gives them, of scikit-image's thinning and SciPy's matching.

    Args:
        pred: (H, W) float32 in [0, 1].
        target: (H, W) bool.
        max_dist: Fraction of the diagonal.
        number: Number of thresholds.
    """
    thin: Any = require("skimage.morphology", "bench").thin
    edges = suppress_non_maxima(pred)
    wanted = np.argwhere(target)
    tree = KDTree(wanted)
    radius = max_dist * float(np.hypot(*pred.shape))
    counts = np.zeros((number, 4), np.int64)
    for k, threshold in enumerate(seism_thresholds(number)):
        # In single precision, as MATLAB compares.
        found = np.argwhere(thin(edges > np.float32(threshold)))
        matched = _matched(found, wanted, tree, radius) if len(found) and len(wanted) else 0
        counts[k] = matched, len(wanted), matched, len(found)
    return counts


def _matched(found: npt.NDArray[Any], wanted: npt.NDArray[Any], tree: KDTree, radius: float) -> int:
    """Largest number of one-to-one pairs of pixels at most `radius` apart."""
    near = tree.query_ball_point(found, radius + 1e-9)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in near])])
    columns = np.concatenate([np.asarray(row, np.int32) for row in near])
    graph = csr_array((np.ones(len(columns), np.int8), columns, starts), shape=(len(found), len(wanted)))
    return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())
