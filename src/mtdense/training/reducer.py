"""The one place where losses of partially labelled images become one number per task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from mtdense.core.errors import ConfigError
from mtdense.tasks.base import LossTerms, Task
from mtdense.training.distributed import sum_over_ranks, world_size

__all__ = ["PartialLabelReducer", "Pool", "Scale"]

Pool = Literal["image", "batch"]
Scale = Literal["task_count_ratio", "labelled_count", "image_count"]


@dataclass(frozen=True)
class PartialLabelReducer:
    r"""Reduces per-image loss sums to one loss per task over the images that carry its label.

    With T tasks, a global batch of B images (all ranks together), n_b labelled tasks of image b and N_t images
    labelled for task t:

    ========  ==================  =====================================================================
    pool      scale               loss of task t
    ========  ==================  =====================================================================
    image     task_count_ratio    1/B * sum_b (T / n_b) * value(b)          (DiffusionMTL, specs: section 3.1)
    image     labelled_count      1/N_t * sum_b value(b)
    image     image_count         1/B * sum_b value(b)                      (MTPSL, specs: section 3.2)
    batch     labelled_count      value(pixels of all labelled images)      (ATRC, InvPT)
    batch     task_count_ratio    N_t/B * value(pixels, those of image b weighted by T / n_b)   [our extension]
    batch     image_count         N_t/B * value(pixels of all labelled images)                  [our extension]
    ========  ==================  =====================================================================

    Sums over b run over the images labelled for t only. Numerators and counts are summed over ranks, so N ranks of
    B images give the gradient of one rank of N * B: the local value is scaled by the number of ranks because DDP
    averages gradients. A task without a label gives an exact zero that keeps the graph, so plain DDP works.

    Args:
        pool: Average pixels within each image first (`image`), or over the whole batch (`batch`).
        scale: How images of few labels count; see the table.

    Raises:
        ConfigError: Unknown `pool` or `scale`.
    """

    pool: Pool = "image"
    scale: Scale = "task_count_ratio"

    def __post_init__(self) -> None:
        for name, value, known in (("pool", self.pool, get_args(Pool)), ("scale", self.scale, get_args(Scale))):
            if value not in known:
                raise ConfigError(f"unknown {name} '{value}'", f"use one of {', '.join(known)}.")

    def __call__(
        self,
        tasks: Mapping[str, Task],
        terms: Mapping[str, LossTerms],
        labelled: Mapping[str, Tensor],
        across_ranks: bool = True,
    ) -> dict[str, Tensor]:
        """Losses by task, unweighted.

        Args:
            tasks: The network's tasks, in one order on all ranks.
            terms: Sums and counts of each task, one row per image.
            labelled: {task: (B,) bool}.
            across_ranks: False reduces this rank's images alone, without a collective: ranks of an unpadded
                evaluation do not have equally many batches.

        Returns:
            {task: scalar}. Under DDP the value is this rank's share times the number of ranks: its mean over ranks
            is the loss.
        """
        mask = {name: labelled[name].to(terms[name].sums.dtype) for name in tasks}
        per_image = torch.stack(list(mask.values())).sum(0)
        ratio = torch.where(per_image > 0, len(tasks) / per_image.clamp(min=1), 0.0)
        totals = self._totals(tasks, terms, mask, across_ranks)
        ranks = world_size() if across_ranks else 1
        images = totals["images"]
        losses = {}
        for name, task in tasks.items():
            weight = mask[name] * (ratio if self.scale == "task_count_ratio" else 1.0)
            if self.pool == "image":
                value = (task.loss_value(terms[name]) * weight).sum()
                value = value / (totals[name][0].clamp(min=1) if self.scale == "labelled_count" else images)
            else:
                sums = (terms[name].sums * weight[:, None]).sum(0, keepdim=True)
                value = task.loss_value(LossTerms(sums, totals[name][None, 1:])).sum()
                if self.scale != "labelled_count":
                    value = value * totals[name][0] / images
            losses[name] = value * ranks
        return losses

    @staticmethod
    def _totals(
        tasks: Mapping[str, Task], terms: Mapping[str, LossTerms], mask: Mapping[str, Tensor], across_ranks: bool
    ) -> dict[str, Tensor]:
        """{"images": B, task: [N_t, pixel counts of labelled images...]}, by at most one collective."""
        first = next(iter(mask.values()))
        # float64: pixel counts of large batches exceed float32's exact integers. MPS has no float64.
        dtype = torch.float32 if first.device.type == "mps" else torch.float64
        parts = [torch.tensor([first.numel()], dtype=dtype, device=first.device)]
        for name in tasks:
            counts = (terms[name].counts.to(dtype) * mask[name].to(dtype)[:, None]).sum(0)
            parts.append(torch.cat([mask[name].to(dtype).sum()[None], counts]))
        local = torch.cat(parts).detach()
        summed = (sum_over_ranks(local) if across_ranks else local).to(first.dtype)
        pieces = summed.split([part.numel() for part in parts])
        return {"images": pieces[0][0], **dict(zip(tasks, pieces[1:], strict=True))}
