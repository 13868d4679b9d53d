"""MTPSL as a LightningModule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.data.sample import Batch
from mtdense.models.canvas import upsample
from mtdense.models.layers.segnet import SegNetNetwork, segnet_filters
from mtdense.models.mtl_baseline import PRESETS, SharedEncoderNetwork
from mtdense.models.mtpsl.consistency import (
    Pair,
    Pairs,
    choose_pairs,
    needs_noise,
    pair_losses,
    prediction_map,
    target_map,
)
from mtdense.models.mtpsl.mapper import MapperNorm, MappingNetwork, pair_index
from mtdense.models.mtpsl.network import MTPSLNetwork
from mtdense.models.noise import uniform_noise
from mtdense.models.outputs import Outputs
from mtdense.models.views import SecondView, TwoViewModule
from mtdense.training import ParameterGroup
from mtdense.training.distributed import sum_over_ranks, world_size

__all__ = ["MTPSL"]


class MTPSL(TwoViewModule):
    """Multi-task learning from partial labels by cross-task consistency (Li, Liu and Bilen, CVPR 2022).

    The prediction of an unlabelled task and the label of another are mapped into a space of that pair of tasks, where
    they shall agree with each other and with the encoder. `backbone: segnet` is the original network.

    Args:
        preset: Width of the predicting and the mapping network: `paper` (512), `small` (128) or `tiny` (16).
        consistency_weight: Weight of the consistency of an image (MTPSL: 2 on NYUD-v2, 1 on Cityscapes).
        feature_weight: Weight of the two terms that hold the pair's space to the encoder's feature.
        ramp_steps: Steps over which `consistency_weight` grows linearly from 0; 0: it does not grow.
        pairs: Which tasks are compared, see `choose_pairs`.
        mapper_norm: Statistics of the mapping network's normalisations, see `MappingNetwork`.
        mapper_downsample: 1, 2 or 4: the mapping network sees maps at this fraction of the resolution, at about the
            square of it in time and memory. For PASCAL-Context's 512x512 [assumed].
        film_lr: Learning rate of the mapping network's affine maps (MTPSL: 1e-3 on NYUD-v2, 1e-5 on Cityscapes); null
            takes `lr`.
        film_decay_every: Their `decay_every` with `schedule: step`, in steps or epochs as `schedule_interval` says
            (MTPSL: 30 epochs); null takes `decay_every`.
        legacy_value_scale: See `prediction_map`.
        noise_device: Make noise on the `cpu`, the same on every machine, or on the network's own `device`, which is
            faster for large images on a GPU but gives each kind of device its own sequence.
        kwargs: See `TwoViewModule` and `DenseModule`.

    Raises:
        ConfigError: One task only, or an option out of range.
    """

    method: ClassVar[str] = "mtpsl"
    training_only: tuple[str, ...] = ("mapper",)

    def __init__(
        self,
        preset: Literal["paper", "small", "tiny"] = "paper",
        consistency_weight: float = 2.0,
        feature_weight: float = 0.5,
        ramp_steps: int = 0,
        pairs: Pairs = "auto",
        mapper_norm: MapperNorm = "sample",
        mapper_downsample: int = 1,
        film_lr: float | None = 1e-3,
        film_decay_every: int | None = None,
        legacy_value_scale: bool = False,
        noise_device: Literal["cpu", "device"] = "cpu",
        **kwargs: Any,
    ) -> None:
        for option, value, known in (
            ("pairs", pairs, ("auto", "unlabelled", "all")),
            ("noise_device", noise_device, ("cpu", "device")),
        ):
            if value not in known:
                raise ConfigError(f"unknown {option} '{value}'", f"use one of {', '.join(known)}.")
        for option, number in (
            ("consistency_weight", consistency_weight),
            ("feature_weight", feature_weight),
            ("ramp_steps", ramp_steps),
        ):
            if not 0 <= number < float("inf"):
                raise ConfigError(f"{option} is {number}", "give a number of at least 0.")
        super().__init__(preset=preset, **kwargs)
        for task in self.tasks.values():
            needs_noise(task)  # says now if a task cannot be compared

    def build_network(self) -> nn.Module:
        """The MTL baseline's network of `preset` on the chosen backbone, and the mapping network."""
        h = self.hparams
        main = cast("SharedEncoderNetwork | SegNetNetwork", super().build_network())
        if main.backbone.strides[-1] != 32:
            raise ConfigError(
                f"the deepest map of '{h['backbone']}' has stride {main.backbone.strides[-1]}",
                "use a backbone that ends at stride 32, as the mapping network does.",
            )
        mapper = MappingNetwork(
            {name: task.num_outputs for name, task in self.tasks.items()},
            segnet_filters(PRESETS[h["preset"]]),
            main.backbone.channels[-1],
            h["mapper_norm"],
            h["mapper_downsample"],
        )
        return MTPSLNetwork(main, mapper)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The affine maps of the pairs have a learning rate and a decay of their own, and are not decayed to zero."""
        film = self.mapper.film_parameters()
        ids = {id(p) for p in film}
        rest = [p for p in self.parameters() if id(p) not in ids]
        h = self.hparams
        return [ParameterGroup(rest), ParameterGroup(film, h["film_lr"], 0.0, h["film_decay_every"])]

    @property
    def mapper(self) -> MappingNetwork:
        """The mapping network."""
        return cast(MTPSLNetwork, self.network).mapper

    @property
    def consistency_factor(self) -> float:
        """Weight of the consistency at this step."""
        h = self.hparams
        share = min(1.0, self.global_step / h["ramp_steps"]) if h["ramp_steps"] else 1.0
        return float(h["consistency_weight"] * share)

    def extra_losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """{"consistency"}: sum over the pairs of each image, mean over the images of all ranks."""
        per_pair, _ = self.consistency(outputs, batch)
        images = torch.tensor(float(len(batch["id"])), device=per_pair.device)
        share = world_size() / sum_over_ranks(images)
        return {"consistency": self.consistency_factor * per_pair.sum() * share}

    def consistency(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, list[Pair]]:
        """The loss of each pair (P,), and the pairs; without a pair, one zero that keeps the mapper in the graph."""
        labelled = torch.stack([self._labelled(name, batch) for name in self.tasks], dim=1).tolist()
        pairs = choose_pairs(labelled, self.hparams["pairs"])
        if not pairs:
            return _nothing(list(self.mapper.parameters())), pairs
        second: Outputs = outputs.features["second"]
        content: Tensor = outputs.features["content"]
        sources, targets, unused = self._embedded_maps(outputs, batch, pairs, labelled)
        device = content.device
        numbers = torch.tensor([pair_index(p.source, p.target, len(self.tasks)) for p in pairs], device=device)
        both = torch.stack([sources[p.source, p.image] for p in pairs] + [targets[p.target, p.image] for p in pairs])
        mapped, target = self.mapper(both, torch.cat([numbers, numbers])).chunk(2)
        rows = torch.tensor([p.image for p in pairs], device=device)
        feature = second.features["encoder"][rows]
        weight = self._grid_weight(content, mapped.shape[-2:])[rows]
        losses = pair_losses(mapped, target, feature, weight, self.hparams["feature_weight"])
        return losses + _nothing(unused) if unused else losses, pairs

    def _embedded_maps(
        self, outputs: Outputs, batch: Batch, pairs: Sequence[Pair], labelled: Sequence[Sequence[bool]]
    ) -> tuple[dict[tuple[int, int], Tensor], dict[tuple[int, int], Tensor], list[nn.Parameter]]:
        """{(task, image): embedded map} of predictions and of targets, and parameters that took no part."""
        view: SecondView = outputs.features["view"]
        second: Outputs = outputs.features["second"]
        content: Tensor = outputs.features["content"]
        step = self.mapper.downsample
        size = (-(-content.shape[-2] // step), -(-content.shape[-1] // step))
        shown = _thinned(content, step)[:, None]
        legacy = self.hparams["legacy_value_scale"]
        sources: dict[tuple[int, int], Tensor] = {}
        targets: dict[tuple[int, int], Tensor] = {}
        unused: list[nn.Parameter] = []
        for number, (name, task) in enumerate(self.tasks.items()):
            predicted = sorted({p.image for p in pairs if p.source == number})
            known = sorted({p.image for p in pairs if p.target == number})
            if not predicted and not known:
                unused += list(self.mapper.stems[name].parameters())
                continue
            maps = []
            if predicted:
                logits = upsample(second.final[name][predicted], size) * shown[predicted]
                noise = self._uniform(batch, predicted, name, logits) if needs_noise(task) else None
                maps.append(prediction_map(task, logits, noise, legacy) * shown[predicted])
            if known:
                used = [flags[number] for flags in labelled]
                target = _thinned(view.move_targets(task, batch["targets"][name], used), step)
                maps.append(target_map(task, target[known], legacy) * shown[known])
            embedded = self.mapper.embed(name, torch.cat(maps))
            sources |= {(number, image): embedded[i] for i, image in enumerate(predicted)}
            targets |= {(number, image): embedded[len(predicted) + i] for i, image in enumerate(known)}
        return sources, targets, unused

    def _uniform(self, batch: Batch, images: Sequence[int], name: str, logits: Tensor) -> Tensor:
        ids = [batch["id"][i] for i in images]
        purpose = (self.hparams["noise_seed"], "gumbel", name, self.global_step)
        place = logits.device if self.hparams["noise_device"] == "device" else "cpu"
        return uniform_noise(ids, logits.shape[1:], *purpose, device=logits.device, generate_on=place)

    def _labelled(self, name: str, batch: Batch) -> Tensor:
        if name in batch["labelled"]:
            flags: Tensor = batch["labelled"][name]
            return flags
        return torch.zeros(len(batch["id"]), dtype=torch.bool, device=batch["image"].device)

    @staticmethod
    def _grid_weight(content: Tensor, size: Sequence[int]) -> Tensor:
        """(B, h, w): 1 at positions of the mapping network's output that show any of the image."""
        height, width = content.shape[-2:]
        padded = nn.functional.pad(content[:, None], (0, -width % 32, 0, -height % 32))
        weight = (nn.functional.adaptive_max_pool2d(padded, (size[0], size[1])) > 0).float()
        return weight[:, 0]


def _thinned(maps: Tensor, step: int) -> Tensor:
    """Every `step`-th pixel of (..., H, W), from the middle of each cell; the last one where a cell is cut."""
    if step == 1:
        return maps
    height, width = maps.shape[-2:]
    rows = torch.arange(step // 2, height + step // 2, step, device=maps.device).clamp(max=height - 1)
    columns = torch.arange(step // 2, width + step // 2, step, device=maps.device).clamp(max=width - 1)
    return maps[..., rows[:, None], columns[None]]


def _nothing(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Zero that keeps parameters in the graph, so that plain DDP finds all of them in every step."""
    return torch.stack([p.float().sum() for p in parameters]).sum()[None] * 0.0
