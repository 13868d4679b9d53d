from __future__ import annotations

import json
import time

import numpy as np
import pytest

from mtdense.cli.main import main
from mtdense.core.errors import DataError
from mtdense.metrics.functional import edge_counts
from mtdense.reports.bench import bench_metrics, compare
from mtdense.reports.bench.metrics import edge_example
from mtdense.reports.bench.odsf_by_libraries import counts_by_libraries


def test_the_plain_version_of_odsf_gives_our_counts():
    pytest.importorskip("skimage")
    pred, target = edge_example(0, size=(60, 80))
    ours = edge_counts(pred, [target], max_dist=0.02)
    assert ours[:, 0].max() > 20, "there is something to match"
    np.testing.assert_array_equal(counts_by_libraries(pred, target, 0.02), ours)


def test_all_metrics_agree_with_their_counterparts_and_keep_their_state_small():
    pytest.importorskip("skimage")
    found = {row.name.split(",")[0]: row for row in bench_metrics(2, 1, size=(40, 50), edge_size=(48, 64))}
    assert set(found) == {"mIoU", "maxF", "RMSE", "absErr", "odsF"}
    more = bench_metrics(1, 3, size=(40, 50), edge_size=(48, 64))
    assert [row.state_bytes for row in more] == [row.state_bytes for row in found.values()], "whatever the images"


def test_time_is_per_item_and_the_median():
    waits = iter([0, 0, 0, 0.02, 0, 0.1])

    def ours():
        time.sleep(next(waits) / 2)
        return 1.0

    row = compare("a", "b", [ours] * 3, [lambda: 1.0] * 3, items=2, tolerance=0.0)
    assert 0.005 <= row.ours < 0.02, "of 0, 10 and 50 ms for two items the median is 5 ms each"
    assert row.ratio == row.theirs / row.ours


def test_times_of_different_results_mean_nothing():
    with pytest.raises(DataError, match=r"a differs from b by 0\.5"):
        compare("a", "b", [lambda: 1.0], [lambda: 1.5], items=1, tolerance=0.1)
    with pytest.raises(DataError, match="a differs from b by nan"):
        compare("a", "b", [lambda: 1.0], [lambda: float("nan")], items=1, tolerance=0.1)


def test_bad_numbers_are_refused(capsys):
    assert main(["bench", "metrics", "--runs", "0"]) == 1
    assert "--runs 0" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_writes_what_it_prints(tmp_path, capsys):
    pytest.importorskip("skimage")
    assert main(["bench", "metrics", "--runs", "1", "--batch", "1", "--json", str(tmp_path / "bench.json")]) == 0
    printed = capsys.readouterr().out
    rows = json.loads((tmp_path / "bench.json").read_text())["metrics"]
    assert [row["name"] for row in rows if row["name"] in printed] == [row["name"] for row in rows]
    odsf = rows[-1]
    assert odsf["ratio"] > 50, "the goal of 100 holds on a quiet machine"
