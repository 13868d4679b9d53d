"""How long a training step takes, architecture beside architecture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from mtdense.core.errors import ConfigError, DataError
from mtdense.core.seeds import derive_seed
from mtdense.data.sample import Batch, whole_canvas
from mtdense.models import DenseModule
from mtdense.models.compiled import CompileMode, compile_network
from mtdense.reports.bench.parts import forward_shares, operator_shares
from mtdense.reports.bench.step import Precision, StepClock, count_flops, peak_memory, step
from mtdense.tasks import Task
from mtdense.training import create_optimizer

__all__ = ["Arrangement", "Labels", "StepTime", "random_batch", "random_target", "time_steps"]

Labels = Literal["full", "one-label"]


@dataclass(frozen=True)
class Arrangement:
    """How a step is run.

    Args:
        precision: Of forward pass and losses.
        compile: See `DenseModule`.
    """

    precision: Precision = "32"
    compile: bool | CompileMode = False


@dataclass(frozen=True)
class StepTime:
    """What the steps of one architecture took.

    Args:
        name: The experiment.
        method: The architecture.
        seconds: Of one step (forward, losses, backward, optimiser), median over runs.
        spread: (shortest, longest).
        split: Seconds of each of `PARTS`, medians over runs.
        loss: Of the first step.
        params: Parameters of the network that are trained.
        flops: Of a step; see `count_flops`.
        peak_memory: Bytes of weights, optimiser state and whatever a step held beyond them at its peak; None where the
            system does not tell.
        forward: Shares of the forward pass by part of the network, if asked for; see `forward_shares`.
        operators: Shares of the step by operator, if asked for; see `operator_shares`.
    """

    name: str
    method: str
    seconds: float
    spread: tuple[float, float]
    split: dict[str, float]
    loss: float
    params: int
    flops: int
    peak_memory: int | None
    forward: dict[str, float] = field(default_factory=dict)
    operators: dict[str, float] = field(default_factory=dict)


def random_target(task: Task, images: int, size: Sequence[int], generator: torch.Generator) -> Tensor:
    """Targets (images, H, W) or (images, 3, H, W) of random values, every pixel valid.

    Raises:
        ConfigError: The task's labels are not maps.
    """
    height, width = size
    if task.stored_as == "classes":
        return torch.randint(0, task.num_outputs, (images, height, width), generator=generator)
    like = task.to_target(task.invalid_label(1, 1))
    if task.stored_as == "binary":
        return torch.randint(0, 2, (images, height, width), generator=generator).to(like.dtype)
    if task.stored_as == "vectors":
        return torch.nn.functional.normalize(torch.randn(images, 3, height, width, generator=generator), dim=1)
    if task.stored_as == "values":
        return torch.rand(images, height, width, generator=generator) + 1.0
    raise ConfigError(f"no random labels are known for the task '{task.name}'", "leave it out by `--data.tasks`.")


def random_batch(
    tasks: Mapping[str, Task], images: int, size: Sequence[int], labels: Labels = "full", seed: int = 0
) -> Batch:
    """A batch of noise.

    Args:
        tasks: The architecture's tasks.
        images: Images of the batch.
        size: Their height and width.
        labels: `full`, or one task each in turn (`one-label`).
        seed: Of images and targets.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "bench train") % 2**63)
    targets, labelled = {}, {}
    for t, (name, task) in enumerate(tasks.items()):
        flags = torch.tensor([labels == "full" or i % len(tasks) == t for i in range(images)])
        target = random_target(task, images, size, generator)
        target[~flags] = task.to_target(task.invalid_label(*size))
        targets[name], labelled[name] = target, flags
    return Batch(
        image=torch.rand(images, 3, *size, generator=generator),
        targets=targets,
        labelled=labelled,
        id=[f"noise-{i}" for i in range(images)],
        meta=whole_canvas(images, size, "noise"),
    )


def time_steps(
    modules: Mapping[str, DenseModule],
    images: int,
    size: Sequence[int],
    labels: Labels = "full",
    runs: int = 5,
    seed: int = 0,
    arrangements: Mapping[str, Arrangement] | None = None,
    parts: bool = False,
) -> list[StepTime]:
    """Times training steps, one of each architecture in turn, after some of each for warm-up.

    Args:
        modules: {name: architecture on its device}.
        images: Images of a batch.
        size: Their height and width.
        labels: See `random_batch`.
        runs: Timed steps of each.
        seed: See `random_batch`.
        arrangements: {name: how its steps are run}; plainly where left out.
        parts: Ask also where the time goes.

    Raises:
        ConfigError: There is no compiler for the device.
        DataError: A loss is not finite.
    """
    arrangements = arrangements or {}
    courses = [
        _Course(
            name, module, arrangements.get(name, Arrangement()), random_batch(module.tasks, images, size, labels, seed)
        )
        for name, module in modules.items()
    ]
    for _ in range(runs):
        for course in courses:
            course.run()
    return [course.result(parts) for course in courses]


class _Course:
    """One architecture, made ready: counted, compiled, warmed up, its memory taken."""

    def __init__(self, name: str, module: DenseModule, arrangement: Arrangement, batch: Batch) -> None:
        self.name, self.module, self.precision = name, module.train(), arrangement.precision
        self.batch = module.transfer_batch_to_device(batch, module.device, 0)
        h = module.hparams
        self.optimizer = create_optimizer(
            module.parameter_groups(), h["optimizer"], h["lr"], h["weight_decay"], h["momentum"], h["fused_optimizer"]
        )
        self.flops, self.loss = count_flops(module, self.batch)
        if not math.isfinite(self.loss):
            raise DataError(f"the loss of {name} is {self.loss}", "its time means nothing; try another seed.")
        compile_network(module.network, arrangement.compile, module.device)
        self.compiled = bool(arrangement.compile)
        self.clock = StepClock(module.device)
        self.times: list[dict[str, float]] = []
        self.run()
        state = [x for entry in self.optimizer.state.values() for x in entry.values() if isinstance(x, Tensor)]
        held = sum(x.numel() * x.element_size() for x in [*module.parameters(), *module.buffers(), *state])
        module.zero_grad(set_to_none=True)
        most = peak_memory(module.device, self.run)
        self.peak = None if most is None else most + held
        self.times.clear()

    def run(self) -> None:
        """One step."""
        step(self.module, self.optimizer, self.batch, self.precision, self.clock)
        self.times.append(self.clock.seconds())

    def result(self, parts: bool) -> StepTime:
        """What the runs took."""
        totals = [sum(times.values()) for times in self.times]
        module, batch = self.module, self.batch
        return StepTime(
            self.name,
            module.method,
            statistics.median(totals),
            (min(totals), max(totals)),
            {part: statistics.median(times[part] for times in self.times) for part in self.times[0]},
            self.loss,
            sum(p.numel() for p in module.network.parameters() if p.requires_grad),
            self.flops,
            self.peak,
            # A compiled network has no parts any more.
            forward_shares(module, batch, self.precision) if parts and not self.compiled else {},
            operator_shares(module, self.optimizer, batch, self.precision) if parts else {},
        )
