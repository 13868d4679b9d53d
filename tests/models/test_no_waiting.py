"""No training step makes a GPU wait for the host: nothing on the way reads a value back.

Counted at PyTorch's operators, on a CPU: reading a scalar, shapes that depend on values, and whole tensors that become
Python's or NumPy's. A training step's own check that its loss is finite (`DenseModule.training_step`) is one more read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mtdense import models
from mtdense.cli.bench_train import all_architectures
from tests.models.helpers import SPECS, make_batch

WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "unique_dim", "equal", "is_nonzero"}

# {method: (reads, why)}: what is known to be read, and why it stays.
KNOWN: dict[str, tuple[dict[str, int], str]] = {
    "diffusion_mtl_feature": ({"tolist": 1}, "which images are denoised for a task depends on the labels"),
    "mtpsl": ({"tolist": 6, "nonzero": 4}, "pairs of tasks depend on the labels; views move the canvas"),
    "semi_supervised": ({"tolist": 6, "nonzero": 4}, "as MTPSL: which images get pseudo-labels, and where they show"),
}
# Of views, only one of the reads is the device's: rows and columns of a canvas are counted on the host.

# Prompts need a transformer.
SWIN = {
    "backbone": "swin_tiny_patch4_window7_224",
    "backbone_options": {
        "overrides": {"embed_dim": 8, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8], "window_size": 4}
    },
}
VIT = {"backbone": "vit_base", "backbone_options": {"overrides": {"embed_dim": 16, "depth": 4, "num_heads": 2}}}
OPTIONS: dict[str, dict[str, Any]] = {"task_prompter": SWIN, "tsp_transformer": VIT}


class Reads(TorchDispatchMode):
    """Counts operators whose result the host needs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name in ("index", "index_put", "index_put_") and any(
            isinstance(x, Tensor) and x.dtype == torch.bool for x in args[1]
        )
        if name in WAITING or masks:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def reads() -> Iterator[Counter[str]]:
    """What is read within: operators, and methods that end in Python."""
    with pytest.MonkeyPatch.context() as patch, Reads() as mode:
        for name in ("tolist", "numpy", "__array__"):
            patch.setattr(Tensor, name, _counted(getattr(Tensor, name), name, mode.found))
        yield mode.found


def _counted(method: Callable[..., Any], name: str, found: Counter[str]) -> Callable[..., Any]:
    def call(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        found[name] += 1
        return method(self, *args, **kwargs)

    return call


def test_reads_are_seen() -> None:
    x = torch.arange(4.0)
    with reads() as found:
        x.sum().item()
        x[x > 1]
        torch.nonzero(x)
        x.tolist()
        bool(x.sum() > 1)
    assert found == {"_local_scalar_dense": 2, "index": 1, "nonzero": 1, "tolist": 1}


@pytest.mark.parametrize("method", sorted(all_architectures()))
def test_training_does_not_wait(method: str) -> None:
    name = all_architectures()[method][1].rsplit(".", 1)[1]
    torch.manual_seed(0)
    options = {"backbone": "tiny", "preset": "tiny", "input_size": [32, 40], **OPTIONS.get(method, {})}
    model = getattr(models, name)(tasks=SPECS, **options).train()
    batch = make_batch(SPECS, {name: [i == 0, i != 0] for i, name in enumerate(SPECS)})
    with reads() as found:
        total, _ = model.training_loss(batch)
        total.backward()
    assert dict(found) == KNOWN.get(method, ({}, ""))[0]
