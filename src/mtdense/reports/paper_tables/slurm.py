"""A table's runs as a Slurm array: one element per training."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mtdense.core.errors import ConfigError
from mtdense.reports.paper_tables.runs import TableRun

__all__ = ["slurm_script"]

_SCRIPT = """\
#!/bin/bash
# {what}: {count} trainings, one per element of the array. Adapt the lines of #SBATCH, then: sbatch THIS_FILE
# An element that was stopped goes on when it is submitted again; one that is done ends at once.
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus=1
#SBATCH --time={hours}:00:00
#SBATCH --signal=B:INT@120
set -euo pipefail
cd {here}
runs=(
{runs}
)
run=${{runs[${{SLURM_ARRAY_TASK_ID:?is set by Slurm}}]}}
# Slurm makes no folder for logs; what went wrong up to here is in the slurm-*.out where the script was submitted.
mkdir -p {logs}
exec >> {logs}/"${{SLURM_ARRAY_JOB_ID:-array}}_$SLURM_ARRAY_TASK_ID.log" 2>&1
exec {program} table run {table} {options} --run "$run"

# One training on several machines, by hand, here on 16 devices: --prepare writes the run's configuration, torchrun
# trains it, and a last `table run` tests it. An experiment's batch is that of all devices together, so BATCH is
# `data.init_args.batch_size` of NAME/trial.yaml divided by their number; a run of another batch counts as stale.
#   {program} table run {table} {options} --run NAME --prepare
#   srun --nodes=2 --ntasks-per-node=1 torchrun --nnodes=2 --nproc-per-node=8 --rdzv-id="$SLURM_JOB_ID" \\
#     --rdzv-backend=c10d --rdzv-endpoint="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):29500" \\
#     -m mtdense fit --config {out}/NAME/trial.yaml --run_dir {out}/NAME \\
#     --trainer.num_nodes 2 --trainer.devices 8 --data.batch_size BATCH
#   {program} table run {table} {options} --run NAME
"""


def slurm_script(
    table: str, runs: Sequence[TableRun], options: Sequence[str], out: Path, hours: float | None, program: str
) -> str:
    """The script.

    Args:
        table: Id of the table, or "all".
        runs: What is to be trained.
        options: Of `mtdense table run`, besides the run.
        out: Folder of the runs.
        hours: Longest expected training; None: nobody knows, and a day is asked for.
        program: The program with its first words, such as "mtdense".

    Raises:
        ConfigError: There is nothing to train.
    """
    if not runs:
        raise ConfigError(f"{table} has nothing left to train", "call `mtdense table show` for its results.")
    return _SCRIPT.format(
        what=f"Table {table}" if table != "all" else "All tables",
        name=f"mtdense-{Path(table).stem}",
        table=shlex.quote(table),
        count=len(runs),
        last=len(runs) - 1,
        hours=24 if hours is None else max(1, round(1.5 * hours + 0.5)),
        out=shlex.quote(str(out)),
        logs=shlex.quote(str(out / "slurm")),
        here=shlex.quote(str(Path.cwd())),
        runs="\n".join(f"  {shlex.quote(run.name)}" for run in runs),
        program=program,
        options=" ".join(map(shlex.quote, options)),
    )
