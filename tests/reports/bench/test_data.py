"""Throughput of pipelines."""

from __future__ import annotations

import time

import pytest
import torch
from torch.utils.data import Dataset

from mtdense.core.errors import ConfigError
from mtdense.reports.bench.data import Pipeline, measure_throughput, spent_by_stage


def work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def decode() -> None:
    work(0.02)


def warp() -> None:
    work(0.01)


class Samples(Dataset):
    def __init__(self, slower: float = 0.0) -> None:
        self.slower = slower
        self.seen: list[tuple[int, int]] = []

    def __getitem__(self, key):
        self.seen.append(key)
        decode()
        warp()
        work(self.slower)
        return torch.tensor(key)


def pipeline(name: str, samples: Samples, images: int = 3) -> Pipeline:
    return Pipeline(name, samples, images, 2, None, {"decode": [decode], "geometry": [warp]})


def test_rates_and_processor_time():
    slow = pipeline("slow", Samples(0.09))
    found = measure_throughput([pipeline("quick", Samples()), slow], [1, 2], runs=2)
    quick, slow = found
    assert [row.pipeline for row in found] == ["quick", "slow"]
    assert all(len(row.rates[n]) == 2 for row in found for n in (1, 2)) and len(quick.processor) == 2
    assert 0.03 <= quick.processor_seconds < 0.06 and 0.12 <= slow.processor_seconds < 0.2
    assert quick.rate(1) < 1 / 0.03 and slow.rate(1) < 1 / 0.12


def test_each_pass_is_an_epoch_of_all_images():
    samples = Samples()
    measure_throughput([pipeline("a", samples)], [1], runs=1)
    assert samples.seen == [(index, epoch) for epoch in (0, 1) for index in range(3)], "in this process; workers copy"


def test_stages_add_up():
    spent = spent_by_stage(pipeline("a", Samples(0.03)))
    assert list(spent) == ["decode", "geometry", "other"]
    assert spent["decode"] == pytest.approx(0.02, rel=0.3)
    assert spent["geometry"] == pytest.approx(0.01, rel=0.3)
    assert spent["other"] == pytest.approx(0.03, rel=0.3)


def test_a_stage_must_be_told_apart():
    with pytest.raises(ConfigError, match="no Python function"):
        spent_by_stage(Pipeline("a", Samples(), 1, 1, None, {"sum": [sum]}))


@pytest.mark.parametrize(("workers", "runs"), [([], 1), ([0], 1), ([1], 0)])
def test_numbers_below_one(workers, runs):
    with pytest.raises(ConfigError, match="1 or more"):
        measure_throughput([pipeline("a", Samples())], workers, runs)
