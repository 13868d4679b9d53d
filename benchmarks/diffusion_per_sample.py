"""DiffusionMTL's training as published, one (image, task) pair after the other, and how long it takes beside ours.

    python -m benchmarks.diffusion_per_sample --preset small --size 96 128

What `models/diffusion_mtl` is measured against, and what it is tested to agree with. The preliminary network runs on
the whole batch; then, for each image and each task that it is labelled for, the chain of denoising and both losses run
on that image alone. Measured is a training step without the optimiser (forward, loss, backward), on one thread, as the
median of interleaved runs; both ways must give the same loss and norm of gradients.

* Ye and Xu. DiffusionMTL: Learning Multi-Task Denoising Diffusion Model from Partially Annotated Data. CVPR 2024.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from data_modules import ProceduralDataModule
from mtdense.core.errors import DataError
from mtdense.data.sample import Batch
from mtdense.models import DiffusionMTL
from mtdense.models.canvas import upsample
from mtdense.models.diffusion_mtl import DiffusionNetwork, NoiseSource
from mtdense.reports.environment import device_name

TASKS = ["semseg", "human_parts", "saliency", "normals", "edges"]


# ---- step by step ----------------------------------------------------------------------------------------------------
def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, half-pixel centres."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def estimate(network: DiffusionNetwork, task: str, noisy: Tensor, condition: Tensor, step: int) -> Tensor:
    """The denoiser on one image and one task: noisy feature (1, C, h, w) and condition alike to the clean feature."""
    denoiser = network.denoiser
    stream = denoiser.pre_convs[task](noisy) + denoiser.step_embedding(step).view(1, -1, 1, 1)
    height, width = stream.shape[-2:]
    coarse = max(1, height // denoiser.reduction), max(1, width // denoiser.reduction)
    query = resized(condition, coarse).flatten(2).transpose(1, 2)
    other = resized(stream, coarse).flatten(2).transpose(1, 2)
    for block in denoiser.blocks:
        query, other = block(query, other)
    refined = resized(query.transpose(1, 2).reshape(1, -1, *coarse), (height, width)) + stream
    clean: Tensor = denoiser.task_heads[task](refined)
    return clean


def final_logits(
    network: DiffusionNetwork, task: str, row: int, feature: Tensor, condition: Tensor, noise: NoiseSource
) -> Tensor:
    """The chain of denoising of one image and one task, variant `feature`."""
    schedule, shape = network.schedule, feature.shape[1:]
    noisy = schedule.noised(feature, noise(task, [row], schedule.num_steps, shape))
    for step in range(schedule.num_steps - 1, 0, -1):
        clean = estimate(network, task, noisy, condition, step)
        noisy = schedule.sample_previous(clean, noisy, step, noise(task, [row], step, shape))
    logits: Tensor = network.final_heads[task](estimate(network, task, noisy, condition, 0))
    return logits


def loss_per_sample(model: DiffusionMTL, batch: Batch) -> Tensor:
    """The published loss: averages within an image, which counts (tasks / labelled tasks) / images."""
    network, tasks = model.network, model.tasks
    assert isinstance(network, DiffusionNetwork)
    first = network.preliminary(model.normalise(batch["image"], batch["meta"]["content"]))
    condition = network.condition(torch.cat([logits.detach() for logits in first.final.values()], dim=1))
    noise = model.noise(batch["id"], model.global_step)
    images = len(batch["image"])
    total = torch.zeros((), device=condition.device)
    for row in range(images):
        labelled = [name for name in tasks if batch["labelled"][name][row]]
        for name in labelled:
            one = slice(row, row + 1)
            feature = first.features[name][one]
            final = final_logits(network, name, row, feature, condition[one], noise)
            target = batch["targets"][name][one]
            valid = tasks[name].valid(target)
            for logits, weight in ((final, 1.0), (first.final[name][one], model.preliminary_weight)):
                terms = tasks[name].loss_terms(upsample(logits, target.shape[-2:]), target, valid)
                value = tasks[name].loss_value(terms).sum()
                scale = len(tasks) / len(labelled) / images
                total = total + scale * weight * model.loss_weights[name] * value
    return total


def loss_grouped(model: DiffusionMTL, batch: Batch) -> Tensor:
    """Ours: the loss of a training step."""
    losses = model.losses(model.run_network(batch), batch)
    return torch.stack([model.loss_weights[name] * value for name, value in losses.items()]).sum()


# ---- timing ----------------------------------------------------------------------------------------------------------
def make_model(preset: str, backbone: str, tasks: Sequence[str] = TASKS) -> DiffusionMTL:
    """A network of the tasks in the procedural rooms, ready to train."""
    torch.manual_seed(0)
    specs = ProceduralDataModule(tasks=list(tasks)).task_specs
    return DiffusionMTL(tasks=specs, backbone=backbone, preset=preset).train()  # type: ignore[arg-type]


def make_batch(size: tuple[int, int], images: int, label_setting: str, tasks: Sequence[str] = TASKS) -> Batch:
    """The first training batch of procedural rooms."""
    data = ProceduralDataModule(
        tasks=list(tasks),
        size=size,
        batch_size=images,
        train_images=20 * images,
        label_setting=label_setting,
    )
    data.setup("fit")
    batch: Batch = next(iter(data.train_dataloader()))
    return batch


def train_step(model: DiffusionMTL, batch: Batch, per_sample: bool) -> tuple[float, float]:
    """A step without the optimiser; the loss and the norm of all gradients."""
    model.zero_grad()
    loss = (loss_per_sample if per_sample else loss_grouped)(model, batch)
    loss.backward()
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    return loss.item(), torch.stack(norms).norm().item()


@dataclass(frozen=True)
class Timing:
    """Median seconds per step.

    Args:
        wall: Of the clock, grouped and in the loop.
        processor: Of this process's processor time, which other programs on the machine change little.
        difference: Largest relative difference of losses and norms of gradients.
    """

    wall: tuple[float, float]
    processor: tuple[float, float]
    difference: float


def measure(model: DiffusionMTL, batch: Batch, runs: int) -> Timing:
    """Times both ways in turn.

    Raises:
        DataError: They do not give the same loss and gradients, so that their times mean nothing.
    """
    wall: tuple[list[float], list[float]] = ([], [])
    processor: tuple[list[float], list[float]] = ([], [])
    difference = 0.0
    for run in range(runs + 1):
        results = []
        for i, per_sample in enumerate((False, True)):
            clocks = time.perf_counter(), time.process_time()
            results.append(train_step(model, batch, per_sample))  # its .item() waits for the device
            if run > 0:  # the first one warms up
                wall[i].append(time.perf_counter() - clocks[0])
                processor[i].append(time.process_time() - clocks[1])
        pairs = zip(*results, strict=True)
        difference = max(difference, *(abs(ours - theirs) / theirs for ours, theirs in pairs))
    if not difference <= 1e-3:
        raise DataError(
            f"losses or gradients differ by {difference} of their size (allowed: 0.001): the times mean nothing",
            "please report this with the versions that `mtdense doctor` prints.",
        )
    grouped, loop = ([statistics.median(times[i]) for times in (wall, processor)] for i in (0, 1))
    return Timing((grouped[0], loop[0]), (grouped[1], loop[1]), difference)


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small", choices=["paper", "small", "tiny"])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=6, help="images per step (6)")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs, of which the median counts (5)")
    parser.add_argument("--labels", nargs="+", default=["full", "random-label", "one-label"])
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = make_model(args.preset, args.backbone).to(args.device)
    print("| labels | pairs | grouped, s | per-sample loop, s | times faster | times less processor time |")
    print("|---|---|---|---|---|---|")
    for labels in args.labels:
        batch = make_batch(tuple(args.size), args.batch, labels)
        pairs = sum(int(flags.sum()) for flags in batch["labelled"].values())
        found = measure(model, model.transfer_batch_to_device(batch, args.device, 0), args.runs)
        ratios = [loop / grouped for grouped, loop in (found.wall, found.processor)]
        print(
            f"| {labels} | {pairs} | {found.wall[0]:.3f} | {found.wall[1]:.3f} | {ratios[0]:.2f} | {ratios[1]:.2f} |",
            flush=True,
        )
    print(
        f"\nSeconds per step of {args.batch} images of {args.size[0]}x{args.size[1]}, {len(TASKS)} tasks, preset "
        f"{args.preset} on {args.backbone}; median of {args.runs} interleaved runs; {device_name(args.device)}."
    )


if __name__ == "__main__":
    main()
