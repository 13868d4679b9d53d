"""What is said of losses and weights that are not finite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtdense.core.errors import NonFiniteLossError
from mtdense.training import finite
from mtdense.training.weighting import Fixed
from tests.ranks import run_ranks
from tests.training import finite_worker

NAN, ONE = torch.tensor(float("nan")), torch.tensor(1.0)


def said(total: torch.Tensor, **losses: torch.Tensor) -> str:
    with pytest.raises(NonFiniteLossError) as caught:
        finite.check_loss(total, losses, Fixed(list(losses)), ["a", "b"], 7)
    return caught.value.problem


def test_where_a_loss_is_not_finite() -> None:
    finite.check_loss(ONE, {"depth": ONE}, Fixed(["depth"]), ["a"], 7)
    assert said(NAN, depth=NAN, edges=ONE) == "the loss is not finite in step 7: depth; images of this batch: a, b"
    assert "though that of each task is: their weighted sum is not; images" in said(NAN, depth=ONE)


def test_all_ranks_name_the_images_of_those_that_are_not_finite(tmp_path: Path) -> None:
    """The second one's loss is NaN in step 7; in step 8 the loss is finite on both, and the gradient is not."""
    both = run_ranks(finite_worker.told, tmp_path)
    assert both[0] == both[1]
    loss, gradient = both[0]
    assert loss == "the loss is not finite in step 7 on rank 1: depth; images of this batch: c, d"
    assert gradient.endswith("its gradient is not; images of this step: a, b (rank 0); c, d (rank 1)")


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["0.weight", "1.running_var"])
def test_which_weights_are_not_finite(name: str, value: float) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    module.register_buffer("past", NAN.clone())  # not yet there
    module.register_parameter("none", torch.nn.Parameter(torch.zeros(0)))
    finite.check_weights(module, 2)
    module.get_submodule(name[0]).state_dict()[name[2:]][1] = value
    with pytest.raises(NonFiniteLossError, match=rf"after step 2: {name}; they were not saved"):
        finite.check_weights(module, 2)
    finite.check_weights(torch.nn.Identity(), 2)
