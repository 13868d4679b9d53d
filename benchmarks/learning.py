"""Is the learning of finished demos real? Compares their networks with predictors that never look at the image.

    python benchmarks/learning.py runs/demo-0 runs/demo-1 runs/demo-2

For every network of every demo: its scores, those of the best constant and of the per-pixel mean map, and its scores
when each test image is paired with the targets of the next one, which must leave at most a tenth of the advantage over
the mean map. Exit code 1 where that fails or a margin is missed: mIoU at least 0.10 above the constant (and above the
mean map), RMSE at most 0.90 times and mErr at most 0.80 times the better of the two.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import mtdense
from mtdense.data.sample import Batch
from mtdense.models import DenseModule
from mtdense.models.checkpoint import read_checkpoint, resolve_class
from mtdense.reports import TRIVIAL_METHODS, RunRecord
from mtdense.tasks import Task

# How far a network must be from the best constant, and how far from the mean map (a share of the trivial error, or a
# distance in mIoU).
MARGINS: dict[str, Callable[[float, dict[str, float]], bool]] = {
    "semseg": lambda value, trivial: value >= trivial["constant"] + 0.10 and value > trivial["mean_map"],
    "depth": lambda value, trivial: value <= 0.90 * min(trivial.values()),
    "normals": lambda value, trivial: value <= 0.80 * min(trivial.values()),
}


def advantage_left(straight: float, shuffled: float, trivial: dict[str, float]) -> float:
    """Share of the advantage over the mean map, which knows how rooms look on the average, that shuffling leaves."""
    return max(0.0, (shuffled - trivial["mean_map"]) / (straight - trivial["mean_map"]))


def batches_of(checkpoint: Path) -> list[Batch]:
    """The test set that the checkpoint's data module gives."""
    info = read_checkpoint(checkpoint)
    assert info.data_class is not None
    data: Any = resolve_class(info.data_class, object)(**info.data_args)
    data.setup("test")
    return list(data.test_dataloader())


@torch.no_grad()
def score(model: DenseModule, batches: list[Batch], shift: int) -> dict[str, float]:
    """Primary metric per task with image i scored against the targets of image i + shift."""
    predictions = [model.predict_batch(batch) for batch in batches]
    results = {}
    for name, task in model.tasks.items():
        target = torch.cat([batch["targets"][name] for batch in batches]).roll(-shift, 0)
        metric = task.metrics()[task.primary_metric]
        task.update_metric(metric, torch.cat([p[name] for p in predictions]), target, task.valid(target))
        results[name] = float(metric.compute())
    return results


def trivial_scores(demo: Path, task: Task) -> dict[str, float]:
    """Scores of the constant and of the mean map."""
    values = {}
    for method in TRIVIAL_METHODS:
        record = RunRecord.read(demo / method / "records" / f"trivial-{method}.json")
        value = record.metric(task.name, task.primary_metric)
        assert value is not None
        values[method] = value
    return values


def main() -> int:
    """Prints a Markdown table; 1 if a margin is missed or shuffling keeps an advantage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demos", type=Path, nargs="+")
    print("| demo | network | score | value | constant | mean map | margin met | shuffled | advantage left |")
    print("|---|---|---|---|---|---|---|---|---|")
    good = True
    for demo in parser.parse_args().demos:
        for run in [*(demo / f"single_task-{task}" for task in MARGINS), demo / "mtl_baseline"]:
            checkpoint = run / "checkpoints" / "last.ckpt"
            model, batches = mtdense.load(checkpoint), batches_of(checkpoint)
            straight, shuffled = score(model, batches, 0), score(model, batches, 1)
            for name, task in model.tasks.items():
                trivial = trivial_scores(demo, task)
                met = MARGINS[name](straight[name], trivial)
                left = advantage_left(straight[name], shuffled[name], trivial)
                good &= met and left <= 0.1
                figures = [straight[name], trivial["constant"], trivial["mean_map"]]
                print(
                    f"| {demo.name} | {run.name} | {name} {task.primary_metric} | "
                    + " | ".join(f"{figure:.4f}" for figure in figures)
                    + f" | {'yes' if met else 'NO'} | {shuffled[name]:.4f} | {left:.0%} |",
                    flush=True,
                )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
