"""The template for SLURM gives a command that the program takes, the same after each requeue."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.test_commands import check_lightning

TEMPLATE = Path(__file__).parents[2] / "experiments" / "slurm" / "fit.sbatch"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_template_starts_a_run_that_goes_on(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    (tmp_path / "srun").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {asked}\n')
    (tmp_path / "srun").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS_PER_NODE": "4",
    }
    command = ["bash", str(TEMPLATE), "nyud_atrc/full/bridgenet-vit_large.yaml", "runs/my run", "--model.lr", "1e-5"]
    subprocess.run(command, check=True, env=environment, timeout=60)
    first, program, *words = asked.read_text().splitlines()
    assert (first, program, words[0]) == ("--kill-on-bad-exit=1", "mtdense", "fit")
    check_lightning(words)
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--run_dir"] == "runs/my run" and options["--resume"] == "auto" and options["--model.lr"] == "1e-5"
    assert (options["--trainer.num_nodes"], options["--trainer.devices"]) == ("2", "4")
    text = TEMPLATE.read_text(encoding="utf-8")
    # A task for each GPU, and a signal to the steps, not to the script, before the end.
    assert re.findall(r"--(?:ntasks-per-node|gres)=(?:gpu:)?(\d+)", text) == ["4", "4"]
    assert "#SBATCH --signal=USR1@120\n" in text and "#SBATCH --requeue\n" in text
    missing = subprocess.run(["bash", str(TEMPLATE)], capture_output=True, text=True, env=environment, timeout=60)
    assert missing.returncode != 0 and "the experiment" in missing.stderr
