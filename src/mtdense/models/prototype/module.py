"""Prototype-based knowledge retrieval as a LightningModule."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from mtdense.data.sample import Batch
from mtdense.models.base import DenseModule
from mtdense.models.canvas import inside
from mtdense.models.noise import uniform_noise
from mtdense.models.outputs import Outputs
from mtdense.models.prototype.figures import draw_affinity, draw_affinity_maps, draw_slots
from mtdense.models.prototype.losses import GlobalBatch, consistency_loss, embedding_loss, reconstruction_errors
from mtdense.models.prototype.network import PrototypeNetwork
from mtdense.models.prototype.options import (
    Affinity,
    BlockNorm,
    CodebookInit,
    Decoder,
    HeadInput,
    LossRegion,
    Positions,
    PresetName,
    PrototypeGradient,
    PrototypeInit,
    ReconstructionDistance,
    ReconstructionTarget,
    Similarity,
    TCForm,
    TCMean,
    TKEAverage,
    TKEImages,
    VQDistance,
    VQGradient,
    check_options,
)
from mtdense.models.prototype.region import weighted_mean
from mtdense.tasks.base import ArrayAny

__all__ = ["Prototype"]


class Prototype(DenseModule):
    """Task prototypes and a knowledge-retrieval transformer (AAAI 2026, arXiv 2601.07474).

    Nothing but the paper's text is public, and of its equations only what the text says. What we had to choose is an
    option here: "inferred" where text or numbers speak for the default, "assumed" where nothing does. The README of
    this folder has the reasons.

    Args:
        preset: `paper` fits Table 4's counts, `dmtl` is DiffusionMTL's encoder and decoders with the same retrieval,
            for fair comparison, `small` is 128 wide, `tiny` 16 wide, for tests.
        decoder: `conv` (four 3x3 convolutions with ReLU, no norm) or `basic_block` (two BasicBlocks with batch norm);
            null takes the preset's. [inferred: both fit Table 4]
        decoder_stride: Input pixels per decoder position, 8 or 16. Counts do not depend on it. [inferred]
        vq: Add the quantised feature to the shared one.
        retrieval: Refine task features by the transformer.
        loss_tae: Task-agnostic enhancement: reconstruct the image from the shared feature.
        loss_tke: Task-knowledge embedding.
        loss_tc: Task consistency.
        lambda_tae: Weight of `loss_tae`. [assumed]
        lambda_akg: Weight of the sum of `loss_tke` and `loss_tc`; null: `lambda_tae`, as the paper's one "balancing
            parameter". [inferred]
        codebook_size: Slots of the codebook; null takes the preset's. [inferred]
        codebook_init: See `VectorQuantizer`.
        vq_distance: See `VectorQuantizer`.
        vq_gradient: See `VectorQuantizer`.
        commitment_weight: Weight of the distance of features to their slots; usual where used: 0.25. [assumed: 0]
        codebook_weight: Weight of the distance of slots to their features. [assumed: 0]
        dead_code_steps: Batches without use after which a slot moves to a random feature; 0: never. Where gradients
            are accumulated, every batch of a step counts. [assumed]
        reconstruction_target: The image `normalised`, as the network reads it, or `raw` in [0, 1]. [inferred]
        reconstruction_distance: `mse` or `l1`. [inferred]
        slot_dim: Elements of a prototype slot (Table 4); null takes the preset's.
        prototype_init: See `TaskPrototype`.
        affinity: See `TaskPrototype`.
        similarity: See `TaskPrototype`.
        temperature: See `task_similarity`.
        prototype_gradient: See `TaskPrototype`.
        tke_images: Images that teach a task's slot: those `labelled` for it, or `all`. [inferred]
        tke_average: See `embedding_loss`. [inferred]
        tc_form: See `consistency_loss`. [inferred]
        tc_mean: See `consistency_loss`. [inferred]
        tc_temperature: See `consistency_loss`. [assumed]
        retrieval_blocks: Blocks of the transformer. [inferred: "multiple"]
        retrieval_heads: Attention heads; null takes the preset's (8 in the paper).
        retrieval_norm: See `RetrievalBlock`.
        cross_residual: See `RetrievalBlock`.
        attention_scaling: See `RetrievalBlock`.
        attention_downsample: Average task features over squares of this many positions a side before prototype and
            transformer, and add the enlarged change to the whole feature. [ours]
        positional_encoding: `none`, or `sincos`, added to the transformer's input. [inferred]
        head_input: The head reads the `refined` feature, or its `sum` with the task's own. [inferred]
        preliminary_supervision: Weight of the loss on predictions from the unrefined features, which then have heads
            of their own; DiffusionMTL's is 0.5. [assumed: 0]
        loss_region: What the losses, the restart of dead slots and the averages of `affinity` count of a canvas: the
            image's `content`, or the whole `canvas` with its padding. The paper says nothing of padding. [ours]
        noise_seed: Seed of the features that dead slots move to.
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: An option of unknown value or out of range, or options that contradict each other.
    """

    method: ClassVar[str] = "prototype"
    training_only: tuple[str, ...] = ("reconstruction", "preliminary_heads")

    def __init__(
        self,
        preset: PresetName = "paper",
        decoder: Decoder | None = None,
        decoder_stride: Literal[8, 16] = 8,
        vq: bool = True,
        retrieval: bool = True,
        loss_tae: bool = True,
        loss_tke: bool = True,
        loss_tc: bool = True,
        lambda_tae: float = 1.0,
        lambda_akg: float | None = None,
        codebook_size: int | None = None,
        codebook_init: CodebookInit = "uniform",
        vq_distance: VQDistance = "l2",
        vq_gradient: VQGradient = "lookup",
        commitment_weight: float = 0.0,
        codebook_weight: float = 0.0,
        dead_code_steps: int = 0,
        reconstruction_target: ReconstructionTarget = "normalised",
        reconstruction_distance: ReconstructionDistance = "mse",
        slot_dim: int | None = None,
        prototype_init: PrototypeInit = "normal",
        affinity: Affinity = "per_position",
        similarity: Similarity = "cosine",
        temperature: float = 0.1,
        prototype_gradient: PrototypeGradient = "akg",
        tke_images: TKEImages = "labelled",
        tke_average: TKEAverage = "pairs",
        tc_form: TCForm = "hinge",
        tc_mean: TCMean = "batch",
        tc_temperature: float = 0.1,
        retrieval_blocks: int = 2,
        retrieval_heads: int | None = None,
        retrieval_norm: BlockNorm = "pre",
        cross_residual: bool = True,
        attention_scaling: bool = True,
        attention_downsample: int = 1,
        positional_encoding: Positions = "none",
        head_input: HeadInput = "refined",
        preliminary_supervision: float = 0.0,
        loss_region: LossRegion = "content",
        noise_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)

    def build_network(self) -> nn.Module:
        """The network of `preset` and options on the chosen backbone."""
        h = self.hparams
        preset = check_options(h, _DEFAULTS)
        self.preliminary_weight = h["preliminary_supervision"]
        if not h["retrieval"]:
            # Predictions then come straight from the decoders.
            unused = (*type(self).training_only, "prototype", "projections")
            self.training_only = unused
        backbone = self.build_backbone()
        outputs = {name: task.num_outputs for name, task in self.tasks.items()}
        return PrototypeNetwork(backbone, outputs, preset, h)

    @property
    def _network(self) -> PrototypeNetwork:
        return cast(PrototypeNetwork, self.network)

    def forward(self, image: Tensor, content: Tensor | None = None) -> Outputs:
        """Runs the network on images (B, 3, H, W) in [0, 1]; logits keep the network's resolution."""
        outputs: Outputs = self.network(self.normalise(image, content), self._shown(image, content))
        return outputs

    def _shown(self, image: Tensor, content: Tensor | None) -> Tensor | None:
        """(B, H, W) how much each pixel counts in losses and averages; None: all alike."""
        if content is None or self.hparams["loss_region"] == "canvas":
            return None
        return inside(content, image.shape[-2], image.shape[-1])

    def extra_losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`tae`, `tke` and `tc`, and where asked for `commitment` and `codebook`, weighted."""
        h, network, features = self.hparams, self._network, outputs.features
        counts = GlobalBatch.of(list(self.tasks), batch["labelled"], batch["image"])
        losses = {}
        if h["loss_tae"]:
            size = (batch["image"].shape[-2], batch["image"].shape[-1])
            errors = reconstruction_errors(
                self._reconstruction_target(batch),
                network.reconstruct(features["integrated"], size),
                h["reconstruction_distance"],
                self._shown(batch["image"], batch["meta"]["content"]),
            )
            losses["tae"] = h["lambda_tae"] * counts.mean(errors)
        akg = h["lambda_tae"] if h["lambda_akg"] is None else h["lambda_akg"]
        if h["loss_tke"]:
            scores = list(features["scores"].values())
            # Scores of an average have one position, which has its weights already.
            weights = features["weights"] if h["affinity"] == "per_position" else None
            losses["tke"] = akg * embedding_loss(scores, counts, h["tke_average"], h["tke_images"] == "all", weights)
        if h["loss_tc"] and network.prototype is not None:
            tokens = list(features["tokens"].values())
            slots, form, weights = network.prototype.slots, h["tc_form"], features["weights"]
            losses["tc"] = akg * consistency_loss(
                tokens, slots, counts, form, h["tc_mean"], h["tc_temperature"], weights
            )
        if network.quantizer is not None and (h["commitment_weight"] or h["codebook_weight"]):
            commitment, codebook = network.quantizer.distances(
                features["encoded"], features["indices"], features["shown"]
            )
            if h["commitment_weight"]:
                losses["commitment"] = h["commitment_weight"] * counts.mean(commitment)
            if h["codebook_weight"]:
                losses["codebook"] = h["codebook_weight"] * counts.mean(codebook)
        if h["dead_code_steps"]:
            self._shared = features["encoded"].detach(), features["indices"], features["shown"]
        return losses

    def _reconstruction_target(self, batch: Batch) -> Tensor:
        content = batch["meta"]["content"]
        if self.hparams["reconstruction_target"] == "normalised":
            return self.normalise(batch["image"], content)
        return batch["image"] * inside(content, batch["image"].shape[-2], batch["image"].shape[-1])[:, None]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The shared step, then the restart of dead slots: within it, so that a checkpoint is of whole steps."""
        total = super().training_step(batch, batch_idx)
        if self.hparams["dead_code_steps"]:
            self.restart_dead_codes(batch)
        return total

    def restart_dead_codes(self, batch: Batch) -> None:
        """Moves slots that were long unused onto features of this step's images, chosen by the images' ids."""
        quantizer = self._network.quantizer
        assert quantizer is not None
        encoded, indices, shown = self._shared
        del self._shared
        purpose = (self.hparams["noise_seed"], "dead codes", self.global_step)
        draws = uniform_noise(batch["id"], (2, len(quantizer.codebook)), *purpose, device=encoded.device)
        quantizer.restart(encoded, indices, draws[:, 0], draws[:, 1], shown)

    def figures(self, batch: Batch, outputs: Outputs) -> dict[str, ArrayAny]:
        """Affinity of each task (rows, in the model's order) to each slot, of the batch and over its first image.

        That is the paper's figure 6; with the elements of the slots, figure 7. A network without a prototype has none.
        """
        prototype = self._network.prototype
        if prototype is None:
            return {}
        affinity = [x.detach().softmax(-1) for x in outputs.features["scores"].values()]
        weights = outputs.features["weights"] if prototype.affinity == "per_position" else None
        table = torch.stack([weighted_mean(x, weights).mean(0) for x in affinity]).cpu().numpy()
        pictures: dict[str, ArrayAny] = {
            "affinity": draw_affinity(table),
            "slots": draw_slots(prototype.slots.detach().float().cpu().numpy()),
        }
        if prototype.affinity == "per_position":
            grid = outputs.features["grid"]
            maps = [x[0].unflatten(0, grid).cpu().numpy() for x in affinity]
            pictures["affinity_maps"] = draw_affinity_maps(maps, grow=max(1, 64 // grid[0]))
        return pictures


_DEFAULTS: dict[str, Any] = {name: option.default for name, option in inspect.signature(Prototype).parameters.items()}
