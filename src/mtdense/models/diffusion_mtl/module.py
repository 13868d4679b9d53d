"""DiffusionMTL as a LightningModule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.data.sample import Batch
from mtdense.models.base import DenseModule
from mtdense.models.diffusion_mtl.network import DiffusionNetwork, NoiseSource, Normaliser, Variant
from mtdense.models.diffusion_mtl.schedule import DiffusionSchedule
from mtdense.models.mtl_baseline import PRESETS
from mtdense.models.noise import normal_noise
from mtdense.models.outputs import Outputs
from mtdense.tasks import Task

__all__ = ["DiffusionMTL", "PredictionSpace"]

PredictionSpace = Literal["logits", "probabilities", "tanh"]


class DiffusionMTL(DenseModule):
    """Multi-task dense prediction by denoising what the MTL baseline predicts (Ye and Xu, CVPR 2024).

    In training only images labelled for a task are denoised for it; the final logits of the others are zeros, which no
    loss looks at. In evaluation all are, with noise that belongs to the image: the same in any batch, on any rank.

    Args:
        variant: `feature` noises each task's decoder feature, as in the released code; `prediction` its preliminary
            prediction. The release has no code of the second: where it differs from the first, it is inferred.
        preset: `paper` (width 512), `small` (128) or `tiny` (16, for tests).
        num_steps: Steps of the diffusion.
        beta_start: Variance of the first step.
        beta_end: Variance of the last step.
        num_blocks: Cross blocks of the denoiser.
        num_heads: Heads of their attention.
        preliminary_weight: Weight of the loss on the preliminary predictions.
        detach_condition: The condition does not train the preliminary heads (as released).
        detach_start: What noise is put on is not trained through the denoising. Off as released; for variant
            `prediction` off is inferred.
        prediction_space: Variant `prediction` (inferred): noise `logits`, or `probabilities` (classes; values and
            vectors stay as they are), or the `tanh` of the logits. Estimates before the last step are brought into the
            same space.
        noise_seed: Seed of the noise, which is a function of this seed, image id, task and denoising step, and in
            training of the training step.
        noise_device: Make noise on the `cpu`, the same on every machine, or on the network's own `device`, which on
            GPUs is faster but gives other values there.
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: Unknown or impossible option.
    """

    method: ClassVar[str] = "diffusion_mtl_feature"

    def __init__(
        self,
        variant: Variant = "feature",
        preset: Literal["paper", "small", "tiny"] = "paper",
        num_steps: int = 2,
        beta_start: float = 1e-3,
        beta_end: float = 1e-2,
        num_blocks: int = 4,
        num_heads: int = 4,
        preliminary_weight: float = 0.5,
        detach_condition: bool = True,
        detach_start: bool = False,
        prediction_space: PredictionSpace = "logits",
        noise_seed: int = 0,
        noise_device: Literal["cpu", "device"] = "cpu",
        **kwargs: Any,
    ) -> None:
        for name, value, known in (
            ("prediction_space", prediction_space, get_args(PredictionSpace)),
            ("noise_device", noise_device, ("cpu", "device")),
        ):
            if value not in known:
                raise ConfigError(f"unknown {name} '{value}'", f"use one of {', '.join(known)}.")
        if variant == "feature" and prediction_space != "logits":
            raise ConfigError(
                f"prediction_space: {prediction_space} with variant 'feature', which noises no prediction",
                "leave `prediction_space` out, or set `variant: prediction`.",
            )
        super().__init__(**kwargs)
        self.preliminary_weight = preliminary_weight
        self.method = f"diffusion_mtl_{variant}"  # type: ignore[misc]  # tables tell the two variants apart

    def build_network(self) -> nn.Module:
        """The network of `variant` and `preset` on the chosen backbone."""
        h = self.hparams
        backbone = self.build_backbone()
        return DiffusionNetwork(
            backbone,
            {name: task.num_outputs for name, task in self.tasks.items()},
            PRESETS[h["preset"]],
            h["variant"],
            DiffusionSchedule(h["num_steps"], h["beta_start"], h["beta_end"]),
            h["num_blocks"],
            h["num_heads"],
            h["detach_condition"],
            h["detach_start"],
            _normalisers(self.tasks, h["prediction_space"]),
        )

    def forward(self, image: Tensor, content: Tensor | None = None) -> Outputs:
        """Runs the network on images (B, 3, H, W) in [0, 1] of unknown ids, which all get the noise of the id ""."""
        outputs: Outputs = self.network(self.normalise(image, content), self.noise([""] * len(image), None))
        return outputs

    def run_network(self, batch: Batch) -> Outputs:
        """Outputs of a batch; in training only labelled images are denoised, see `DiffusionNetwork.forward`."""
        image = self.normalise(batch["image"], batch["meta"]["content"])
        step = self.global_step if self.training else None
        rows = self.labelled_rows(batch) if self.training else None
        outputs: Outputs = self.network(image, self.noise(batch["id"], step), rows)
        return outputs

    def labelled_rows(self, batch: Batch) -> dict[str, list[int]]:
        """{task: rows of the batch that carry its label}; none of a task that the batch does not carry."""
        labelled = batch["labelled"]
        carried = [name for name in self.tasks if name in labelled]
        # One transfer for all tasks: each would wait for the device.
        table = torch.stack([labelled[name] for name in carried]).tolist() if carried else []
        flags = dict(zip(carried, table, strict=True))
        return {name: [i for i, flag in enumerate(flags.get(name, [])) if flag] for name in self.tasks}

    def noise(self, ids: Sequence[str], step: int | None) -> NoiseSource:
        """The noise of a batch.

        Args:
            ids: Ids of its images.
            step: Training step; null in evaluation, where an image always gets the same.
        """
        seed: int = self.hparams["noise_seed"]
        when: tuple[int | str, ...] = ("evaluation",) if step is None else ("training", step)
        place = self.image_mean.device
        generate_on = place if self.hparams["noise_device"] == "device" else "cpu"

        def draw(task: str, rows: Sequence[int], level: int, shape: Sequence[int]) -> Tensor:
            chosen = [ids[row] for row in rows]
            purpose = (seed, "diffusion_mtl", *when, task, level)
            return normal_noise(chosen, shape, *purpose, device=place, generate_on=generate_on)

        return draw


def _normalisers(tasks: Mapping[str, Task], space: PredictionSpace) -> dict[str, Normaliser]:
    if space == "logits":
        return {}
    if space == "tanh":
        return dict.fromkeys(tasks, torch.tanh)
    classes = {name: task for name, task in tasks.items() if task.stored_as in ("classes", "binary")}
    return {name: torch.sigmoid if task.num_outputs == 1 else _softmax for name, task in classes.items()}


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)
