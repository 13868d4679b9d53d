"""Networks that `torch.compile` has worked over."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Literal

import torch
from torch import nn

from mtdense.core.errors import ConfigError

__all__ = ["CompileMode", "compile_network"]

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]


def compile_network(network: nn.Module, mode: bool | CompileMode, device: torch.device) -> None:
    """Lets `torch.compile` work over a network, in place: names of weights stay, and nothing happens until it runs.

    Args:
        network: Any network.
        mode: Of `torch.compile`; true is `default`, false does nothing.
        device: Where it will run.

    Raises:
        ConfigError: There is no compiler for this device.
    """
    if mode is False:
        return
    if device.type == "cpu":
        wanted = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
        found = any(shutil.which(name) for name in wanted)
        missing = None if found else f"no C++ compiler ({' or '.join(wanted)})"
    else:
        missing = None if importlib.util.find_spec("triton") else "no Triton"
    if missing:
        raise ConfigError(f"`compile` where there is {missing}", "install it, or train with `--model.compile false`.")
    network.compile(mode="default" if mode is True else mode)
