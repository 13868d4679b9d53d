"""Noise belongs to the sample."""

from __future__ import annotations

import torch

from mtdense.models.noise import normal_noise, uniform_noise


def test_a_row_depends_on_its_id_and_purpose_alone() -> None:
    together = normal_noise(["a", "b"], (3, 4), 0, "denoise", 7, device="cpu")
    alone = normal_noise(["b"], (3, 4), 0, "denoise", 7, device="cpu")
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(alone, normal_noise(["b"], (3, 4), 0, "denoise", 8, device="cpu"))


def test_distributions() -> None:
    normal = normal_noise(["a"], (100, 100), 0, device="cpu")
    uniform = uniform_noise(["a"], (100, 100), 0, device="cpu")
    assert abs(normal.mean().item()) < 0.05 and abs(normal.std().item() - 1) < 0.05
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean().item() - 0.5) < 0.02
