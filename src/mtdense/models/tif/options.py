"""Presets of TIF, and its options as one checked value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from mtdense.core.errors import ConfigError
from mtdense.models.agreement import check_choice, check_whole

__all__ = [
    "PRESETS",
    "Diffusion",
    "DistanceFeatures",
    "DistanceMetric",
    "Distillation",
    "FFNNorm",
    "Fuse",
    "KeyTerms",
    "Mixing",
    "Pool",
    "PresetName",
    "QueryFrom",
    "SAInput",
    "SAResize",
    "Share",
    "TIFOptions",
    "TaskProjection",
    "TokenNorm",
]

PresetName = Literal["paper", "config_a", "config_b", "small", "tiny"]
SAInput = Literal["reduced", "raw"]
Share = Literal["full", "half"]
TaskProjection = Literal["none", "conv1x1"]
SAResize = Literal["bilinear", "adaptive_average"]
Diffusion = Literal["on", "keep", "drop"]
Distillation = Literal["self", "cross"]
QueryFrom = Literal["own", "first_task"]
KeyTerms = Literal["tasks", "tasks_plus_one"]
TokenNorm = Literal["layer", "separate", "none"]
FFNNorm = Literal["pre", "post", "none"]
Mixing = Literal["rows", "columns"]
Pool = Literal["average", "max"]
Fuse = Literal["sum", "concat"]
DistanceMetric = Literal["cosine", "l2", "cka", "attention"]
DistanceFeatures = Literal["refined", "input"]

LOW_SCALES = (2, 3)
HIGH_SCALES = (0, 1)

_CHOICES: dict[str, Any] = {
    "sa_input": SAInput,
    "sa_width": Share,
    "sff_hidden": Share,
    "task_proj": TaskProjection,
    "sa_resize": SAResize,
    "lthd": Diffusion,
    "distillation": Distillation,
    "query_from": QueryFrom,
    "key_terms": KeyTerms,
    "token_norm": TokenNorm,
    "ffn_norm": FFNNorm,
    "lthd_mixing": Mixing,
    "lthd_pool": Pool,
    "lthd_fuse": Fuse,
    "distance_metric": DistanceMetric,
    "distance_features": DistanceFeatures,
}


@dataclass(frozen=True)
class Preset:
    """What a preset chooses where an option is null.

    Args:
        width: Decoder width d.
        hrnet_width: d on HRNet-W18.
        sa_input: See `TIF`.
        sa_width: See `TIF`.
        sff_hidden: See `TIF`.
        task_proj: See `TIF`.
    """

    width: int
    hrnet_width: int
    sa_input: SAInput = "reduced"
    sa_width: Share = "full"
    sff_hidden: Share = "full"
    task_proj: TaskProjection = "none"


PRESETS: dict[str, Preset] = {
    "paper": Preset(128, 92),
    "config_a": Preset(128, 96, "raw", "half", "half"),
    "config_b": Preset(128, 88, "reduced", "half", "half", "conv1x1"),
    "small": Preset(64, 64),
    "tiny": Preset(16, 16),
}


@dataclass(frozen=True)
class TIFOptions:
    """All that the network depends on; see `TIF`.

    Raises:
        ConfigError: An option of unknown value or out of range, or options that contradict each other.
    """

    width: int
    sa_input: SAInput = "reduced"
    sa_width: Share = "full"
    sff_hidden: Share = "full"
    task_proj: TaskProjection = "none"
    num_heads: int = 4
    saff_scales: tuple[int, ...] = (0, 1, 2, 3)
    sa_resize: SAResize = "bilinear"
    sa_norm: bool = True
    sfd_scales: tuple[int, ...] = LOW_SCALES
    distillation: Distillation = "self"
    query_from: QueryFrom = "own"
    key_terms: KeyTerms = "tasks"
    folded: bool = False
    attention_scaling: bool = True
    token_norm: TokenNorm = "layer"
    ffn_norm: FFNNorm = "pre"
    sfd_ffn_ratio: float = 1.0
    linear_bias: bool = False
    lthd: Diffusion = "on"
    lthd_scales: tuple[int, ...] = HIGH_SCALES
    dropped_scale: int = 0
    lthd_mixing: Mixing = "rows"
    lthd_pool: Pool = "average"
    lthd_ffn_ratio: float = 1.0
    lthd_ffn_residual: bool = False
    lthd_fuse: Fuse = "sum"
    detach_attention: bool = False
    fuse_activation: bool = True
    fusion_width: int | None = None

    @classmethod
    def of(cls, hparams: Mapping[str, Any]) -> TIFOptions:
        """The options of a `TIF`, its preset filled in."""
        check_choice("preset", hparams["preset"], get_args(PresetName))
        for name, known in _CHOICES.items():
            if hparams[name] is not None or name not in ("sa_input", "sa_width", "sff_hidden", "task_proj"):
                check_choice(name, hparams[name], get_args(known))
        preset = PRESETS[hparams["preset"]]
        width = preset.hrnet_width if hparams["backbone"].startswith("hrnet_w18") else preset.width
        chosen: dict[str, Any] = {f.name: hparams[f.name] for f in fields(cls)}
        for name in ("sa_input", "sa_width", "sff_hidden", "task_proj"):
            chosen[name] = getattr(preset, name) if chosen[name] is None else chosen[name]
        chosen["width"] = width if chosen["width"] is None else chosen["width"]
        for name, allowed in (("saff_scales", (0, 1, 2, 3)), ("sfd_scales", LOW_SCALES), ("lthd_scales", HIGH_SCALES)):
            chosen[name] = _scales(name, chosen[name], allowed)
        return cls(**chosen)

    def __post_init__(self) -> None:
        for name in ("width", "num_heads", "fusion_width"):
            value = getattr(self, name)
            if value is not None:
                check_whole(name, value)
        if self.width % self.num_heads:
            raise ConfigError(
                f"{self.num_heads} attention heads do not divide the {self.width} channels of the decoders",
                "set `num_heads` to a divisor, or another `width`.",
            )
        for name in ("sfd_ffn_ratio", "lthd_ffn_ratio"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) * self.width >= 1):
                raise ConfigError(f"{name} is {getattr(self, name)}", "give a number above 0.")
        if self.dropped_scale not in HIGH_SCALES:
            raise ConfigError(f"dropped_scale is {self.dropped_scale}", "use 0 or 1.")
        self._check_agreement()

    def _check_agreement(self) -> None:
        """Refuses what cannot be built, and switches without an effect."""
        if self.lthd == "on" and not self.sfd_scales:
            raise ConfigError(
                "LTHD diffuses the attention of SFD, and `sfd_scales` is empty",
                "set `lthd: keep` or `drop`, or name a scale in `sfd_scales`.",
            )
        if self.lthd == "on" and not self.lthd_scales:
            raise ConfigError("`lthd: on` on no scale", "name a scale in `lthd_scales`, or set `lthd: keep` or `drop`.")
        if self.distillation == "cross" and not self.sfd_scales:
            raise ConfigError("`distillation: cross` without SFD", "name a scale in `sfd_scales`.")
        if self.task_proj == "none" and (self.distillation == "cross" or self.query_from == "first_task"):
            raise ConfigError(
                "features of other tasks are asked for, and without a projection all tasks have the same ones",
                "set `task_proj: conv1x1` (as `preset: config_b` does).",
            )
        if self.distillation == "cross" and (self.folded or self.key_terms != "tasks"):
            raise ConfigError(
                "`distillation: cross` reads each task's feature by a map of its own",
                "leave `folded` and `key_terms` at their defaults.",
            )

    @property
    def aligned_width(self) -> int:
        """Channels y of the other scales after alignment."""
        return self.width if self.sa_width == "full" else self.width // 2

    @property
    def hidden_width(self) -> int:
        """Channels between the two convolutions of SFF."""
        return self.width if self.sff_hidden == "full" else self.width // 2

    @property
    def fused_scales(self) -> tuple[int, ...]:
        """Scales whose maps enter the last fusion."""
        return tuple(i for i in range(4) if self.lthd != "drop" or i != self.dropped_scale)

    def key_maps(self, num_tasks: int) -> int:
        """Linear maps whose sum makes keys and values."""
        if self.folded:
            return 1
        return num_tasks + (self.key_terms == "tasks_plus_one")


def _scales(name: str, value: Any, allowed: tuple[int, ...]) -> tuple[int, ...]:
    scales = allowed if value is None else tuple(value)
    if list(scales) != sorted(set(scales)) or not set(scales) <= set(allowed):
        raise ConfigError(f"{name} is {list(scales)}", f"name some of {list(allowed)}, in order, each once.")
    return scales
