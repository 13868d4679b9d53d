"""How much noise there is at each step, and the way back."""

from __future__ import annotations

import math

from torch import Tensor

from mtdense.core.errors import ConfigError

__all__ = ["DiffusionSchedule"]


class DiffusionSchedule:
    r"""Gaussian diffusion in the parameterisation of the clean signal (Ho et al., 2020, equations 4, 6 and 7).

    With S steps, the square roots of the variances beta_t are evenly spaced from sqrt(beta_start) to sqrt(beta_end),
    and alpha_bar_t is the product of 1 - beta_s over s <= t. Steps are numbered 0 to S - 1.

    Args:
        num_steps: S.
        beta_start: Variance of the first step.
        beta_end: Variance of the last step; not used where there is one step only.

    Attributes:
        betas: beta_t.
        signal: sqrt(alpha_bar_t), the clean signal's share of the noisy one.
        noise: sqrt(1 - alpha_bar_t), the noise's share.
        clean_weight: Weight of the clean signal in the posterior mean of step t - 1.
        noisy_weight: Weight of the noisy signal of step t in it.
        variance: Variance of that posterior; 0 at t = 0.

    Raises:
        ConfigError: No step, or variances that are not 0 < beta_start <= beta_end < 1.
    """

    def __init__(self, num_steps: int = 2, beta_start: float = 1e-3, beta_end: float = 1e-2) -> None:
        if num_steps < 1:
            raise ConfigError(f"num_steps: {num_steps}", "a diffusion has one step at least.")
        if not 0 < beta_start <= beta_end < 1:
            raise ConfigError(
                f"beta_start: {beta_start}, beta_end: {beta_end}", "use variances with 0 < beta_start <= beta_end < 1."
            )
        self.num_steps = num_steps
        low, high = math.sqrt(beta_start), math.sqrt(beta_end)
        self.betas = tuple((low + (high - low) * t / max(1, num_steps - 1)) ** 2 for t in range(num_steps))
        kept = [1.0]
        for beta in self.betas:
            kept.append(kept[-1] * (1 - beta))
        before, after = kept[:-1], kept[1:]
        steps = list(zip(self.betas, before, after, strict=True))
        self.signal = tuple(math.sqrt(a) for a in after)
        self.noise = tuple(math.sqrt(1 - a) for a in after)
        self.clean_weight = tuple(beta * math.sqrt(b) / (1 - a) for beta, b, a in steps)
        self.noisy_weight = tuple((1 - b) * math.sqrt(1 - beta) / (1 - a) for beta, b, a in steps)
        self.variance = tuple(beta * (1 - b) / (1 - a) for beta, b, a in steps)

    def noised(self, clean: Tensor, noise: Tensor) -> Tensor:
        """The signal with the noise of the last step S - 1, where denoising begins."""
        return self.signal[-1] * clean + self.noise[-1] * noise

    def sample_previous(self, clean: Tensor, noisy: Tensor, step: int, noise: Tensor) -> Tensor:
        """Draws the signal of step - 1 from the posterior, given the noisy one of `step` and an estimate of the clean.

        Args:
            clean: Estimate of the clean signal.
            noisy: Signal of step `step`, of the same shape.
            step: 1 to S - 1.
            noise: Standard normal values of the same shape.
        """
        mean = self.clean_weight[step] * clean + self.noisy_weight[step] * noisy
        return mean + math.sqrt(self.variance[step]) * noise
