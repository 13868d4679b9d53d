"""DeMT as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models.agreement import check_choice, check_whole
from mtdense.models.base import DenseModule
from mtdense.models.demt.network import DeMTNetwork, Interaction

__all__ = ["PRESETS", "DeMT"]

# Width of tokens; HRNet-W18's row is printed with another than the public code has.
PRESETS: dict[str, int] = {"paper": 256, "small": 64, "tiny": 16}
HRNET_W18_WIDTH = 128


class DeMT(DenseModule):
    """Deformable mixer transformer (Xu, Yang and Zhang, AAAI 2023, arXiv:2301.03461).

    Args:
        preset: `paper`; `small` is 64 wide, `tiny` 16 wide, for tests.
        width: Channels of tokens and mixers; null: the preset's, which for `paper` is 256, and 128 on HRNet-W18.
            [inferred for HRNet-W18, from the parameters]
        num_heads: Attention heads.
        mixer_depth: Deformable mixers of a task, one after the other.
        interaction: What a token reads in the task interaction block: `own_token` itself only, which is what remains
            of the public code's attention with one image per device, as it was trained; `tasks` those of all tasks at
            its place, nearer the text.
        offset_places: Where the mixer's offsets are made of places, these are `absolute` ones, as in the public code,
            or `relative` to the centre. [ours]
        fusion_width: Channels that a head reads; null: an eighth of the backbone's channels together.
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: An option of unknown value or out of range.
    """

    method: ClassVar[str] = "demt"

    def __init__(
        self,
        preset: Literal["paper", "small", "tiny"] = "paper",
        width: int | None = None,
        num_heads: int = 4,
        mixer_depth: int = 1,
        interaction: Interaction = "own_token",
        offset_places: Literal["absolute", "relative"] = "absolute",
        fusion_width: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_choice("preset", preset, tuple(PRESETS))
        check_choice("interaction", interaction, ("own_token", "tasks"))
        check_choice("offset_places", offset_places, ("absolute", "relative"))
        for name, value in (("width", width), ("fusion_width", fusion_width)):
            if value is not None:
                check_whole(name, value)
        check_whole("num_heads", num_heads)
        check_whole("mixer_depth", mixer_depth)
        super().__init__(**kwargs)

    def build_network(self) -> nn.Module:
        """The network of `preset` and options on the chosen backbone."""
        h = self.hparams
        width = h["width"] or PRESETS[h["preset"]]
        if h["width"] is None and h["preset"] == "paper" and h["backbone"].startswith("hrnet_w18"):
            width = HRNET_W18_WIDTH
        if width % h["num_heads"]:
            raise ConfigError(
                f"{h['num_heads']} attention heads do not divide a width of {width}",
                "set `num_heads` to a divisor, or another `width`.",
            )
        return DeMTNetwork(
            self.build_backbone(),
            {name: task.num_outputs for name, task in self.tasks.items()},
            width,
            h["num_heads"],
            h["mixer_depth"],
            h["fusion_width"],
            h["interaction"],
            h["offset_places"] == "absolute",
        )
