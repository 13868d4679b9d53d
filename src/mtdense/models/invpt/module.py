"""InvPT as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models.agreement import check_choice
from mtdense.models.base import DenseModule
from mtdense.models.invpt.network import InvPTNetwork

__all__ = ["PRESETS", "InvPT", "decoder_widths"]

PRESETS = {"paper": (512, 64), "small": (128, 16), "tiny": (12, 4)}
"""Channels of a task's preliminary feature, and further channels of the stages, of each preset."""


def decoder_widths(preset: str, preliminary: int | None, channels: int) -> tuple[int, int, tuple[int, int, int]]:
    """Channels of a task's preliminary feature, inside its preliminary decoder, and of the stages.

    Args:
        preset: One of `PRESETS`.
        preliminary: Channels inside the preliminary decoder; None: the preset's.
        channels: Of the backbone's last map.
    """
    width, extra = PRESETS[preset]
    base = width + extra
    hidden = preliminary or (channels if preset == "paper" else min(width, channels))
    return width, hidden, (base, base // 2, base // 4)


class InvPT(DenseModule):
    """Attention over all tasks and places at once, from coarse to fine.

    H. Ye and D. Xu, "Inverted Pyramid Multi-task Transformer for Dense Scene Understanding", ECCV 2022. As the official
    code, without its unused parts. Backbones other than ViT are ours: a stage then adds the map of its own stride.

    Args:
        preset: `paper`, `small` (128 wide) or `tiny` (16 wide, for tests).
        preliminary_width: Channels between the convolutions of a preliminary decoder; null: those of the backbone's
            last map, in `small` and `tiny` at most the preset's width.
        preliminary_weight: Weight of the loss on preliminary predictions; 1 in the official code.
        unused_parts: Hold what the official code holds and does not use: official checkpoints and counts then fit.
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: Unknown preset, a backbone without four maps, or `unused_parts` without a ViT.
    """

    method: ClassVar[str] = "invpt"

    def __init__(
        self,
        preset: Literal["paper", "small", "tiny"] = "paper",
        preliminary_width: int | None = None,
        preliminary_weight: float = 1.0,
        unused_parts: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)

    def build_network(self) -> nn.Module:
        """The network of `preset` on the chosen backbone."""
        h = self.hparams
        check_choice("preset", h["preset"], tuple(PRESETS))
        self.preliminary_weight = h["preliminary_weight"]
        backbone = self.build_backbone()
        if len(backbone.strides) != 4:
            raise ConfigError(
                f"a backbone of {len(backbone.strides)} maps", "InvPT reads four; choose another backbone."
            )
        if h["unused_parts"] and len(set(backbone.strides)) > 1:
            raise ConfigError("`unused_parts` of a network that the official code lacks", "use it with a ViT only.")
        widths = decoder_widths(h["preset"], h["preliminary_width"], backbone.channels[-1])
        outputs = {name: task.num_outputs for name, task in self.tasks.items()}
        return InvPTNetwork(backbone, outputs, *widths, h["unused_parts"])
