"""The semi-supervised baseline as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mtdense.core.errors import ConfigError
from mtdense.data.sample import Batch
from mtdense.models.canvas import upsample, zero_of
from mtdense.models.output_form import output_form
from mtdense.models.outputs import Outputs
from mtdense.models.semi_supervised.pseudo_labels import Thresholds, pseudo_labels, pseudo_losses
from mtdense.models.views import TwoViewModule
from mtdense.training.distributed import sum_over_ranks, world_size

__all__ = ["SemiSupervised"]


class SemiSupervised(TwoViewModule):
    """The MTL baseline, with pseudo-labels for tasks that an image has no label of: the SSL rows of MTPSL's tables.

    The prediction of the first view, moved onto the second, is the second's label where it is sure enough.

    Args:
        preset: See `MTLBaseline`.
        unlabelled_weight: Weight of the pseudo-labels' losses, beside each task's own weight; 1 [inferred].
        probability_threshold: See `Thresholds`.
        value_threshold: See `Thresholds`.
        vector_threshold: See `Thresholds`.
        kwargs: See `TwoViewModule` and `DenseModule`.

    Raises:
        ConfigError: An option out of range, or a task without a form of output.
    """

    method: ClassVar[str] = "semi_supervised"

    def __init__(
        self,
        preset: Literal["paper", "small", "tiny"] = "paper",
        unlabelled_weight: float = 1.0,
        probability_threshold: float = 0.95,
        value_threshold: float = 0.1,
        vector_threshold: float = 0.1,
        **kwargs: Any,
    ) -> None:
        if not 0 <= unlabelled_weight < float("inf"):
            raise ConfigError(f"unlabelled_weight is {unlabelled_weight}", "give a number of at least 0.")
        if not 0.5 <= probability_threshold < 1:
            raise ConfigError(f"probability_threshold is {probability_threshold}", "give a number in [0.5, 1).")
        for option, value in (("value_threshold", value_threshold), ("vector_threshold", vector_threshold)):
            if not 0 < value < float("inf"):
                raise ConfigError(f"{option} is {value}", "give a number above 0.")
        super().__init__(preset=preset, **kwargs)
        for task in self.tasks.values():
            output_form(task)  # says now if a task has none
        self.thresholds = Thresholds(probability_threshold, value_threshold, vector_threshold)

    def extra_losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """{"pseudo_<task>"}: mean over the images of all ranks, of which those with a label of the task count zero."""
        second: Outputs = outputs.features["second"]
        shown: Tensor = outputs.features["content"]
        images = torch.tensor(float(len(batch["id"])), device=shown.device)
        share = world_size() / sum_over_ranks(images) * self.hparams["unlabelled_weight"]
        unlabelled = self._unlabelled(batch)
        losses = {}
        for name, task in self.tasks.items():
            rows = unlabelled[name]
            if not rows:
                losses[f"pseudo_{name}"] = zero_of(second.final[name])
                continue
            teacher = upsample(outputs.final[name].detach()[rows], shown.shape[-2:])
            student = upsample(second.final[name][rows], shown.shape[-2:])
            view = outputs.features["view"].take(rows)
            target, kept = pseudo_labels(task, teacher, student, view, self.thresholds)
            values = pseudo_losses(task, student, target, kept, shown[rows])
            losses[f"pseudo_{name}"] = self.loss_weights[name] * share * values.sum()
        return losses

    def _unlabelled(self, batch: Batch) -> dict[str, list[int]]:
        """{task: rows of the batch without its label}; one message from the device for all tasks."""
        none = torch.zeros(len(batch["id"]), dtype=torch.bool, device=batch["image"].device)
        flags = torch.stack([batch["labelled"].get(name, none) for name in self.tasks]).tolist()
        return {
            name: [i for i, flag in enumerate(row) if not flag] for name, row in zip(self.tasks, flags, strict=True)
        }
