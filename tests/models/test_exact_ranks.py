"""Two processes train as one does: every architecture, any labels, gradients accumulated or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.models import exact_ranks_worker as worker
from tests.ranks import run_ranks

TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
# Where float32 is not enough and float64 tells: MTPSL's mapping network normalises maps of 2x2 by their own statistics;
# in two networks a unit lies so near zero that it is on in one run and off in the other; two lie at the border.
MAGNIFIED = {"MTPSL": 1e4, "InvPT": 3.0, "BridgeNet": 3.0}
MAGNIFIED |= {"DiffusionMTL-feature": 1e3, "PromptedBaseline-task_prompter": 1e3}
FAST = ("MTLBaseline", "Prototype")
# All architectures on a busy machine.
SECONDS = 3000


def too_far(folder: Path, names: Sequence[str], cases: Sequence[str], *mutate: str) -> dict[str, str]:
    """{architecture, case and kind: difference and where} beyond the tolerance."""
    arguments = ",".join(names), ",".join(cases)
    two = run_ranks(worker.run, folder, *arguments, *mutate, seconds=SECONDS)[0]
    one = worker.run(0, 1, *arguments)
    wrong = {}
    for what, values in one.items():
        for kind, (difference, where) in worker.difference(values, two[what]).items():
            print(f"{what} {kind}: {difference:.1e}")
            if not difference <= TOLERANCE[what.split()[-1]] * MAGNIFIED.get(what.split()[0], 1.0):
                wrong[f"{what} {kind}"] = f"{difference:.1e} in {where}"
    return wrong


def test_two_ranks_train_as_one_does(tmp_path: Path) -> None:
    assert too_far(tmp_path, FAST, ["random-label float32"]) == {}


@pytest.mark.slow
def test_every_architecture(tmp_path: Path) -> None:
    assert too_far(tmp_path, worker.architectures(), list(worker.CASES)) == {}


@pytest.mark.slow
def test_means_of_each_rank_are_found_out(tmp_path: Path) -> None:
    names = worker.architectures()
    wrong = too_far(tmp_path, names, ["random-label float64"], "mutate")
    assert {f"{name} random-label float64 gradient" for name in names} <= set(wrong)


def test_the_list_is_of_all_architectures() -> None:
    names = {name.partition("-")[0] for name in worker.architectures()}
    assert {"MTLBaseline", "SingleTask", "BridgeNet", "TIF", "PromptFusion", "Prototype"} <= names
    assert len(names) >= 19
