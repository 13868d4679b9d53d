"""Speed against named baselines, measured fairly: the same results, one thread, interleaved runs."""

from mtdense.reports.bench.metrics import bench_metrics
from mtdense.reports.bench.timing import Comparison, compare

__all__ = ["Comparison", "bench_metrics", "compare"]
