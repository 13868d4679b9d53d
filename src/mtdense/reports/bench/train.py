"""How long a training step takes, architecture beside architecture."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mtdense.core.errors import ConfigError, DataError
from mtdense.core.seeds import derive_seed
from mtdense.data.sample import Batch, whole_canvas
from mtdense.models import DenseModule
from mtdense.tasks import Task
from mtdense.training import create_optimizer

__all__ = ["Labels", "StepTime", "random_batch", "random_target", "time_steps"]

Labels = Literal["full", "one-label"]


@dataclass(frozen=True)
class StepTime:
    """What the steps of one architecture took.

    Args:
        name: The experiment.
        method: The architecture.
        seconds: Of one step (forward, losses, backward, optimiser), median over runs.
        spread: (shortest, longest).
        loss: Of the first step.
        params: Parameters that are trained.
        peak_memory: Most bytes of tensors on the GPU during a step; None on a CPU.
    """

    name: str
    method: str
    seconds: float
    spread: tuple[float, float]
    loss: float
    params: int
    peak_memory: int | None


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
) -> list[StepTime]:
    """Times training steps, one of each architecture in turn, after one of each for warm-up.

    Args:
        modules: {name: architecture on its device}.
        images: Images of a batch.
        size: Their height and width.
        labels: See `random_batch`.
        runs: Timed steps of each.
        seed: See `random_batch`.

    Raises:
        DataError: A loss is not finite.
    """
    prepared = {}
    for name, module in modules.items():
        h = module.hparams
        optimizer = create_optimizer(
            module.parameter_groups(), h["optimizer"], h["lr"], h["weight_decay"], h["momentum"], h["fused_optimizer"]
        )
        batch = module.transfer_batch_to_device(
            random_batch(module.tasks, images, size, labels, seed), module.device, 0
        )
        prepared[name] = (module.train(), optimizer, batch)
    first: dict[str, float] = {}
    times: dict[str, list[float]] = {name: [] for name in modules}
    peaks: dict[str, int | None] = dict.fromkeys(modules)
    for run in range(runs + 1):
        for name, (module, optimizer, batch) in prepared.items():
            cuda = module.device.type == "cuda"
            if cuda:
                torch.cuda.reset_peak_memory_stats(module.device)
                torch.cuda.synchronize(module.device)
            clock = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            loss, _ = module.training_loss(batch)
            loss.backward()
            optimizer.step()
            if cuda:
                torch.cuda.synchronize(module.device)
                peaks[name] = torch.cuda.max_memory_allocated(module.device)
            if run:
                times[name].append(time.perf_counter() - clock)
            else:
                first[name] = loss.item()
    for name, value in first.items():
        if not torch.isfinite(torch.tensor(value)):
            raise DataError(f"the loss of {name} is {value}", "its time means nothing; lower the learning rate.")
    return [
        StepTime(
            name,
            module.method,
            statistics.median(times[name]),
            (min(times[name]), max(times[name])),
            first[name],
            sum(p.numel() for p in module.parameters() if p.requires_grad),
            peaks[name],
        )
        for name, module in modules.items()
    ]
