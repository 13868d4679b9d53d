"""What the balanced sampler changes at equal steps, on photographs of which none has all labels.

    python benchmarks/balanced_sampler.py --root DIR --out RUNS

DIR is the folder that `merge_photographs.py` makes. The grid, fixed here: two label masks read from files (`all`: every
label; `scarce`: of the images with depth and normals only every tenth keeps them) x `min_labelled` 0 (a plain shuffle)
and 2 x seeds 0, 1, 2; everything else as in `folder/camvid_sevenscenes.yaml`, with 350 optimiser steps, last weights,
scored once on the test images. Finished runs are kept, so that the command can be repeated after an interruption.
Prints the mean of each score, and the paired difference with its 95 % interval (t, 2 degrees of freedom).
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np

from mtdense.cli.data import data_from
from mtdense.cli.main import main as mtdense
from mtdense.data import LabelMask, write_label_mask
from mtdense.reports import RunRecord

EXPERIMENT = "folder/camvid_sevenscenes.yaml"
MASKS = ("all", "scarce")
SAMPLERS = (0, 2)
SEEDS = (0, 1, 2)
STEPS = 350
T_95 = 4.303


def write_masks(root: Path, out: Path) -> dict[str, Path]:
    """Writes the masks of the grid."""
    data = data_from([EXPERIMENT], ["--data.root", str(root)])
    whole = data.published_mask()
    depth = [whole.tasks.index(task) for task in ("depth", "normals")]
    table = whole.labelled.copy()
    rows = np.flatnonzero(table[:, depth].all(axis=1))
    table[np.setdiff1d(rows, rows[::10])[:, None], depth] = False
    masks = {"all": whole, "scarce": LabelMask(whole.ids, whole.tasks, table)}
    paths = {name: out / f"mask-{name}.json" for name in masks}
    for name, mask in masks.items():
        write_label_mask(paths[name], mask, dataset=data.name, setting=name, seed=None, overwrite=True)
        print(f"mask {name}: {mask.counts()}")
    return paths


def train(root: Path, run: Path, mask: Path, min_labelled: int, seed: int) -> RunRecord:
    """One run of the grid, or what an earlier one left."""
    record = run / "records" / "test.json"
    if not record.exists():
        data = ["--data.root", root, "--data.label_setting", "file", "--data.label_file", mask]
        data += ["--data.min_labelled", min_labelled, "--data.only_labelled", "true"]
        steps = ["--trainer.max_steps", STEPS, "--trainer.val_check_interval", STEPS]
        fit = ["fit", "--config", EXPERIMENT, *data, *steps, "--seed_everything", seed, "--run_dir", run]
        test = ["test", "--ckpt_path", run / "checkpoints" / "last.ckpt"]
        for command in ([*fit, "--overwrite", "true"], test):
            if mtdense([str(part) for part in command]) != 0:
                raise SystemExit(f"{run} failed")
    return RunRecord.read(record)


def main() -> None:
    """Runs the grid and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    masks = write_masks(arguments.root.resolve(), arguments.out.resolve())
    grid = [(mask, m, seed) for seed in SEEDS for mask in MASKS for m in SAMPLERS]
    records = {
        key: train(arguments.root.resolve(), arguments.out / f"{key[0]}-{key[1]}-{key[2]}", masks[key[0]], *key[1:])
        for key in grid
    }
    print("| mask | score | min_labelled 0 | min_labelled 2 | difference | 95 % interval | repeats per epoch |")
    print("|---|---|---|---|---|---|---|")
    for mask in MASKS:
        repeats = (records[mask, 2, 0].data.get("top_ups") or {}).get("images")
        for i, metric in enumerate(records[mask, 0, 0].metrics):
            plain, balanced = ([records[mask, m, seed].metrics[i].value for seed in SEEDS] for m in SAMPLERS)
            differences = [b - a for a, b in zip(plain, balanced, strict=True)]
            mean, half = statistics.mean(differences), T_95 * statistics.stdev(differences) / len(SEEDS) ** 0.5
            cells = [mask, f"{metric.task} {metric.name}", *(f"{statistics.mean(v):.4f}" for v in (plain, balanced))]
            print(
                "| "
                + " | ".join([*cells, f"{mean:+.4f}", f"{mean - half:+.4f} to {mean + half:+.4f}", f"{repeats}"])
                + " |"
            )


if __name__ == "__main__":
    main()
