"""Weights that are fixed, or follow from uncertainties, progress or lots; none asks for a gradient of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

import lightning as L
import torch
from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.core.seeds import derive_rng
from mtdense.training.distributed import sum_over_ranks, world_size
from mtdense.training.recipes import ParameterGroup
from mtdense.training.weighting.base import (
    LossWeighting,
    StepInfo,
    check_finite,
    check_positive,
    check_whole,
    present_tasks,
)

__all__ = ["DynamicAverage", "Fixed", "Random", "Uncertainty"]


class Fixed(LossWeighting):
    """The plain sum: weights are those of the configuration."""

    def forward(self, losses: Mapping[str, Tensor], own: Sequence[Tensor], info: StepInfo) -> Tensor:
        """See `LossWeighting`."""
        return torch.stack([*losses.values(), *own]).sum()

    def check(self, trainer: L.Trainer) -> None:
        """Nothing: it works wherever training does."""


class Uncertainty(LossWeighting):
    r"""Weights from learned uncertainties (Kendall, Gal and Cipolla, CVPR 2018): sum_t exp(-2 s_t) L_t + s_t.

    s_t = log sigma_t. The paper halves the losses of regression; that is the same with s_t moved by log(2) / 2, and
    with s_t = 0 training starts with the fixed weights. A task of which no image of an optimiser step has a label
    takes no part in it: its s_t neither counts nor moves, not even by the optimiser's momentum.

    Args:
        tasks: See `LossWeighting`.
        initial_log_sigma: s_t at the start.
        lr: Learning rate of s_t; null takes the network's.
    """

    def __init__(self, tasks: Sequence[str], initial_log_sigma: float = 0.0, lr: float | None = None) -> None:
        super().__init__(tasks)
        check_finite("initial_log_sigma", initial_log_sigma)
        if lr is not None:
            check_positive("lr", lr)
        self.lr = lr
        self.log_sigma = nn.ParameterDict({n: nn.Parameter(torch.tensor(float(initial_log_sigma))) for n in tasks})
        self._present: Tensor | None = None

    def forward(self, losses: Mapping[str, Tensor], own: Sequence[Tensor], info: StepInfo) -> Tensor:
        """See `LossWeighting`."""
        present = present_tasks(losses)
        self._present = present if self._present is None else self._present | present
        terms = []
        for (name, loss), flag in zip(losses.items(), present, strict=True):
            log_sigma = self.log_sigma[name]
            factor = torch.exp(-2 * log_sigma)
            self.weights[name] = factor.detach()
            # The product with the flag keeps the parameter in the graph, which plain DDP asks for.
            terms.append(factor * loss + flag * log_sigma)
        return torch.stack([*terms, *own]).sum()

    def before_step(self) -> None:
        """Takes the gradient from absent tasks: a zero would still let Adam move them."""
        if self._present is not None:
            for name, flag in zip(self.tasks, self._present.tolist(), strict=True):
                if not flag:
                    self.log_sigma[name].grad = None
        self._present = None

    def groups(self, others: Iterable[ParameterGroup]) -> list[ParameterGroup]:
        """With the uncertainties last, without weight decay: it would pull them to 0."""
        return [*super().groups(others), ParameterGroup(list(self.log_sigma.values()), self.lr, 0.0)]


class Random(LossWeighting):
    """Weights by lot (Lin, Ye, Zhang and Tsang, TMLR 2022): the softmax of normal numbers, anew in every step.

    They are a function of (seed, step), and scaled to a mean of 1 over the tasks that the step has labels of.

    Args:
        tasks: See `LossWeighting`.
        seed: Of the lots.
    """

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks)
        check_whole("seed", seed, 0)
        self.seed = seed

    def forward(self, losses: Mapping[str, Tensor], own: Sequence[Tensor], info: StepInfo) -> Tensor:
        """See `LossWeighting`."""
        draws = derive_rng(self.seed, "loss weights", info.step).standard_normal(len(self.tasks))
        present = present_tasks(losses)
        shares = torch.from_numpy(draws).exp().to(present.device, torch.float32) * present
        factors = shares * present.sum() / shares.sum().clamp(min=torch.finfo(torch.float32).tiny)
        self.weights = dict(zip(self.tasks, factors, strict=True))
        return torch.stack([*(self.weights[name] * loss for name, loss in losses.items()), *own]).sum()


class DynamicAverage(LossWeighting):
    """Weights from progress (DWA: Liu, Johns and Davison, CVPR 2019): T * softmax(ratio / temperature).

    A task's ratio is its mean loss in the last interval over that in the one before, 1 until there are two. The mean
    is over the labelled images of all ranks, weighted as the reducer weighs them; an interval in which a task has no
    label is left out of its history. Tasks of weight 0 have no share and do not count in T.

    Args:
        tasks: See `LossWeighting`.
        temperature: Large ones make weights equal; 2 in the paper.
        interval: `epoch`, as in the paper, or a number of optimiser steps.
    """

    def __init__(
        self, tasks: Sequence[str], temperature: float = 2.0, interval: int | Literal["epoch"] = "epoch"
    ) -> None:
        super().__init__(tasks)
        check_positive("temperature", temperature)
        if interval != "epoch":
            check_whole("interval", interval, 1)
        self.temperature = temperature
        self.interval = interval
        self.batches: Tensor
        self.number: Tensor
        self.mean: Tensor
        self.images: Tensor
        self.past: Tensor
        self.register_buffer("batches", torch.tensor(0))
        self.register_buffer("number", torch.tensor(-1))
        self.register_buffer("mean", torch.zeros(len(self.tasks)))
        self.register_buffer("images", torch.zeros(len(self.tasks)))
        self.register_buffer("past", torch.full((2, len(self.tasks)), math.nan))

    def forward(self, losses: Mapping[str, Tensor], own: Sequence[Tensor], info: StepInfo) -> Tensor:
        """See `LossWeighting`."""
        # Not Lightning's epoch: a run that was stopped within one and goes on counts it twice.
        epoch = self.interval == "epoch"
        if epoch and not math.isfinite(info.epoch_batches):
            raise ConfigError("`loss_weighting: dwa` and an epoch without end", "give `interval` in optimiser steps.")
        number = int(self.batches) // info.epoch_batches if epoch else info.step // cast(int, self.interval)
        if int(self.number) != number:
            self._close()
            self.number.fill_(number)
        self.batches += 1
        ratio = self.past[1] / self.past[0]
        ratio = torch.where(torch.isfinite(ratio), ratio, torch.ones_like(ratio))
        weighted = torch.tensor([name not in info.idle for name in self.tasks], device=ratio.device)
        shares = torch.softmax((ratio / self.temperature).masked_fill(~weighted, -math.inf), 0)
        factors = torch.where(weighted, weighted.sum() * shares, 0.0)
        self._count(losses, info)
        self.weights = dict(zip(self.tasks, factors, strict=True))
        return torch.stack([*(self.weights[name] * loss for name, loss in losses.items()), *own]).sum()

    @torch.no_grad()
    def _close(self) -> None:
        """Ends an interval."""
        known = self.images > 0
        self.past.copy_(torch.where(known, torch.stack([self.past[1], self.mean]), self.past))
        self.mean.zero_()
        self.images.zero_()

    @torch.no_grad()
    def _count(self, losses: Mapping[str, Tensor], info: StepInfo) -> None:
        """Adds a step to the interval's means; one collective."""
        flags = {name: flags.float() for name, flags in info.labelled.items() if name in losses}
        labels = torch.stack(list(flags.values())).sum(0)
        ratio = torch.where(labels > 0, len(flags) / labels.clamp(min=1), 0.0)
        each = ratio if info.scale == "task_count_ratio" else torch.ones_like(ratio)
        nothing = torch.zeros((), device=labels.device)
        local = [torch.tensor(float(labels.numel()), device=labels.device)]
        local += [(flags[name] * each).sum() if name in flags else nothing for name in self.tasks]
        local += [losses[name].detach().float() / world_size() for name in self.tasks]
        total = sum_over_ranks(torch.stack(local))
        images, values = total[1 : 1 + len(self.tasks)], total[1 + len(self.tasks) :]
        images = images * (values != 0)
        if info.scale != "labelled_count":
            values = values * total[0] / images.clamp(min=torch.finfo(torch.float32).tiny)
        share = images / (self.images + images).clamp(min=torch.finfo(torch.float32).tiny)
        # A running mean: sums in float32 would lose digits over a long epoch.
        self.mean += torch.where(images > 0, (values - self.mean) * share, 0.0)
        self.images += images
