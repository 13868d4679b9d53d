"""Is the learning of finished demos real? Compares their networks with predictors that never look at the image.

    python benchmarks/learning.py runs/demo-0 runs/demo-1 runs/demo-2

For every network of every demo: its scores, the better of the best constant and the per-pixel mean map, and its scores
when each test image is paired with the targets of the next one, which must lose the advantage. Exit code 1 where a
margin is missed. Margins: mIoU at least 0.10 above, RMSE at most 0.90 times, mErr at most 0.80 times.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

import mtdense
from mtdense.data.sample import Batch
from mtdense.models import DenseModule
from mtdense.models.base import upsample
from mtdense.models.checkpoint import read_checkpoint, resolve_class
from mtdense.reports import RunRecord

PRIMARY = {"semseg": "mIoU", "depth": "RMSE", "normals": "mErr"}


def meets(task: str, value: float, trivial: float) -> bool:
    """Whether the margin over the predictor that never looks is there."""
    if task == "semseg":
        return value >= trivial + 0.10
    return value <= trivial * {"depth": 0.90, "normals": 0.80}[task]


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
    images = torch.cat([batch["image"] for batch in batches])
    content = torch.cat([batch["meta"]["content"] for batch in batches])
    results = {}
    for name, task in model.tasks.items():
        target = torch.cat([batch["targets"][name] for batch in batches]).roll(-shift, 0)
        metric = task.metrics()[PRIMARY[name]]
        for i in range(0, len(images), 16):
            part = slice(i, i + 16)
            logits = model(images[part], content[part]).final[name]
            prediction = task.predict(upsample(logits, target.shape[-2:]))
            task.update_metric(metric, prediction, target[part], task.valid(target[part]))
        results[name] = float(metric.compute())
    return results


def best_trivial(demo: Path, task: str) -> float:
    """The better of constant and mean map."""
    values = []
    for method in ("constant", "mean_map"):
        record = RunRecord.read(demo / method / "records" / f"trivial-{method}.json")
        value = record.metric(task, PRIMARY[task])
        assert value is not None
        values.append(value)
    return max(values) if task == "semseg" else min(values)


def main() -> int:
    """Prints a Markdown table; 1 if a margin is missed or shuffling keeps one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demos", type=Path, nargs="+")
    arguments = parser.parse_args()
    assert mtdense.__version__
    print("| demo | network | task | score | best without looking | margin met | shuffled | advantage gone |")
    print("|---|---|---|---|---|---|---|---|")
    good = True
    for demo in arguments.demos:
        runs = [demo / f"single_task-{task}" for task in PRIMARY] + [demo / "mtl_baseline"]
        for run in runs:
            checkpoint = run / "checkpoints" / "last.ckpt"
            model, batches = mtdense.load(checkpoint), batches_of(checkpoint)
            straight, shuffled = score(model, batches, 0), score(model, batches, 1)
            for task, value in straight.items():
                trivial = best_trivial(demo, task)
                met, gone = meets(task, value, trivial), not meets(task, shuffled[task], trivial)
                good &= met and gone
                print(
                    f"| {demo.name} | {run.name} | {task} {PRIMARY[task]} | {value:.4f} | {trivial:.4f} | {met} "
                    f"| {shuffled[task]:.4f} | {gone} |",
                    flush=True,
                )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
