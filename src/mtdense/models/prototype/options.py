"""Presets of the prototype network, and its options as one checked value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mtdense.core.errors import ConfigError
from mtdense.models.agreement import check_choice, check_whole

__all__ = [
    "PRESETS",
    "Affinity",
    "BlockNorm",
    "CodebookInit",
    "Decoder",
    "HeadInput",
    "LossRegion",
    "Neck",
    "Positions",
    "Preset",
    "PresetName",
    "PrototypeGradient",
    "PrototypeInit",
    "ReconstructionDistance",
    "ReconstructionTarget",
    "Similarity",
    "TCForm",
    "TCMean",
    "TKEAverage",
    "TKEImages",
    "VQDistance",
    "VQGradient",
    "check_options",
]

PresetName = Literal["paper", "dmtl", "small", "tiny"]
Decoder = Literal["conv", "basic_block"]
Neck = Literal["last", "all"]
CodebookInit = Literal["uniform", "normal"]
VQDistance = Literal["l2", "cosine"]
VQGradient = Literal["lookup", "straight_through", "both"]
ReconstructionTarget = Literal["normalised", "raw"]
ReconstructionDistance = Literal["mse", "l1"]
PrototypeInit = Literal["normal", "orthogonal"]
Affinity = Literal["per_position", "pooled", "tokens"]
Similarity = Literal["cosine", "dot"]
PrototypeGradient = Literal["akg", "affinity", "all"]
TKEImages = Literal["labelled", "all"]
TKEAverage = Literal["pairs", "tasks", "images"]
TCForm = Literal["hinge", "infonce", "anchor"]
TCMean = Literal["batch", "image"]
BlockNorm = Literal["pre", "post"]
Positions = Literal["none", "sincos"]
HeadInput = Literal["refined", "sum"]
LossRegion = Literal["content", "canvas"]

_CHOICES: dict[str, Any] = {
    "preset": PresetName,
    "decoder_stride": Literal[8, 16],
    "codebook_init": CodebookInit,
    "vq_distance": VQDistance,
    "vq_gradient": VQGradient,
    "reconstruction_target": ReconstructionTarget,
    "reconstruction_distance": ReconstructionDistance,
    "prototype_init": PrototypeInit,
    "affinity": Affinity,
    "similarity": Similarity,
    "prototype_gradient": PrototypeGradient,
    "tke_images": TKEImages,
    "tke_average": TKEAverage,
    "tc_form": TCForm,
    "tc_mean": TCMean,
    "retrieval_norm": BlockNorm,
    "positional_encoding": Positions,
    "head_input": HeadInput,
    "loss_region": LossRegion,
}
_POSITIVE = ("temperature", "tc_temperature")
_NOT_NEGATIVE = ("lambda_tae", "commitment_weight", "codebook_weight", "preliminary_supervision")


def _has_affinity(options: Mapping[str, Any]) -> bool:
    return bool(options["retrieval"] or options["loss_tke"])


def _averages(options: Mapping[str, Any]) -> bool:
    names = ("loss_tae", "loss_tke", "loss_tc", "commitment_weight", "codebook_weight", "dead_code_steps")
    pools = options["affinity"] != "per_position" and _has_affinity(options)
    return pools or any(options[name] for name in names)


def _has_prototype(options: Mapping[str, Any]) -> bool:
    return _has_affinity(options) or bool(options["loss_tc"])


_ACTS: tuple[tuple[str, Callable[[Mapping[str, Any]], bool], tuple[str, ...]], ...] = (
    (
        "without a codebook (`vq: false`)",
        lambda o: o["vq"],
        (
            "codebook_size",
            "codebook_init",
            "vq_distance",
            "vq_gradient",
            "commitment_weight",
            "codebook_weight",
            "dead_code_steps",
        ),
    ),
    (
        "with `loss_tae: false`",
        lambda o: o["loss_tae"],
        ("reconstruction_target", "reconstruction_distance"),
    ),
    (
        "where no loss has it for a weight",
        lambda o: o["loss_tae"] or (o["lambda_akg"] is None and (o["loss_tke"] or o["loss_tc"])),
        ("lambda_tae",),
    ),
    ("with `loss_tke: false` and `loss_tc: false`", lambda o: o["loss_tke"] or o["loss_tc"], ("lambda_akg",)),
    ("without `retrieval`, `loss_tke` and `loss_tc`", _has_prototype, ("slot_dim", "prototype_init")),
    ("without `retrieval` and `loss_tke`", _has_affinity, ("affinity", "similarity", "temperature")),
    ("with `similarity: dot`", lambda o: o["similarity"] == "cosine", ("temperature",)),
    ("with `loss_tke: false`", lambda o: o["loss_tke"], ("tke_images", "tke_average")),
    ("with `loss_tc: false`", lambda o: o["loss_tc"], ("tc_form", "tc_mean")),
    (
        "without `loss_tc` of `tc_form: infonce`",
        lambda o: o["loss_tc"] and o["tc_form"] == "infonce",
        ("tc_temperature",),
    ),
    ("where nothing is averaged over positions", _averages, ("loss_region",)),
    (
        "with `retrieval: false`",
        lambda o: o["retrieval"],
        (
            "prototype_gradient",
            "retrieval_blocks",
            "retrieval_heads",
            "retrieval_norm",
            "cross_residual",
            "attention_scaling",
            "attention_downsample",
            "positional_encoding",
            "head_input",
            "preliminary_supervision",
        ),
    ),
)
"""(why not, when they do, names) of options that act only beside others."""


@dataclass(frozen=True)
class Preset:
    """Sizes of a network.

    Args:
        neck: Maps that the neck reads: the `last` of the pyramid, or `all`, concatenated.
        width: Channels of the shared feature and of the decoders.
        feature_width: Channels of a task's feature, and width of the transformer.
        output_width: Channels that a task's head reads after retrieval.
        decoder: Kind of decoder.
        slot_dim: Elements of a prototype slot.
        codebook_size: Slots of the codebook, each `width` wide.
        heads: Attention heads.
    """

    neck: Neck
    width: int
    feature_width: int
    output_width: int
    decoder: Decoder
    slot_dim: int
    codebook_size: int
    heads: int = 8


PRESETS: dict[str, Preset] = {
    "paper": Preset("last", 1024, 512, 1024, "conv", 1024, 256),
    "dmtl": Preset("all", 512, 512, 1024, "basic_block", 1024, 512),
    "small": Preset("all", 128, 128, 256, "basic_block", 256, 128),
    "tiny": Preset("all", 16, 16, 16, "basic_block", 16, 8, 2),
}


def check_options(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> Preset:
    """Checks the options of `Prototype` and returns its preset.

    Args:
        options: {name: value} of all.
        defaults: {name: value} that an option without an effect may have.

    Raises:
        ConfigError: An option of unknown value or out of range, or options that contradict each other.
    """
    for name, known in _CHOICES.items():
        check_choice(name, options[name], get_args(known))
    if options["decoder"] is not None:
        check_choice("decoder", options["decoder"], get_args(Decoder))
    for name in ("slot_dim", "codebook_size", "retrieval_heads"):
        if options[name] is not None:
            check_whole(name, options[name], 1)
    check_whole("retrieval_blocks", options["retrieval_blocks"], 1)
    check_whole("attention_downsample", options["attention_downsample"], 1)
    check_whole("dead_code_steps", options["dead_code_steps"], 0)
    for name in _POSITIVE:
        if not (math.isfinite(options[name]) and options[name] > 0):
            raise ConfigError(f"{name} is {options[name]}", "give a number above 0.")
    weights = {name: options[name] for name in _NOT_NEGATIVE}
    if options["lambda_akg"] is not None:
        weights["lambda_akg"] = options["lambda_akg"]
    for name, value in weights.items():
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{name} is {value}", "give a number of 0 or more.")
    preset = PRESETS[options["preset"]]
    heads = options["retrieval_heads"] or preset.heads
    if preset.feature_width % heads:
        raise ConfigError(
            f"{heads} attention heads do not divide the {preset.feature_width} channels of the task features",
            "set `retrieval_heads` to a divisor.",
        )
    _check_effects(options, defaults)
    _check_agreement(options)
    return preset


def _check_effects(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuses options that another option leaves without an effect, and losses of weight 0."""
    for why, acts, names in _ACTS:
        for name in names:
            if options[name] != defaults[name] and not acts(options):
                raise ConfigError(f"`{name}: {options[name]}` has no effect {why}", f"leave out `{name}`.")
    akg = "lambda_tae" if options["lambda_akg"] is None else "lambda_akg"
    for loss, weight in (("loss_tae", "lambda_tae"), ("loss_tke", akg), ("loss_tc", akg)):
        if options[loss] and options[weight] == 0:
            raise ConfigError(f"`{loss}` with a weight of 0 (`{weight}`)", f"set `{loss}: false`, or raise `{weight}`.")


def _check_agreement(options: Mapping[str, Any]) -> None:
    """Refuses parameters that nothing would train."""
    if options["vq"] and options["vq_gradient"] == "straight_through" and options["codebook_weight"] == 0:
        raise ConfigError(
            "`vq_gradient: straight_through` lets no loss reach the codebook",
            "set `codebook_weight` above 0, or use `lookup` or `both`.",
        )
    trained = options["loss_tke"] or (options["loss_tc"] and options["tc_form"] != "anchor")
    if options["retrieval"] and not trained and options["prototype_gradient"] == "akg":
        raise ConfigError(
            "no loss trains the prototype that the retrieval reads",
            "set `prototype_gradient: affinity` or `all`, switch on `loss_tke`, or set `retrieval: false`.",
        )
    if not options["retrieval"] and not trained and options["loss_tc"]:
        raise ConfigError(
            "`tc_form: anchor` alone, without retrieval, has no use for the prototype",
            "switch on `loss_tke` or `retrieval`, or choose another `tc_form`.",
        )
