"""Weights of the tasks' losses from their gradients on what they share, by the methods of TorchJD."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import lightning as L
import torch
from torch import Tensor

from mtdense.core.errors import ConfigError
from mtdense.core.optional import require
from mtdense.core.seeds import derive_seed
from mtdense.training.distributed import sum_over_ranks, world_size
from mtdense.training.weighting.base import LossWeighting, StepInfo, check_finite, check_whole

__all__ = ["OPTIONS", "GradientWeighting"]

OPTIONS: dict[str, dict[str, Any]] = {
    "pcgrad": {"seed": 0},
    "mgda": {},
    "cagrad": {"c": 0.4},
    "imtl_g": {},
    "aligned_mtl": {"scale_mode": "min"},
}
"""{method: {option: default}}."""

_NAMES = {
    "pcgrad": "PCGradWeighting",
    "mgda": "MGDAWeighting",
    "cagrad": "CAGradWeighting",
    "imtl_g": "IMTLGWeighting",
    "aligned_mtl": "AlignedMTLWeighting",
}
_CHUNK = 1 << 20
_Gradients = Sequence[Tensor | None]


class GradientWeighting(LossWeighting):
    """Mixes the tasks' gradients on shared parameters with weights from the inner products of these gradients.

    The gradient of each task is computed by itself and averaged over the ranks before anything is compared, so that
    the ranks together do what one rank with all images does. What comes back is a scalar with the value of the summed
    losses whose gradient is the mixed one: the backward pass that follows, with DDP, accumulation and clipping, is that
    of any loss, and nobody else writes `.grad`.

    Parameters that the losses of two tasks or more reach are shared. On the others, such as heads, and for the
    architecture's own losses, the weight is 1. Tasks whose gradient is zero take no part.

    Args:
        tasks: See `LossWeighting`.
        method: A key of `OPTIONS`.
        options: Options of the method.

    Raises:
        ConfigError: An option out of range.
    """

    def __init__(self, tasks: Sequence[str], method: str, options: Mapping[str, Any]) -> None:
        super().__init__(tasks)
        self.method = method
        self.options = {**OPTIONS[method], **options}
        c, mode, seed = (self.options.get(name) for name in ("c", "scale_mode", "seed"))
        if c is not None:
            check_finite("c", c)
            if c < 0:
                raise ConfigError(f"weighting option c is {c!r}", "give a number of at least 0.")
        if mode not in (None, "min", "median", "rmse"):
            raise ConfigError(f"weighting option scale_mode is {mode!r}", "use min, median or rmse.")
        if seed is not None:
            check_whole("seed", seed, 0)
        self._solver: Any = None
        self._spoilt: list[str] = []

    @property
    def not_finite(self) -> str:
        """The tasks whose gradient was not finite."""
        return f"the gradient of {', '.join(self._spoilt)} is not" if self._spoilt else super().not_finite

    def check(self, trainer: L.Trainer) -> None:
        """Refuses what gradients by task do not go with, and a missing package.

        Raises:
            ConfigError: 16-bit float precision, whose small gradients vanish without a scaled loss, or a strategy that
                splits parameters.
            MissingDependencyError: TorchJD is missing or too old.
        """
        super().check(trainer)
        if str(trainer.precision).startswith("16"):
            raise ConfigError(
                f"`loss_weighting: {self.method}` with the precision {trainer.precision}",
                "take bf16-mixed or 32-true: gradients of single tasks are not scaled against underflow.",
            )
        self.solver()

    def forward(self, losses: Mapping[str, Tensor], own: Sequence[Tensor], info: StepInfo) -> Tensor:
        """See `LossWeighting`; leaves no graph of the network behind."""
        values = list(losses.values())
        with torch.autocast(values[0].device.type, enabled=False):
            rows = [_gradients(value, info, True) for value in values]
            rest = _gradients(torch.stack(list(own)).sum(), info, False) if own else [None] * len(info.parameters)
            return self._combined(torch.stack([*values, *own]).sum().detach(), rows, rest, info)

    @torch.no_grad()
    def _combined(self, value: Tensor, rows: Sequence[_Gradients], rest: _Gradients, info: StepInfo) -> Tensor:
        reached = [sum(row[i] is not None for row in rows) for i in range(len(info.parameters))]
        mixed, finite = self._mixed(rows, [i for i, count in enumerate(reached) if count > 1], info)
        parameters, gradients = [], []
        for i, parameter in enumerate(info.parameters):
            parts = [mixed[i]] if i in mixed else [row[i] for row in rows]
            found = [part for part in (*parts, rest[i]) if part is not None]
            if found:
                parameters.append(parameter)
                gradients.append(torch.stack(found).sum(0) if len(found) > 1 else found[0])
        # All ranks know alike whether a gradient is not finite, and the training step then stops on each.
        value = value if finite else torch.full_like(value, math.nan)
        with torch.enable_grad():
            result: Tensor = _WithGradients.apply(value, gradients, *parameters)  # type: ignore[no-untyped-call]
        return result

    def _mixed(
        self, rows: Sequence[_Gradients], shared: Sequence[int], info: StepInfo
    ) -> tuple[dict[int, Tensor], bool]:
        """{number of a shared parameter: its gradient}, and whether all gradients are finite; one collective."""
        if not shared:
            self.weights = {name: torch.ones(()) for name in self.tasks}
            return {}, True
        like = [info.parameters[i] for i in shared]
        jacobian = torch.stack([_flat([row[i] for i in shared], like) for row in rows])
        jacobian = sum_over_ranks(jacobian) / world_size()
        gramian = _gramian(jacobian)
        finite = bool(torch.isfinite(gramian).all())
        sane = torch.isfinite(gramian.diagonal()).tolist()
        self._spoilt = [task for task, good in zip(self.tasks, sane, strict=True) if not good]
        factors = self.factors(gramian, info.step) if finite else torch.full((len(rows),), math.nan)
        factors = factors.to(jacobian)
        self.weights = dict(zip(self.tasks, factors, strict=True))
        pieces = (factors @ jacobian).split([p.numel() for p in like])
        return {i: piece.view(p.shape).to(p.dtype) for i, piece, p in zip(shared, pieces, like, strict=True)}, finite

    def factors(self, gramian: Tensor, step: int) -> Tensor:
        """(T,) weights from the inner products (T, T) of the tasks' gradients; that of a zero gradient is 0."""
        keep = (gramian.diagonal() > 0).nonzero().flatten()
        factors = torch.zeros(len(gramian), dtype=torch.float64)
        if len(keep):
            present = gramian[keep][:, keep]
            # Every method here ignores the scale, save that TorchJD takes small gradients for none.
            present = present / present.diagonal().mean()
            generator = torch.default_generator
            state = generator.get_state()
            try:
                # PCGrad's order of tasks: the same on all ranks, and nobody else's random numbers change.
                generator.manual_seed(derive_seed(self.options.get("seed", 0), "loss weights", step) % 2**63)
                factors[keep] = self.solver()(present).to(torch.float64)
            finally:
                generator.set_state(state)
        return factors

    def solver(self) -> Any:
        """The method of TorchJD.

        Raises:
            MissingDependencyError: TorchJD, or what CAGrad needs beside it, is missing or too old.
        """
        if self._solver is None:
            package: ModuleType = require("torchjd.aggregation", "weighting", "0.18")
            if self.method == "cagrad":
                require("cvxpy", "weighting")
                require("clarabel", "weighting")
            options = {name: value for name, value in self.options.items() if name != "seed"}
            self._solver = getattr(package, _NAMES[self.method])(**options)
        return self._solver


class _WithGradients(torch.autograd.Function):
    """A scalar with given gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor) -> Any:
        return None, None, *(gradient * outer for gradient in ctx.gradients)


def _gradients(value: Tensor, info: StepInfo, again: bool) -> _Gradients:
    """Gradient of a scalar on each parameter; None where it is none of its function."""
    if not value.requires_grad:
        return [None] * len(info.parameters)
    return torch.autograd.grad(value, info.parameters, retain_graph=again, allow_unused=True)


def _flat(gradients: _Gradients, like: Sequence[Tensor]) -> Tensor:
    pairs = zip(gradients, like, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1).float() for g, p in pairs])


def _gramian(jacobian: Tensor) -> Tensor:
    """(T, T) inner products of rows (T, N), on the CPU, in float64 as far as the device has it."""
    wide = torch.float32 if jacobian.device.type == "mps" else torch.float64
    total = torch.zeros(len(jacobian), len(jacobian), dtype=wide, device=jacobian.device)
    for part in jacobian.split(_CHUNK, dim=1):
        rows = part.to(wide)
        total += rows @ rows.T
    return total.cpu().double()
