"""Whether loading and scoring for a long time takes ever more memory or files.

    python -m benchmarks.endurance --samples 200000 [--config EXPERIMENT] [--out RECORD.json] [OPTIONS OF mtdense fit]

Runs epochs of training samples (augmented, partly labelled) and test samples through the experiment's own loaders, and
a trivial network's predictions (a colour's shade is every output) into the experiment's own losses and metrics. Prints
the memory of this process and of its data workers (resident; shared pages counted in each) and the open files of both,
at every twentieth of the way. The verdict compares the last quarter with the second: what the first needs for caches
is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtdense.cli.building import build_experiment
from mtdense.models import DenseModule
from mtdense.models.outputs import Outputs

DEFAULT = "procedural/one-label/mtl_baseline-resnet18.yaml"
TINY = ["--model.backbone", "tiny", "--model.preset", "tiny"]
ALLOWED_GROWTH = 0.02
"""Share by which the last quarter may be above the second; an allocator breathes."""


def trivial_network(model: DenseModule, batch: Any) -> Outputs:
    """Every output channel is the image's mean shade times a number of the channel's own."""
    shade = batch["image"].mean(1, keepdim=True)
    final = {}
    for name, task in model.tasks.items():
        factors = torch.linspace(-1, 1, task.num_outputs).view(1, -1, 1, 1)
        final[name] = shade * factors
    return Outputs(final=final)


def samples(model: DenseModule, data: Any) -> Iterator[int]:
    """Numbers of samples as they are done with: epochs of training data, each followed by the test set, without end."""
    data.setup("fit")
    data.setup("test")
    train, test = data.train_dataloader(), data.test_dataloader()
    model.run_network = lambda batch: trivial_network(model, batch)  # type: ignore[method-assign]
    epoch = 0
    while True:
        train.batch_sampler.set_epoch(epoch)
        for loader in (train, test):
            for batch in loader:
                outputs, _ = model._evaluate(batch, "test")
                torch.stack(list(model.losses(outputs, batch).values())).sum().item()
                yield len(batch["id"])
            for metrics in model.stage_metrics("test").values():
                for metric in metrics.values():
                    metric.compute()
                    metric.reset()
        epoch += 1


def resources() -> dict[str, int]:
    """Resident memory (MiB) and open files of this process and of its children; number of processes."""
    found = {"rss_mib": 0, "files": 0, "worker_rss_mib": 0, "worker_files": 0, "processes": 0}
    own = os.getpid()
    children = Path(f"/proc/self/task/{own}/children").read_text().split()
    for process in (str(own), *children):
        try:
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
            files = len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208 - only names
        except OSError:  # ended meanwhile
            continue
        kind = "" if process == str(own) else "worker_"
        found[f"{kind}rss_mib"] += pages * os.sysconf("SC_PAGE_SIZE") // 2**20
        found[f"{kind}files"] += files
        found["processes"] += 1
    return found


def grown(rows: list[dict[str, Any]], key: str) -> float:
    """How far the mean of the last quarter lies above that of the second, as a share."""
    quarter = len(rows) // 4
    before, after = (np.mean([row[key] for row in part]) for part in (rows[quarter : 2 * quarter], rows[-quarter:]))
    return float(after / max(before, 1) - 1)


def run(names: list[str], options: list[str], total: int) -> dict[str, Any]:
    """The record: rows of resources by samples done, and the verdict."""
    torch.set_num_threads(1)
    model, data = build_experiment(names, [*TINY, *options])
    model.eval()
    rows: list[dict[str, Any]] = []
    done, start = 0, time.perf_counter()
    with torch.no_grad():
        for number in samples(model, data):
            done += number
            while done >= total * (len(rows) + 1) / 20 and len(rows) < 20:
                seconds = time.perf_counter() - start
                rows.append({"samples": done, "seconds": round(seconds, 1), **resources()})
                print(f"{len(rows) * 5:3d} %", *(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            if done >= total:
                break
    keys = ("rss_mib", "worker_rss_mib", "files", "worker_files", "processes")
    growth = {key: round(grown(rows, key), 4) for key in keys}
    flat = all(growth[key] <= (ALLOWED_GROWTH if key.endswith("mib") else 0) for key in keys)
    return {"config": names, "options": options, "rows": rows, "growth": growth, "flat": flat}


def main() -> int:
    """The command; exit code 1 if something grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--config", action="append")
    parser.add_argument("--out", type=Path)
    args, options = parser.parse_known_args()
    record = run(args.config or [DEFAULT], options, args.samples)
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print("growth from the second to the last quarter:", record["growth"], "flat" if record["flat"] else "GROWS")
    return 0 if record["flat"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
