"""Presets of PromptFusion, and its options as one checked value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, cast, get_args

from mtdense.core.errors import ConfigError
from mtdense.models.agreement import check_choice, check_whole
from mtdense.models.layers.detection_head import HeadKind
from mtdense.models.task_prompter.options import AttentionMaps, ChannelAttentionKind, ChannelOutput, PromptOptions

__all__ = [
    "ContourOperator",
    "FusionKind",
    "FusionPlace",
    "FusionSource",
    "FusionTarget",
    "PresetName",
    "PromptEntry",
    "PromptFusionOptions",
    "StemFuse",
]

PresetName = Literal["paper", "small", "tiny"]
StemFuse = Literal["gated", "concat", "sum"]
ContourOperator = Literal["all", "sobel", "laplacian", "cdc"]
PromptEntry = Literal["gated", "joint"]
FusionPlace = Literal["after_merge", "before_merge", "block"]
FusionKind = Literal["attention", "pool"]
FusionSource = Literal["both", "image", "prompts"]
FusionTarget = Literal["both", "prompts", "image"]

_CHOICES: dict[str, Any] = {
    "stem_fuse": StemFuse,
    "contour_operator": ContourOperator,
    "prompt_entry": PromptEntry,
    "fusion_place": FusionPlace,
    "fusion_kind": FusionKind,
    "fusion_source": FusionSource,
    "fusion_target": FusionTarget,
    "detection_head": HeadKind,
}


@dataclass(frozen=True)
class _Preset:
    level_width: int
    width: int
    channel_width: int
    channel_grid: tuple[int, int]
    fusion_grid: tuple[int, int]
    detection: tuple[int, int]


_PRESETS: dict[str, _Preset] = {
    # TaskPrompter's Swin-B on Cityscapes-3D; the grid of the fusion is assumed.
    "paper": _Preset(256, 450, 256, (16, 16), (8, 16), (256, 3)),
    "small": _Preset(64, 96, 64, (8, 8), (4, 8), (64, 2)),
    "tiny": _Preset(8, 12, 8, (4, 4), (2, 3), (16, 1)),
}


@dataclass(frozen=True)
class PromptFusionOptions:
    """The options of a network, see `PromptFusion`, and the sizes of its preset.

    Raises:
        ConfigError: A value that is unknown or out of range, or options that contradict each other.
    """

    level_width: int
    width: int
    channel_width: int
    channel_grid: tuple[int, int]
    fusion_grid: tuple[int, int]
    detection: tuple[int, int]
    stem_global: bool
    stem_local: bool
    stem_contour: bool
    stem_kernel: int
    stem_fuse: StemFuse
    contour_operator: ContourOperator
    contour_theta: float
    spatial_prompts: bool
    channel_prompts: bool
    channel_attention: ChannelAttentionKind
    channel_output: ChannelOutput
    attention_maps: AttentionMaps
    prompt_entry: PromptEntry
    prompts_per_task: int
    fusion: bool
    fusion_place: FusionPlace
    fusion_kind: FusionKind
    fusion_salient: bool
    fusion_trend: bool
    fusion_raw: bool
    fusion_source: FusionSource
    fusion_target: FusionTarget
    prompt_gate: bool
    detection_head: HeadKind

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> PromptFusionOptions:
        """The options of `PromptFusion` with what the preset says."""
        check_choice("preset", options["preset"], get_args(PresetName))
        preset = _PRESETS[options["preset"]]
        chosen = {field.name: getattr(preset, field.name, options.get(field.name)) for field in fields(cls)}
        for name in ("fusion_grid", "channel_grid"):
            if options[name] is not None:
                chosen[name] = tuple(options[name])
        return cls(**cast(dict[str, Any], chosen))

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            check_choice(name, getattr(self, name), get_args(kind))
        check_whole("prompts_per_task", self.prompts_per_task)
        if len(self.fusion_grid) != 2:
            raise ConfigError(f"fusion_grid is {list(self.fusion_grid)}", "give rows and columns.")
        for extent in self.fusion_grid:
            check_whole("fusion_grid", extent)
        check_whole("stem_kernel", self.stem_kernel, 0)
        if self.stem_kernel and self.stem_kernel % 2 == 0:
            raise ConfigError(f"stem_kernel is {self.stem_kernel}", "give an odd number, or 0 for none.")
        if not 0 <= self.contour_theta <= 1:
            raise ConfigError(f"contour_theta is {self.contour_theta}", "give a number in 0..1.")
        self._check_parts()

    def _check_parts(self) -> None:
        if not self.encoders:
            raise ConfigError(
                "an embedding without encoder", "leave `stem_global` on: alone it is the backbone's own embedding."
            )
        if not self.prompts:
            wanting = [name for name in ("fusion", "prompt_gate") if getattr(self, name)]
            if wanting:
                raise ConfigError(
                    f"{', '.join(wanting)} without spatial and without channel prompts",
                    f"set {', '.join(f'`{name}: false`' for name in wanting)}, or leave one kind of prompts on.",
                )
        if self.fusion and self.fusion_kind == "pool" and self.fusion_source != "both":
            raise ConfigError(
                f"fusion_source {self.fusion_source!r} with `fusion_kind: pool`, whose branches are a source each",
                "leave `fusion_source` out, and choose by fusion_salient, fusion_trend and fusion_raw.",
            )
        if self.fusion and not self.fusion_branches:
            raise ConfigError(
                "a prompt fusion without salient, trend and raw branch", "leave one on, or set `fusion: false`."
            )

    @property
    def encoders(self) -> tuple[str, ...]:
        """Encoders of the embedding, in order."""
        return tuple(name for name in ("global", "local", "contour") if getattr(self, f"stem_{name}"))

    @property
    def prompts(self) -> bool:
        """Whether there are prompts."""
        return self.spatial_prompts or self.channel_prompts

    @property
    def prompt_options(self) -> PromptOptions:
        """What the prompts of TaskPrompter are told."""
        return PromptOptions(
            self.prompts_per_task,
            self.spatial_prompts,
            self.channel_prompts,
            self.channel_attention,
            self.channel_grid,
            self.channel_width,
            channel_output=self.channel_output,
            attention_maps=self.attention_maps,
        )

    @property
    def target_at_end(self) -> FusionTarget | None:
        """What the last fusion writes to: prompts behind it are read by the decoder's gate or by nobody."""
        if self.prompt_gate:
            return self.fusion_target
        return None if self.fusion_target == "prompts" else "image"

    @property
    def fusion_branches(self) -> tuple[str, ...]:
        """Branches of the fusion, in order."""
        return tuple(name for name in ("salient", "trend", "raw") if getattr(self, f"fusion_{name}"))
