"""Options of MQTransformer as one checked value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from mtdense.core.errors import ConfigError
from mtdense.models.agreement import check_choice, check_whole

__all__ = ["PRESETS", "LocalResidual", "MQTransformerOptions", "PresetName", "TokenReach"]

PresetName = Literal["paper", "small", "tiny"]
TokenReach = Literal["own_token", "map"]
LocalResidual = Literal["input", "previous"]

PRESETS: dict[str, dict[str, int]] = {
    "paper": {"width": 256, "num_queries": 64},
    "small": {"width": 128, "num_queries": 64},
    "tiny": {"width": 16, "num_queries": 4},
}
"""What a preset chooses where an option is null."""


@dataclass(frozen=True)
class MQTransformerOptions:
    """All that the network depends on besides its tasks; see `MQTransformer`.

    Raises:
        ConfigError: An option of unknown value or out of range, or heads that do not divide the width.
    """

    width: int = 256
    num_queries: int = 64
    num_heads: int = 4
    rounds: int = 1
    encoder_ffn_ratio: int = 1
    interaction_ffn_ratio: int = 1
    decoder_ffn_ratio: int = 3
    token_reach: TokenReach = "own_token"
    local_residual: LocalResidual = "input"
    fusion_width: int | None = None
    drop_path: float = 0.1
    query_drop_path: float = 0.5
    query_dropout: float = 0.1

    @classmethod
    def of(cls, hparams: Mapping[str, Any]) -> MQTransformerOptions:
        """The options of an `MQTransformer`, its preset filled in."""
        check_choice("preset", hparams["preset"], get_args(PresetName))
        chosen = {f.name: hparams[f.name] for f in fields(cls)}
        for name, value in PRESETS[hparams["preset"]].items():
            chosen[name] = value if chosen[name] is None else chosen[name]
        return cls(**chosen)

    def __post_init__(self) -> None:
        check_choice("token_reach", self.token_reach, get_args(TokenReach))
        check_choice("local_residual", self.local_residual, get_args(LocalResidual))
        ratios = ("encoder_ffn_ratio", "interaction_ffn_ratio", "decoder_ffn_ratio")
        for name in ("width", "num_queries", "num_heads", "rounds", *ratios):
            check_whole(name, getattr(self, name))
        if self.fusion_width is not None:
            check_whole("fusion_width", self.fusion_width)
        if self.width % self.num_heads:
            raise ConfigError(
                f"{self.num_heads} attention heads do not divide a width of {self.width}",
                "set `num_heads` to a divisor, or another `width`.",
            )
        for name in ("drop_path", "query_drop_path", "query_dropout"):
            rate = getattr(self, name)
            if not (math.isfinite(rate) and 0 <= rate < 1):
                raise ConfigError(f"{name} is {rate}", "give a probability below 1.")

    @property
    def head_width(self) -> int:
        """Channels of an attention head."""
        return self.width // self.num_heads
