"""Shared by all tests: no network, one thread, quiet loggers."""

from __future__ import annotations

import os

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import mtdense  # noqa: F401 - first, for its torchvision guard

CONF = Path(__file__).parent / "conf"

# Before any fixture: the last digits of a sum depend on the number of threads.
torch.set_num_threads(1)


@pytest.fixture
def mtdense_main(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the program in process: (exit code, what it wrote to standard error)."""
    from mtdense.cli.main import main

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return code, capsys.readouterr().err

    return run
