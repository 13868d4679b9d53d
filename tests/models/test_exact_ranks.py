"""Two processes train as one does: every architecture, any labels, gradients accumulated or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from torch import Tensor

from tests.models import exact_ranks_worker as worker
from tests.ranks import run_ranks

TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
# Its mapping network normalises every map by its own statistics, fourteen times over; what rounding does to one
# process is more than 1e-5. Two may be no further from one than float32 is from float64; and the bound in float64.
ROUNDED = {"MTPSL": 1e-8}
FAST = ("MTLBaseline-checkpointed", "Prototype")
# All architectures on a busy machine.
SECONDS = 3000


def too_far(folder: Path, names: Sequence[str], cases: Sequence[str], *mutate: str) -> dict[str, str]:
    """{architecture, case and kind: difference and where} beyond the tolerance."""
    arguments = ",".join(names), ",".join(cases)
    two = run_ranks(worker.run, folder, *arguments, *mutate, seconds=SECONDS)[0]
    one = worker.run(0, 1, *arguments)
    wrong = {}
    for what, values in one.items():
        name, case = what.split(" ", 1)
        own, other, allowed = values, two[what], dict.fromkeys(("gradient", "weight"), TOLERANCE[what.split()[-1]])
        if name in ROUNDED and case.endswith("float64"):
            allowed = dict.fromkeys(allowed, ROUNDED[name])
        elif name in ROUNDED:
            exact = not_zero(worker.train(name, case, 0, 1, wide=True))
            own, other = ({key: run[key].double() for key in exact} for run in (own, other))
            rounding = worker.difference(own, exact)
            allowed = {kind: max(least, rounding[kind][0]) for kind, least in allowed.items()}
        for kind, (difference, where) in worker.difference(own, other).items():
            print(f"{what} {kind}: {difference:.1e} of {allowed[kind]:.1e}")
            if not difference <= allowed[kind]:
                wrong[f"{what} {kind}"] = f"{difference:.1e} in {where}"
    return wrong


def not_zero(exact: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without gradients that are zero but for rounding: of biases in front of a norm by statistics at hand."""
    least = 1e-9 * max(float(values.abs().max()) for values in exact.values())
    return {key: v for key, v in exact.items() if key.startswith("weight") or float(v.abs().max()) > least}


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
