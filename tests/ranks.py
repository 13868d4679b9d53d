"""The ranks of a test: processes of their own, joined by gloo, all running one function."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

ROOT = Path(__file__).parents[1]
SECONDS = 240


def run_ranks(
    function: Callable[..., Any], folder: Path, *arguments: str, world: int = 2, seconds: float = SECONDS
) -> list[Any]:
    """What function(rank, world, *arguments) returns on each rank.

    Args:
        function: Of a module of the tests; what it returns is tensors and plain values, in lists and dicts.
        folder: Empty, for the meeting point and the results.
        *arguments: More for the function.
        world: Number of ranks.
        seconds: After which they are given up.
    """
    environment = {name: value for name, value in os.environ.items() if name != "LOCAL_WORLD_SIZE"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    what = [function.__module__, function.__name__, str(world), str(folder), *arguments]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.ranks", str(rank), *what],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        for rank in range(world)
    ]
    try:
        outputs = [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(outputs)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(world)]


def _run(rank: int, module: str, function: str, world: int, folder: str, *arguments: str) -> None:
    import mtdense  # noqa: F401 - first, for its torchvision guard

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    result = getattr(importlib.import_module(module), function)(rank, world, *arguments)
    torch.save(result, f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    _run(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), *sys.argv[5:])
