"""Presets of BridgeNet, and its options as one checked value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mtdense.backbones import Backbone, HRNet
from mtdense.core.errors import ConfigError
from mtdense.models.bridgenet.tfr import DILATIONS, ConcatForm

__all__ = ["BridgePlan", "PresetName", "Refinement", "TFRSize", "make_plan"]

PresetName = Literal["paper", "small", "tiny"]
TFRSize = Literal["base", "large", "huge"]
Refinement = Literal["tfr", "add", "concat", "add_invpt", "none"]

_LAYERS: dict[str, int] = {"base": 2, "large": 4, "huge": 6}


@dataclass(frozen=True)
class _Preset:
    # None: of the paper, which depends on the backbone.
    width: int | None
    extra: int
    layers: int


_PRESETS: dict[str, _Preset] = {
    "paper": _Preset(None, 64, _LAYERS["large"]),
    "small": _Preset(128, 16, _LAYERS["base"]),
    "tiny": _Preset(12, 4, 1),
}


@dataclass(frozen=True)
class BridgePlan:
    """Sizes and parts of a BridgeNet.

    Args:
        width: Channels of a task's preliminary feature.
        preliminary_width: Channels between the two convolutions of a preliminary decoder.
        widths: Channels of a task at each stage, coarsest first.
        refine_layers: TFR layers of a stage, three blocks each.
        refinement: How tasks use the bridge feature.
        concat_form: Of the refinement `concat`.
        tpp: There is Task Pattern Propagation.
        bfe: Bridge features are made by attention; else the task-generic feature takes their place.
        tpp_feature_to_bridge: Stages start from TPP's features, else from those before it.
        drop_path_rate: Rate of stochastic depth of the last TFR block of a stage.
        unused_parts: Hold what the official code holds and does not use.
    """

    width: int
    preliminary_width: int
    widths: tuple[int, ...]
    refine_layers: int
    refinement: Refinement
    concat_form: ConcatForm
    tpp: bool
    bfe: bool
    tpp_feature_to_bridge: bool
    drop_path_rate: float
    unused_parts: bool

    @property
    def stages(self) -> int:
        """Scales of the decoder, from stride 32 up."""
        return len(self.widths)

    @property
    def drop_rates(self) -> tuple[float, ...]:
        """Stochastic depth of each TFR block of a stage: 0 for the first, rising linearly."""
        blocks = self.refine_layers * len(DILATIONS)
        return tuple(self.drop_path_rate * i / max(1, blocks - 1) for i in range(blocks))


def make_plan(options: Mapping[str, Any], backbone: Backbone) -> BridgePlan:
    """The plan of the module's options on a backbone.

    Raises:
        ConfigError: An option of unknown value or out of range, options that contradict each other, or a backbone
            without the maps that the stages need.
    """
    _check_choices(
        options, {"preset": PresetName, "refinement": Refinement, "concat_form": ConcatForm, "tfr_size": TFRSize}
    )
    preset = _PRESETS[options["preset"]]
    stages = options["num_stages"] or (4 if isinstance(backbone, HRNet) else 3)
    if stages not in (3, 4):
        raise ConfigError(f"num_stages {stages}", "use 3 or 4.")
    _check_maps(backbone.strides, stages)
    width = options["width"] or preset.width or _paper_width(backbone)
    extra = preset.extra if options["extra_width"] is None else options["extra_width"]
    base = width + extra
    if base % 2**stages:
        # Widths are halved from stage to stage, and the last is shared by two heads.
        raise ConfigError(
            f"a width of {width} + {extra} over {stages} stages",
            f"choose `width` + `extra_width` divisible by {2**stages}.",
        )
    if options["refinement"] == "none" and options["bfe"]:
        raise ConfigError("bridge features that nothing uses (`refinement: none`)", "set `bfe: false`.")
    if options["tpp_feature_to_bridge"] and not options["tpp"]:
        raise ConfigError("`tpp_feature_to_bridge` without TPP", "set `tpp: true` or `tpp_feature_to_bridge: false`.")
    if options["unused_parts"] and stages != 3:
        raise ConfigError("`unused_parts` of a network that the official code lacks", "leave it out.")
    layers = options["tfr_layers"] or (_LAYERS[options["tfr_size"]] if options["tfr_size"] else preset.layers)
    if layers < 1:
        raise ConfigError(f"tfr_layers {layers}", "use 1 or more, or `refinement: add`.")
    if not 0 <= options["tfr_drop_path_rate"] < 1:
        raise ConfigError(f"tfr_drop_path_rate {options['tfr_drop_path_rate']}", "use a rate from 0 to below 1.")
    return BridgePlan(
        width=width,
        preliminary_width=options["preliminary_width"] or _preliminary_width(backbone, preset.width),
        widths=tuple(base // 2**i for i in range(stages)),
        refine_layers=layers,
        refinement=options["refinement"],
        concat_form=options["concat_form"],
        tpp=options["tpp"],
        bfe=options["bfe"],
        tpp_feature_to_bridge=options["tpp_feature_to_bridge"],
        drop_path_rate=options["tfr_drop_path_rate"],
        unused_parts=options["unused_parts"],
    )


def _check_choices(options: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    for name, literal in choices.items():
        allowed = get_args(literal)
        if options[name] is not None and options[name] not in allowed:
            raise ConfigError(f"unknown {name} '{options[name]}'", f"use one of {', '.join(allowed)}.")


def _check_maps(strides: Sequence[int], stages: int) -> None:
    if len(strides) != 4:
        raise ConfigError(f"a backbone of {len(strides)} maps", "BridgeNet reads four; choose another backbone.")
    if stages == 4 and tuple(strides) != (4, 8, 16, 32):
        raise ConfigError(
            f"four stages on a backbone of strides {list(strides)}", "use a pyramid of strides 4 to 32, or 3 stages."
        )


def _paper_width(backbone: Backbone) -> int:
    # HRNets: that of the coarsest branch.
    return backbone.channels[-1] if isinstance(backbone, HRNet) else 512


def _preliminary_width(backbone: Backbone, preset_width: int | None) -> int:
    if preset_width is not None:
        return min(preset_width, backbone.channels[-1])
    # The paper's are those of the backbone's last map; it is silent on ResNet-50, whose 2048 channels would give each
    # task 47 million parameters here.
    channels = backbone.channels[-1]
    return channels if channels <= 1280 else _paper_width(backbone)
