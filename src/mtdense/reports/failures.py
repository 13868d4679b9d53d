"""What a run was doing when it broke off, written into its folder."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.optim import Optimizer

from mtdense.core.errors import NonFiniteLossError
from mtdense.reports.environment import utc_now
from mtdense.training.distributed import gather_over_ranks, sum_over_ranks

__all__ = ["FailureReport", "FiniteGradients"]


class FailureReport(Callback):
    """Writes RUN/failures/step<N>-rank<R>.json when a run ends with an error: the error, the place, the images.

    The images of the batch before are named, too: where one makes gradients infinite, the next one shows it.
    """

    def __init__(self) -> None:
        self._batches: deque[tuple[str, int, list[str]]] = deque(maxlen=2)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Notes the batch."""
        self._note("train", trainer, batch)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Notes the batch."""
        self._note("validation", trainer, batch)

    def on_test_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Notes the batch."""
        self._note("test", trainer, batch)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Writes the file, unless somebody asked for the end."""
        if isinstance(exception, KeyboardInterrupt | SystemExit) or getattr(trainer, "fast_dev_run", False):
            return
        batches = [{"stage": stage, "step": step, "images": images} for stage, step, images in reversed(self._batches)]
        told = {
            "error": type(exception).__name__,
            "message": str(exception),
            "rank": trainer.global_rank,
            "ranks": trainer.world_size,
            "step": trainer.global_step + 1,
            "epoch": trainer.current_epoch,
            "batch": batches[0] if batches else None,
            "batch_before": batches[1] if len(batches) > 1 else None,
            "time": utc_now(),
        }
        folder = Path(trainer.default_root_dir) / "failures"
        path = folder / f"step{trainer.global_step + 1}-rank{trainer.global_rank}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        except OSError as error:  # the disk may be what is full
            exception.add_note(f"The report {path} could not be written: {error}")
        else:
            exception.add_note(f"See {path}.")

    def _note(self, stage: str, trainer: L.Trainer, batch: Any) -> None:
        images = [str(image) for image in batch.get("id", [])] if isinstance(batch, dict) else []
        self._batches.append((stage, trainer.global_step + 1, images))


class FiniteGradients(Callback):
    """Stops before the optimiser if a gradient is NaN or infinite while the loss was not.

    On a GPU the answer is read one step later, so that nobody waits for it: `SaveLast` saves no weights that it spoilt.
    Half precision has its own remedy, a scaler that leaves such steps out, and is left to it.
    """

    def __init__(self) -> None:
        self._images: list[str] = []
        self._asked: tuple[Tensor, int, list[str]] | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Collects the images of a step: of several batches where gradients are accumulated."""
        self._images += [str(image) for image in batch["id"]]

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Looks at all gradients, summed over ranks and unscaled."""
        self._answer()
        images, self._images = self._images, []
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if getattr(trainer.precision_plugin, "scaler", None) is not None or not gradients:
            return
        # The sum of absolute values: one pass, and NaN or infinite if and only if a gradient is, or overflows.
        norms = torch.stack([norm.to(gradients[0].device) for norm in torch._foreach_norm(gradients, 1)])
        # Where weights are split over ranks, each sees only its part; all must stop.
        self._asked = sum_over_ranks((~torch.isfinite(norms)).sum()), trainer.global_step + 1, images
        if gradients[0].device.type == "cpu":
            self._answer()

    def _answer(self) -> None:
        asked, self._asked = self._asked, None
        if asked is None or int(asked[0]) == 0:
            return
        # All ranks are here; their gradients are one, so that nobody knows of whose images.
        found = [", ".join(images) for images in gather_over_ranks(asked[2])]
        told = found[0] if len(found) == 1 else "; ".join(f"{images} (rank {i})" for i, images in enumerate(found))
        raise NonFiniteLossError(
            f"the loss of step {asked[1]} is finite, its gradient is not; images of this step: {told}",
            "look at these images and their labels, lower `lr`, or clip gradients (`trainer.gradient_clip_val`). "
            "Earlier checkpoints are as they were.",
        )
