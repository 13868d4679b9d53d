"""Cross-Stitch as a LightningModule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models.agreement import check_choice
from mtdense.models.base import DenseModule
from mtdense.models.cross_stitch.network import CrossStitchUnit
from mtdense.models.layers import SeparateEncoders, SharedEncoder

__all__ = ["PRESETS", "CrossStitch", "Form"]

Form = Literal["shared_encoder", "separate_encoders"]
# The most channels of a task's feature behind a shared encoder; channels of the heads of separate ones.
PRESETS: dict[str, tuple[int | None, int]] = {"paper": (None, 256), "small": (128, 128), "tiny": (16, 16)}


class CrossStitch(DenseModule):
    """Cross-Stitch networks (Misra et al., CVPR 2016): tasks mix their features, channel by channel.

    Args:
        preset: Behind a shared encoder a task's feature has a quarter of its channels (`paper`), at most 128
            (`small`) or 16 (`tiny`, for tests); heads of separate encoders are 256, 128 or 16 wide.
        form: `shared_encoder`, as in the tables of ATRC and TIF: one unit between ATRC's plain decoders and their
            heads [inferred from the counts]; `separate_encoders`: an encoder and a DeepLab head per task and a unit
            behind each stage, the original as V-MTL's survey has it.
        own_weight: Initial weight of a task's own feature.
        other_weight: Initial weight of each other task's; null: what is missing to 1, in equal parts.
        kwargs: See `DenseModule`. `separate_encoders` needs a ResNet (or `tiny`); {output_stride: 8} in
            `backbone_options` dilates it as the survey does.

    Raises:
        ConfigError: An option of unknown value, or a backbone without stages that run one by one.
    """

    method: ClassVar[str] = "cross_stitch"
    unit_behind_stem: ClassVar[bool] = False
    """Whether separate encoders exchange features behind their stems, too."""

    def __init__(
        self,
        preset: Literal["paper", "small", "tiny"] = "paper",
        form: Form = "shared_encoder",
        own_weight: float = 0.9,
        other_weight: float | None = 0.1,
        **kwargs: Any,
    ) -> None:
        check_choice("preset", preset, tuple(PRESETS))
        check_choice("form", form, ("shared_encoder", "separate_encoders"))
        if not all(math.isfinite(w) for w in (own_weight, other_weight or 0.0)):
            raise ConfigError(f"own_weight is {own_weight}, other_weight {other_weight}", "give numbers.")
        super().__init__(**kwargs)

    def unit(self, tasks: Sequence[str], channels: int) -> nn.Module:
        """What mixes features of this many channels."""
        return CrossStitchUnit(tasks, channels, *self.initial_weights())

    def initial_weights(self) -> tuple[float, float]:
        """Weights of a task's own feature and of each other task's."""
        own, other = self.hparams["own_weight"], self.hparams["other_weight"]
        return own, (1 - own) / max(1, len(self.tasks) - 1) if other is None else other

    def build_network(self) -> nn.Module:
        """The network of `preset` and `form` on the chosen backbone."""
        h = self.hparams
        outputs = {name: task.num_outputs for name, task in self.tasks.items()}
        limit, head_width = PRESETS[h["preset"]]
        if h["form"] == "shared_encoder":
            return SharedEncoder(self.build_backbone(), outputs, self.unit, limit)
        backbones = {name: self.build_backbone() for name in outputs}
        return SeparateEncoders(backbones, outputs, self.unit, head_width, self.unit_behind_stem)
