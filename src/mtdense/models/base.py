"""The training and evaluation step that all architectures share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from mtdense.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, create_backbone
from mtdense.core.errors import ConfigError
from mtdense.data.sample import Batch
from mtdense.metrics import DeltaM
from mtdense.models.agreement import check_data_tasks, check_loss_weights, check_output_kinds
from mtdense.models.baselines import read_baselines
from mtdense.models.canvas import inside, zero_of
from mtdense.models.compiled import CompileMode, compile_network
from mtdense.models.description import describe
from mtdense.models.encoders import checkpoint_encoders, image_statistics
from mtdense.models.outputs import Outputs
from mtdense.tasks import Task, build_tasks
from mtdense.tasks.base import ArrayAny
from mtdense.training import (
    OptimizerName,
    ParameterGroup,
    PartialLabelReducer,
    Pool,
    Scale,
    ScheduleName,
    create_optimizer,
    create_schedule,
)
from mtdense.training.finite import check_loss, check_weights
from mtdense.training.weighting import StepInfo, WeightingName, create_weighting

__all__ = ["DenseModule", "LossFamily"]

LossFamily = Literal["diffusion_mtl", "atrc"]

# How each family of papers pools pixels and weighs partly labelled images (specs: partial labels 3.1, BridgeNet 6).
_FAMILIES: dict[str, tuple[Pool, Scale]] = {
    "diffusion_mtl": ("image", "task_count_ratio"),
    "atrc": ("batch", "labelled_count"),
}


class DenseModule(L.LightningModule, ABC):
    """Base of all architectures: normalises, runs the network, reduces partial-label losses, scores and predicts.

    A subclass names itself in `method`, builds a network in `build_network`, and may add losses in `extra_losses`.
    Its own options come before `**kwargs`, which are the ones below.

    Args:
        tasks: {task: specification}, as `mtdense.tasks.build_tasks` takes it. The command line links it from the data.
        backbone: `tiny`, a timm name or a paper's name of one.
        pretrained: Download timm's weights for the backbone.
        backbone_checkpoint: Local weights for the backbone instead.
        backbone_options: Further options of the backbone, such as {output_stride: 8}; see `create_backbone`.
        input_size: (height, width) of training images; only backbones of a fixed input size need it.
        loss_family: Default of `pool` and `scale`: `diffusion_mtl` is (image, task_count_ratio), `atrc` (InvPT,
            BridgeNet) is (batch, labelled_count).
        pool: See `PartialLabelReducer`; null takes the family's.
        scale: See `PartialLabelReducer`; null takes the family's.
        loss_weights: {task: weight}; tasks left out keep their `default_loss_weight`.
        loss_weighting: What multiplies these weights while training: nothing (`fixed`), `uncertainty`, `dwa`, `random`,
            or a method that compares the tasks' gradients (extra `weighting`); see docs/loss_weighting.md.
        weighting_options: Options of `loss_weighting`; see `create_weighting`.
        optimizer: `adam`, `adamw` or `sgd`.
        lr: Learning rate.
        weight_decay: Weight decay.
        momentum: Momentum of `sgd`.
        fused_optimizer: See `create_optimizer`.
        schedule: `poly`, `cosine` or `constant`, over the whole training, or `step`.
        schedule_interval: Whether the schedule moves at every optimiser `step` or every `epoch`.
        poly_power: Exponent of `poly`.
        decay_every: Steps or epochs between the decays of `step`.
        decay_factor: Factor of each decay of `step`.
        warmup_steps: Units of linear warm-up.
        normalization: Mean and deviation of `imagenet` (what the papers' recipes say) or those of the backbone's
            `weights`.
        channels_last: Run convolutions in channels-last memory order; for GPUs with tensor cores.
        compile: Train with `torch.compile`, in this mode if one is named; the first steps take minutes.
        checkpoint_encoder: Compute the backbone's blocks again in the backward pass: less memory, the same results.
        delta_m_baselines: {task: score of the single-task network}, each the task's primary metric in its own unit
            (fractions, degrees, metres), or a YAML or JSON file that holds it; training then logs `val/delta_m`.

    Raises:
        ConfigError: Unknown task, option or weight.
    """

    method: ClassVar[str]
    """Id of the method in tables and run records."""
    preliminary_weight: float = 0.0
    """Weight of the loss on each of `Outputs.preliminary`."""
    predicts_levels: ClassVar[bool] = False
    """Whether `build_network` knows tasks whose outputs are no single map: 3-D detection; see `Task.output_kind`."""
    training_only: tuple[str, ...] = ()
    """Dotted prefixes of parameters that inference does not use; they do not count as the network's size."""

    def __init__(
        self,
        tasks: dict[str, dict[str, Any]],
        backbone: str = "resnet18",
        pretrained: bool = False,
        backbone_checkpoint: str | None = None,
        backbone_options: dict[str, Any] | None = None,
        input_size: list[int] | None = None,
        loss_family: LossFamily = "diffusion_mtl",
        pool: Pool | None = None,
        scale: Scale | None = None,
        loss_weights: dict[str, float] | None = None,
        loss_weighting: WeightingName = "fixed",
        weighting_options: dict[str, Any] | None = None,
        optimizer: OptimizerName = "adam",
        lr: float = 1e-4,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        fused_optimizer: bool = False,
        schedule: ScheduleName = "poly",
        schedule_interval: Literal["step", "epoch"] = "step",
        poly_power: float = 0.9,
        decay_every: int | None = None,
        decay_factor: float = 0.5,
        warmup_steps: int = 0,
        normalization: Literal["imagenet", "weights"] = "imagenet",
        channels_last: bool = False,
        compile: bool | CompileMode = False,
        checkpoint_encoder: bool = False,
        delta_m_baselines: dict[str, float] | str | None = None,
    ) -> None:
        super().__init__()
        # A subclass has saved its own and our arguments already.
        self.save_hyperparameters(logger=False)
        self.tasks: dict[str, Task] = build_tasks(tasks)
        if not self.tasks:
            raise ConfigError("a model without a task", "name at least one task in `data.tasks`.")
        check_output_kinds(self.method, self.predicts_levels, self.tasks)
        family = _FAMILIES.get(loss_family)
        if family is None:
            raise ConfigError(f"unknown loss family '{loss_family}'", f"use one of {', '.join(_FAMILIES)}.")
        self.reducer = PartialLabelReducer(pool or family[0], scale or family[1])
        self.loss_weights = check_loss_weights(loss_weights or {}, self.tasks)
        self.weighting = create_weighting(loss_weighting, list(self.tasks), weighting_options)
        self.run_info: dict[str, Any] = {}
        """What the program wants written into checkpoints: plain values only."""
        self.network = self.build_network()
        if checkpoint_encoder:
            checkpoint_encoders(self.network)
        if channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        imagenet = (IMAGENET_MEAN, IMAGENET_STD)
        mean, std = image_statistics(self.network) if normalization == "weights" else imagenet
        self.image_mean: Tensor
        self.image_std: Tensor
        self.register_buffer("image_mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self._metrics = nn.ModuleDict(
            {
                stage: nn.ModuleDict({name: nn.ModuleDict(dict(task.metrics())) for name, task in self.tasks.items()})
                for stage in ("val", "test")
            }
        )
        if isinstance(delta_m_baselines, str):
            # A checkpoint keeps the numbers, for the file may not be there where it is read.
            self.hparams["delta_m_baselines"] = read_baselines(delta_m_baselines)
        self._baselines: dict[str, float] | None = self.hparams["delta_m_baselines"]

    # ---- what an architecture says ---------------------------------------------------------------------------------
    @abstractmethod
    def build_network(self) -> nn.Module:
        """The plain network: normalised images (B, 3, H, W) to `Outputs`; may read `self.tasks`, `self.hparams`."""

    def build_backbone(self) -> Backbone:
        """The backbone that the options name, with its weights."""
        h = self.hparams
        size = tuple(h["input_size"]) if h["input_size"] else None
        options = h["backbone_options"] or {}
        return create_backbone(h["backbone"], h["pretrained"], h["backbone_checkpoint"], size, **options)

    def extra_losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Losses of the architecture itself, by name, already weighted; the default has none."""
        return {}

    def run_network(self, batch: Batch) -> Outputs:
        """Outputs of a batch; what a network needs beside the images (ids, further views) is taken from the batch here.

        `final` and `preliminary` must belong to the batch's images, row by row; anything else goes into `features`.
        """
        outputs: Outputs = self(batch["image"], batch["meta"]["content"])
        return outputs

    def parameter_groups(self) -> list[ParameterGroup]:
        """What is trained, in groups that may have a learning rate and a decay of their own; the default is one."""
        return [ParameterGroup(self.parameters())]

    def figures(self, batch: Batch, outputs: Outputs) -> dict[str, ArrayAny]:
        """The architecture's own pictures of a batch, {name: (H, W, 3) uint8}; the default has none."""
        return {}

    # ---- forward ---------------------------------------------------------------------------------------------------
    def normalise(self, image: Tensor, content: Tensor | None = None) -> Tensor:
        """Images in [0, 1] to network input; what lies outside `content` (B, 4: top, left, height, width) becomes 0."""
        image = (image - self.image_mean) / self.image_std
        if content is not None:
            image = image * inside(content, image.shape[-2], image.shape[-1])[:, None]
        if self.hparams["channels_last"]:
            image = image.contiguous(memory_format=torch.channels_last)
        return image

    def forward(self, image: Tensor, content: Tensor | None = None) -> Outputs:
        """Runs the network on images (B, 3, H, W) in [0, 1]; logits keep the network's resolution."""
        outputs: Outputs = self.network(self.normalise(image, content))
        return outputs

    # ---- training --------------------------------------------------------------------------------------------------
    def losses(self, outputs: Outputs, batch: Batch, across_ranks: bool = True) -> dict[str, Tensor]:
        """Unweighted loss of each task: final predictions plus `preliminary_weight` times the preliminary ones.

        Tasks of the network that the batch does not carry at all count as unlabelled.
        """
        losses = self._task_losses(outputs.final, batch, across_ranks)
        for logits in outputs.preliminary:
            for name, value in self._task_losses(logits, batch, across_ranks).items():
                losses[name] = losses[name] + self.preliminary_weight * value
        return losses

    def _task_losses(self, logits: Mapping[str, Any], batch: Batch, across_ranks: bool) -> dict[str, Tensor]:
        tasks = {name: task for name, task in self.tasks.items() if name in batch["targets"]}
        terms = {}
        for name, task in tasks.items():
            target = batch["targets"][name]
            valid = task.counted(target, batch["labelled"][name])
            terms[name] = task.loss_terms(task.at_size(logits[name], task.target_size(target)), target, valid)
        losses = self.reducer(tasks, terms, batch["labelled"], across_ranks)
        return {name: losses[name] if name in losses else zero_of(logits[name]) for name in self.tasks}

    def training_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """What a step minimises: (sum of weighted task losses and the architecture's own, these losses by name)."""
        outputs = self.run_network(batch)
        losses = self.losses(outputs, batch)
        extra = self.extra_losses(outputs, batch)
        weighted = {name: self.loss_weights[name] * value for name, value in losses.items()}
        trained = [p for p in self.parameters() if p.requires_grad]
        length = 1 if self._trainer is None else self.trainer.num_training_batches
        idle = frozenset(name for name, weight in self.loss_weights.items() if weight == 0)
        info = StepInfo(batch["labelled"], self.reducer.scale, self.global_step, length, trained, idle)
        return self.weighting(weighted, list(extra.values()), info), {**losses, **extra}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch, logged and known to be finite."""
        total, losses = self.training_loss(batch)
        check_loss(total, losses, self.weighting, batch["id"], self.global_step + 1)
        size = batch["image"].shape[0]
        # Under DDP each rank holds its share times the number of ranks: only their mean is the loss.
        self.log("train/loss", total.detach(), batch_size=size, prog_bar=True, sync_dist=True)
        for name, value in losses.items():
            self.log(f"train/{name}/loss", value.detach(), batch_size=size, sync_dist=True)
        for name, factor in self.weighting.weights.items():
            self.log(f"weights/{name}", self.loss_weights[name] * factor, batch_size=size)
        return total

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Tells the weighting."""
        self.weighting.before_step()

    # ---- evaluation ------------------------------------------------------------------------------------------------
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Feeds the validation metrics and logs the loss."""
        outputs, _ = self._evaluate(batch, "val")
        losses = self.losses(outputs, batch, across_ranks=False)
        total = torch.stack([self.loss_weights[n] * v for n, v in losses.items()]).sum()
        self.log("val/loss", total, batch_size=batch["image"].shape[0], sync_dist=True)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Feeds the test metrics; {"predictions": {task: prediction}} for callbacks."""
        _, predictions = self._evaluate(batch, "test")
        return {"predictions": predictions}

    def _evaluate(self, batch: Batch, stage: str) -> tuple[Outputs, dict[str, Any]]:
        outputs = self.run_network(batch)
        # A protocol may score at another size than the network's.
        first, target = next(iter(batch["targets"].items()))
        predictions = self.predictions(outputs, self.tasks[first].target_size(target), batch)
        for name in (name for name in predictions if name in batch["targets"]):
            task, target, prediction = self.tasks[name], batch["targets"][name], predictions[name]
            valid = task.counted(target, batch["labelled"][name])
            for metric in self.stage_metrics(stage)[name].values():
                task.update_metric(metric, prediction, target, valid, batch)
        return outputs, predictions

    def stage_metrics(self, stage: str) -> dict[str, dict[str, Metric]]:
        """Live metrics {task: {name: metric}} of stage `val` or `test`."""
        stages = cast("Mapping[str, Mapping[str, Mapping[str, Metric]]]", self._metrics)
        return {task: dict(metrics.items()) for task, metrics in stages[stage].items()}

    def _log_metrics(self, stage: str) -> None:
        # The sanity check sees a batch or two, which may lack a task.
        present = set() if self.trainer.sanity_checking else set(self._evaluated_tasks())
        if stage == "val" and self._baselines is not None and present:
            self.log("val/delta_m", self._delta_m(self._baselines).compute().float())
        for name, metrics in self.stage_metrics(stage).items():
            for key, metric in metrics.items():
                if name in present:
                    self.log(f"{stage}/{name}/{key}", metric.compute().float())
                metric.reset()

    def _evaluated_tasks(self) -> list[str]:
        """Tasks that the data carries: a checkpoint of many tasks may be tested on fewer."""
        data = getattr(self._trainer, "datamodule", None)
        return [name for name in self.tasks if data is None or name in data.tasks]

    def on_validation_epoch_end(self) -> None:
        """Logs `val/<task>/<metric>`."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Logs `test/<task>/<metric>`."""
        self._log_metrics("test")

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Predictions on the canvas: {"id", "predictions": {task: prediction}, "meta"}; see `Task.predict_batch`."""
        return {"id": batch["id"], "predictions": self.predict_batch(batch), "meta": batch["meta"]}

    def predict_batch(self, batch: Batch) -> dict[str, Any]:
        """{task: prediction at the size of the batch's images}; see `Task.predict_batch`."""
        return self.predictions(self.run_network(batch), batch["image"].shape[-2:], batch)

    def predictions(self, outputs: Outputs, size: Sequence[int], batch: Batch | None = None) -> dict[str, Any]:
        """{task of the data: prediction `(B, *size)` or `(B, 3, *size)`, or a list}, see `Task.predict_batch`.

        The batch is needed where a task asks for more than logits, as 3-D detection for cameras.
        """
        return {n: self.tasks[n].predict_batch(outputs.final[n], size, batch) for n in self._evaluated_tasks()}

    # ---- set-up ----------------------------------------------------------------------------------------------------
    def setup(self, stage: str) -> None:
        """Refuses data whose tasks or classes are not the model's, and baselines of Δm that are not those of its tasks.

        Raises:
            ConfigError: The data has a task that the model lacks, or the same task with other classes or units; or the
                baselines of Δm are not all there.
        """
        data = getattr(self._trainer, "datamodule", None)
        if data is not None:
            check_data_tasks(self.tasks, build_tasks(data.task_specs))
        if stage == "fit":
            compile_network(self.network, self.hparams["compile"], self.trainer.strategy.root_device)
            self.weighting.check(self.trainer)
        if stage == "fit" and self._baselines is not None:
            try:
                self._delta_m(self._baselines)
            except ConfigError as error:
                raise ConfigError(f"delta_m_baselines: {error.problem}", error.mend) from error

    def _delta_m(self, baselines: Mapping[str, float]) -> DeltaM:
        metrics = self.stage_metrics("val")
        primary = {name: metrics[name][self.tasks[name].primary_metric] for name in self._evaluated_tasks()}
        return DeltaM(baselines, primary)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and schedule of the recipe."""
        h = self.hparams
        groups = self.weighting.groups(self.parameter_groups())
        optimizer = create_optimizer(
            groups, h["optimizer"], h["lr"], h["weight_decay"], h["momentum"], h["fused_optimizer"]
        )
        total = self.trainer.estimated_stepping_batches
        if not math.isfinite(total):
            raise ConfigError("training has no end", "set `trainer.max_steps` or `trainer.max_epochs`.")
        units = int(total)
        if h["schedule_interval"] == "epoch":
            self.trainer.fit_loop.setup_data()  # else the length of an epoch is unknown where steps bound the run
            batches = int(self.trainer.num_training_batches)
            units = math.ceil(units / max(1, math.ceil(batches / self.trainer.accumulate_grad_batches)))
        shape = (h["warmup_steps"], h["poly_power"], h["decay_every"], h["decay_factor"])
        schedule = create_schedule(optimizer, groups, h["schedule"], units, *shape)
        stepped = {"scheduler": schedule, "interval": h["schedule_interval"]}
        return cast(OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": stepped})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses weights that are not finite; writes down what is saved, see `mtdense.models.checkpoint`."""
        check_weights(self, self.global_step)
        checkpoint["mtdense"] = {**describe(self), **self.run_info}
