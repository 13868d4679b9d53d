"""The diffusion's numbers, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtdense.models.diffusion_mtl import DiffusionSchedule


def test_two_steps_by_hand():
    schedule = DiffusionSchedule()
    assert schedule.betas == pytest.approx((0.001, 0.01))
    # alpha_bar: 0.999, 0.999 * 0.99 = 0.98901
    assert schedule.signal == pytest.approx((math.sqrt(0.999), math.sqrt(0.98901)))
    assert schedule.signal[-1] == pytest.approx(0.9945, abs=5e-5)
    assert schedule.noise[-1] == pytest.approx(0.1048, abs=5e-5)
    # 0.01 * sqrt(0.999) / 0.01099; 0.001 * sqrt(0.99) / 0.01099; 0.01 * 0.001 / 0.01099
    assert schedule.clean_weight[1] == pytest.approx(0.909463, abs=1e-6)
    assert schedule.noisy_weight[1] == pytest.approx(0.090536, abs=1e-6)
    assert schedule.variance[1] == pytest.approx(9.09918e-4, rel=1e-5)
    # the last step of the way back is the estimate itself
    assert (schedule.clean_weight[0], schedule.noisy_weight[0], schedule.variance[0]) == pytest.approx((1, 0, 0))


def test_betas_are_even_in_their_roots():
    roots = [math.sqrt(beta) for beta in DiffusionSchedule(5, 0.01, 0.25).betas]
    assert roots == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_draws_by_hand():
    schedule = DiffusionSchedule()
    clean, noisy, noise = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert schedule.noised(clean, noise).tolist() == pytest.approx([1.988980, 0.104833], abs=1e-6)
    assert schedule.sample_previous(clean, noisy, 1, noise).tolist() == pytest.approx([1.728390, 0.030165], abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.floats(1e-4, 0.05), st.floats(1.0, 10.0))
def test_posterior_agrees_with_the_way_forward(num_steps, low, factor):
    """Noising to step t - 1 and on to t gives, drawn back, the distribution of step t - 1 again."""
    schedule = DiffusionSchedule(num_steps, low, low * factor)
    for t in range(1, num_steps):
        mean = schedule.clean_weight[t] + schedule.noisy_weight[t] * schedule.signal[t]
        variance = schedule.variance[t] + (schedule.noisy_weight[t] * schedule.noise[t]) ** 2
        assert mean == pytest.approx(schedule.signal[t - 1])
        assert variance == pytest.approx(schedule.noise[t - 1] ** 2)
