"""Growth of cost, on tiny networks."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import cost_growth
from mtdense.models import TIF
from mtdense.reports.profile import count_cost
from mtdense.tasks import task_names

SIZES = ((32, 40), (64, 80))
TINY = {name: {**options, "preset": "tiny"} for name, options in cost_growth.METHODS.items()}


@pytest.mark.parametrize("method", TINY)
def test_more_tasks_and_pixels_cost_more(method: str) -> None:
    before = task_names()
    points = [cost_growth.count(method, number, SIZES, TINY[method], "tiny") for number in (1, 2, 3)]
    assert task_names() == before
    for small, large in points:
        assert (small.params, small.tasks) == (large.params, large.tasks)
        # Four times the convolutions (a little less, for small maps were rounded up), and more of attention.
        assert 3.7 * small.macs < large.macs < 17 * small.macs
        assert 0 < small.backbone_macs < small.macs
    for fewer, more in pairwise(points):
        assert all(a.params < b.params and a.macs < b.macs for a, b in zip(fewer, more, strict=True))
    # The backbone is shared.
    assert len({point[1].backbone_macs for point in points}) == 1


def test_counts_are_those_of_the_profile() -> None:
    model = TIF(tasks={"depth": {}, "edges": {}}, backbone="tiny", preset="tiny")
    cost = count_cost(model, (64, 80)).modules[0]
    point = cost_growth.count("TIF", 2, SIZES, TINY["TIF"], "tiny")[1]
    assert (point.params, point.macs) == (cost.params, cost.macs)


def test_decoders_of_tif_do_not_meet() -> None:
    """Each task adds the same decoder, but for its part of the sum of maps in equation 6, which grows with all."""
    params = [cost_growth.count("TIF", t, SIZES[:1], TINY["TIF"], "tiny")[0].params for t in (1, 2, 3, 4)]
    steps = [b - a for a, b in pairwise(params)]
    # T decoders of two scales with T maps of 16 x 16 each.
    assert [b - a for a, b in pairwise(steps)] == [2 * 2 * 16 * 16] * 2


def test_figure_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(cost_growth, "SIZES", SIZES)
    monkeypatch.setattr(cost_growth, "METHODS", {name: cost_growth.METHODS[name] for name in ("TIF", "ATRC")})
    arguments = ["--backbone", "tiny", "--preset", "tiny", "--tasks", "2"]
    assert cost_growth.main([*arguments, "--figure", str(tmp_path / "growth.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| parameters [M] | 1 task | 2 tasks | the last task |"
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| TIF", "| ATRC"]
    assert [line.split(" | ")[1] for line in lines[7:]] == ["32×40", "64×80"] * 2
    assert Image.open(tmp_path / "growth.png").size == (640, 340)
    assert cost_growth.main([*arguments, "--json"]) == 0
    points = json.loads(capsys.readouterr().out)
    assert [point["tasks"] for point in points] == [1, 1, 2, 2] * 2
    assert torch.get_default_device().type != "meta"
