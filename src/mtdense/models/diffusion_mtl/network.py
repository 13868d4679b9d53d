"""DiffusionMTL: the MTL baseline's features or predictions, noised and denoised under all tasks' predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtdense.backbones import Backbone
from mtdense.core.errors import ConfigError
from mtdense.models.diffusion_mtl.denoiser import Denoiser
from mtdense.models.diffusion_mtl.schedule import DiffusionSchedule
from mtdense.models.mtl_baseline.network import SharedEncoderNetwork
from mtdense.models.outputs import Outputs

__all__ = ["DiffusionNetwork", "NoiseSource", "Normaliser", "Variant"]

Variant = Literal["feature", "prediction"]

NoiseSource = Callable[[str, Sequence[int], int, Sequence[int]], Tensor]
"""Noise of (task, rows of the batch, step, (channels, h, w)): standard normal values (len(rows), channels, h, w)."""

Normaliser = Callable[[Tensor], Tensor]
"""Brings a task's logits (B, C, h, w) into the space that predictions are noised in."""


class DiffusionNetwork(nn.Module):
    """Preliminary network, condition and denoiser (Ye and Xu, CVPR 2024).

    Args:
        backbone: Pyramid of strides 4 to 32.
        num_outputs: {task: channels of its head}.
        width: Channels throughout; 512 as released.
        variant: Noise the `feature` of each task's decoder, or its `prediction`.
        schedule: The diffusion.
        num_blocks: Cross blocks of the denoiser.
        num_heads: Heads of their attention, of which `width` is a multiple.
        detach_condition: Let no gradient through the predictions that the condition is made of.
        detach_start: Let no gradient through what noise is put on.
        normalisers: Variant `prediction`: {task: what its logits become before noise is put on them, and its
            estimates before the last one}; logits stay what they are without.

    Raises:
        ConfigError: Unknown variant, or a width that the heads do not divide.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_outputs: Mapping[str, int],
        width: int = 512,
        variant: Variant = "feature",
        schedule: DiffusionSchedule | None = None,
        num_blocks: int = 4,
        num_heads: int = 4,
        detach_condition: bool = True,
        detach_start: bool = False,
        normalisers: Mapping[str, Normaliser] | None = None,
    ) -> None:
        super().__init__()
        if variant not in ("feature", "prediction"):
            raise ConfigError(f"unknown variant '{variant}'", "use feature or prediction.")
        if num_heads < 1 or width % num_heads:
            raise ConfigError(f"num_heads: {num_heads} at a width of {width}", f"use a divisor of {width}.")
        self.variant = variant
        self.schedule = schedule or DiffusionSchedule()
        self.detach_condition = detach_condition
        self.detach_start = detach_start
        self.normalisers = dict(normalisers or {})
        self.preliminary = SharedEncoderNetwork(backbone, num_outputs, width)
        self.condition = nn.Conv2d(sum(num_outputs.values()), width, 3, padding=1)
        nn.init.kaiming_normal_(self.condition.weight, mode="fan_out", nonlinearity="relu")
        assert self.condition.bias is not None
        nn.init.zeros_(self.condition.bias)
        in_channels = dict.fromkeys(num_outputs, width) if variant == "feature" else num_outputs
        self.denoiser = Denoiser(in_channels, width, num_blocks, num_heads)
        self.final_heads = nn.ModuleDict({name: nn.Conv2d(width, out, 1) for name, out in num_outputs.items()})

    def forward(self, image: Tensor, noise: NoiseSource, rows: Mapping[str, Sequence[int]] | None = None) -> Outputs:
        """Runs the preliminary network and the whole chain of denoising.

        Args:
            image: Normalised images (B, 3, H, W).
            noise: Noise for the start (step S) and for each drawing from the posterior (steps S - 1 to 1).
            rows: {task: rows of the batch that are denoised}; null denoises all. Other rows of the final logits are
                constant zeros: nothing was predicted there.

        Returns:
            Final and preliminary logits (B, C_t, h, w), for which h and w are those of stride 8.
        """
        first = self.preliminary(image)
        chosen = {name: list(range(len(image)) if rows is None else rows[name]) for name in first.final}
        start = self.start(first.features, first.final)
        final = self.denoise(start, self.condition_tokens(first.final), chosen, noise)
        if rows is not None:
            final = {name: _placed(logits, chosen[name], len(image)) for name, logits in final.items()}
        return Outputs(final=final, preliminary=[first.final])

    def start(self, features: Mapping[str, Tensor], logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What noise is put on, {task: (B, channels, h, w)}."""
        if self.variant == "feature":
            start = dict(features)
        else:
            start = {name: self._normalised(name, x) for name, x in logits.items()}
        return {name: x.detach() for name, x in start.items()} if self.detach_start else start

    def condition_tokens(self, logits: Mapping[str, Tensor]) -> Tensor:
        """The condition (B, N, width) that all tasks' preliminary logits make together."""
        joined = torch.cat(list(logits.values()), dim=1)
        return self.denoiser.tokens(self.condition(joined.detach() if self.detach_condition else joined))

    def denoise(
        self,
        start: Mapping[str, Tensor],
        condition: Tensor,
        rows: Mapping[str, Sequence[int]],
        noise: NoiseSource,
    ) -> dict[str, Tensor]:
        """Final logits {task: (len(rows), C_t, h, w)} of the chosen rows of each task.

        A task without a row goes through as an empty batch: its parameters then get exact zeros as gradient.
        """
        last = self.schedule.num_steps
        noisy = {}
        for name, chosen in rows.items():
            clean = start[name][_index(chosen, condition.device)]
            noisy[name] = self.schedule.noised(clean, noise(name, chosen, last, clean.shape[1:]))
        for step in reversed(range(1, last)):
            for name, estimate in self.denoiser(noisy, condition, rows, step).items():
                clean = estimate
                if self.variant == "prediction":
                    clean = self._normalised(name, self.final_heads[name](estimate))
                drawn = noise(name, rows[name], step, clean.shape[1:])
                noisy[name] = self.schedule.sample_previous(clean, noisy[name], step, drawn)
        return {name: self.final_heads[name](x) for name, x in self.denoiser(noisy, condition, rows, 0).items()}

    def _normalised(self, name: str, logits: Tensor) -> Tensor:
        return self.normalisers[name](logits) if name in self.normalisers else logits


def _index(rows: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(list(rows), dtype=torch.long).to(device)


def _placed(logits: Tensor, rows: Sequence[int], images: int) -> Tensor:
    """Logits of some rows, and zeros in the rest, (images, C, h, w)."""
    return logits.new_zeros((images, *logits.shape[1:])).index_copy(0, _index(rows, logits.device), logits)
