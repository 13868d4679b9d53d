"""`mtdense demo`: the main job, small: networks from partial labels beside their single-task baselines."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mtdense.core.errors import ConfigError

if TYPE_CHECKING:
    from data_modules import DenseDataModule
    from mtdense.cli.lightning_cli import MTDenseCLI
    from mtdense.data.sample import Batch
    from mtdense.reports import ContactRow

__all__ = ["add_parser", "run"]

SINGLE_TASK = "procedural/one-label/single_task-resnet18.yaml"
MULTI_TASK = "procedural/one-label/mtl_baseline-resnet18.yaml"
TASKS = ("semseg", "depth", "normals")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `demo`."""
    parser = subparsers.add_parser("demo", help="train from partial labels, compare with single-task baselines")
    parser.add_argument("--steps", type=int, default=None, help="optimiser steps per network (default: the YAML's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the networks and of the order of images")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of runs, table and pictures")
    parser.add_argument("--images", type=int, default=6, help="test images on the contact sheet")
    parser.add_argument("--config", action="append", default=[], help="more configuration over the experiments'")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Trains, tests, prints the table and draws the contact sheet.

    Raises:
        ConfigError: Fewer than one step or image.
    """
    # Lightning takes seconds to import.
    from mtdense.reports import build_table, contact_sheet, load_records, render, score_trivial
    from mtdense.reports.canonical import write_atomic
    from mtdense.reports.table_formats import print_table

    if (args.steps is not None and args.steps < 1) or args.images < 1:
        raise ConfigError(f"--steps {args.steps} --images {args.images}", "give whole numbers of 1 or more.")
    clock = time.perf_counter()
    folders = [args.out / f"single_task-{name}" for name in TASKS]
    kept = []
    for folder, name in zip(folders, TASKS, strict=True):
        # As long as a run's data live, the next run shares their rendered scenes.
        kept.append(train_and_test(args, SINGLE_TASK, folder, ["--data.tasks", f"[{name}]"])[0])
    folders.append(args.out / "mtl_baseline")
    train_data, cli = train_and_test(args, MULTI_TASK, folders[-1], [])
    print("Scoring predictors that never look at the image ...")
    for record in score_trivial(train_data, cli.model.tasks, seed=args.seed):
        folders.append(args.out / record.method)
        record.write(record.path_in(folders[-1]))
    table = build_table(load_records(folders))
    print_table(table)
    write_atomic(args.out / "table.md", render(table, "markdown"))
    sheet = contact_sheet(sheet_rows(cli, args.images), cli.model.tasks, args.out / "contact_sheet.png")
    print(f"Table: {args.out / 'table.md'}\nPictures: {sheet}\n{time.perf_counter() - clock:.0f} s in all.")
    return 0


def train_and_test(
    args: argparse.Namespace, experiment: str, folder: Path, options: list[str]
) -> tuple[DenseDataModule, MTDenseCLI]:
    """One network: `fit` into `folder`, then `test` of its last checkpoint; the data of the first, the second."""
    from mtdense.cli.lightning_cli import run_lightning

    print(f"Training {folder.name} ...", flush=True)
    configs = [part for path in args.config for part in ("--config", path)]
    fit = ["fit", "--config", experiment, *configs, *options, "--run_dir", str(folder), "--overwrite", "true"]
    fit += ["--seed_everything", str(args.seed)]
    if args.steps is not None:
        # One validation, at the end: the demo takes the last weights and chooses nothing.
        fit += ["--trainer.max_steps", str(args.steps), "--trainer.val_check_interval", str(args.steps)]
    data: DenseDataModule = run_lightning(fit).datamodule
    checkpoint = str(folder / "checkpoints" / "last.ckpt")
    quiet = ["--trainer.enable_model_summary", "false"]
    return data, run_lightning(["test", "--ckpt_path", checkpoint, "--seed_everything", str(args.seed), *quiet])


def sheet_rows(cli: MTDenseCLI, limit: int) -> list[ContactRow]:
    """Image, targets and predictions of the first test images."""
    from mtdense.reports import rows_from_batch

    rows: list[ContactRow] = []
    model = cli.model.eval().cpu()
    batch: Batch
    for batch in cli.datamodule.test_dataloader():
        with torch.no_grad():
            predictions = model.predict_batch(batch)
        rows += rows_from_batch(batch, predictions, limit - len(rows))
        if len(rows) >= limit:
            break
    return rows
