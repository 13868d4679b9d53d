"""TaskPrompter as a LightningModule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from mtdense.backbones import Backbone, Swin, VisionTransformer, backbone_family, create_backbone
from mtdense.core.errors import ConfigError
from mtdense.models.agreement import check_choice, check_whole
from mtdense.models.base import DenseModule
from mtdense.models.layers.detection_head import DetectionBranch, HeadKind
from mtdense.models.task_prompter.decoder import HeadShape
from mtdense.models.task_prompter.network import TaskPrompterNetwork
from mtdense.models.task_prompter.options import AttentionMaps, ChannelAttentionKind, ChannelOutput, PromptOptions
from mtdense.models.task_prompter.swin_prompting import SwinPrompting
from mtdense.models.task_prompter.vit_prompting import ViTPrompting

__all__ = ["PRESETS", "TaskPrompter"]


@dataclass(frozen=True)
class Preset:
    """Sizes of a preset.

    Args:
        swin: `level_width` and `width` on Swin.
        vit: The same on ViT.
        channel_width: See `PromptOptions`.
        channel_grid: See `PromptOptions`.
        detection: Channels and convolutions of a tower of the detection head.
    """

    swin: tuple[int, int]
    vit: tuple[int, int]
    channel_width: int
    channel_grid: tuple[int, int]
    detection: tuple[int, int]


PRESETS = {
    "paper": Preset((256, 450), (780, 1024), 256, (16, 16), (256, 3)),
    "small": Preset((64, 128), (64, 128), 64, (8, 8), (64, 2)),
    "tiny": Preset((8, 16), (8, 16), 16, (4, 4), (16, 1)),
}

# One coarser level, made of the coarsest of four.
_EXTRA_LEVELS = 1


class TaskPrompter(DenseModule):
    """Spatial-channel multi-task prompting: prompts of tasks live in all blocks of a transformer.

    H. Ye and D. Xu, "TaskPrompter: Spatial-Channel Multi-Task Prompting for Dense Scene Understanding", ICLR 2023; the
    variant for 3-D detection, segmentation and depth is of its public code. See the README of this folder.

    Args:
        preset: `paper` (on Swin 256 and 450 wide, on ViT 780 and 1024: the published ones differ by data and backbone,
            see the experiments), `small` (128) or `tiny` (16, for tests). Chooses what is null below.
        level_width: Channels that features are projected to under each kind of prompt.
        width: Channels of a task's features.
        prompts_per_task: Prompts of each task.
        spatial_prompts: Prompts attend to places.
        channel_prompts: Prompts attend to channels.
        channel_attention: What describes a channel: its values averaged to `channel_grid` (`pooled`, ours: images of
            any size), or at all places (`pixels`, as published: images of `input_size` only).
        channel_grid: Rows and columns of `pooled`.
        channel_width: Numbers that channels and prompts are compared by, on Swin.
        channel_heads: Heads of channel attention; a square number.
        channel_output: Whether prompts get what channel attention gathers (`used`) or their own queries only
            (`discarded`): the public code discards it on ViT and uses it on Swin.
        attention_maps: What the scores of places and channels are: `raw` products, as published, `scaled` ones, or
            the `softmax`.
        cross_task: Weigh tasks' features by the scores of their prompts for each other and add them up; ViT only.
        head: `conv` or `deconv` (twice the resolution); null: `deconv` on Swin, `conv` on ViT.
        detection_head: `task_prompter`, whose towers end in a deformable convolution, or `plain` ones; matters to
            3-D detection only, which needs a Swin.
        unused_parts: Hold what the public code holds and does not use: published counts then fit.
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: A backbone that is neither Swin nor ViT, or options of unknown value or that contradict each other.
    """

    method: ClassVar[str] = "task_prompter"
    predicts_levels: ClassVar[bool] = True

    def __init__(
        self,
        preset: Literal["paper", "small", "tiny"] = "paper",
        level_width: int | None = None,
        width: int | None = None,
        prompts_per_task: int = 1,
        spatial_prompts: bool = True,
        channel_prompts: bool = True,
        channel_attention: ChannelAttentionKind = "pooled",
        channel_grid: list[int] | None = None,
        channel_width: int | None = None,
        channel_heads: int = 1,
        channel_output: ChannelOutput = "used",
        attention_maps: AttentionMaps = "raw",
        cross_task: bool = False,
        head: HeadShape | None = None,
        detection_head: HeadKind = "task_prompter",
        unused_parts: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)

    def build_backbone(self) -> Backbone:
        """The backbone as prompts need it: a Swin with the classifier's last norm, a ViT without class token."""
        h = self.hparams
        family = backbone_family(h["backbone"])
        needed: dict[str | None, dict[str, Any]] = {"swin": {"output_norm": "last"}, "vit": {"class_token": False}}
        if family not in needed:
            raise ConfigError(
                f"prompts in the backbone '{h['backbone']}', which is neither Swin nor ViT",
                "use swin_t, swin_s, swin_b, swin_l, vit_base, vit_large, or one of timm's of these families.",
            )
        size = tuple(h["input_size"]) if h["input_size"] else None
        options = {**needed[family], **(h["backbone_options"] or {})}
        return create_backbone(h["backbone"], h["pretrained"], h["backbone_checkpoint"], size, **options)

    def build_network(self) -> nn.Module:
        """The network of `preset` on the chosen backbone."""
        h = self.hparams
        check_choice("preset", h["preset"], tuple(PRESETS))
        check_choice("head", h["head"], (None, "conv", "deconv"))
        preset = PRESETS[h["preset"]]
        options = PromptOptions(
            prompts_per_task=h["prompts_per_task"],
            spatial=h["spatial_prompts"],
            channel=h["channel_prompts"],
            channel_attention=h["channel_attention"],
            channel_grid=preset.channel_grid if h["channel_grid"] is None else tuple(h["channel_grid"]),
            channel_width=preset.channel_width if h["channel_width"] is None else h["channel_width"],
            channel_heads=h["channel_heads"],
            channel_output=h["channel_output"],
            attention_maps=h["attention_maps"],
            unused_parts=h["unused_parts"],
        )
        backbone = self.build_backbone()
        size = (h["input_size"][0], h["input_size"][1]) if h["input_size"] else None
        prompting: SwinPrompting | ViTPrompting
        if isinstance(backbone, Swin):
            prompting = SwinPrompting(backbone, len(self.tasks), options, size)
        else:
            assert isinstance(backbone, VisionTransformer)
            prompting = ViTPrompting(backbone, len(self.tasks), options, h["cross_task"])
        widths = preset.swin if isinstance(backbone, Swin) else preset.vit
        level_width = widths[0] if h["level_width"] is None else h["level_width"]
        width = widths[1] if h["width"] is None else h["width"]
        check_whole("level_width", level_width)
        check_whole("width", width, 2)
        outputs = {name: task.num_outputs for name, task in self.tasks.items() if task.output_kind == "map"}
        channels, convs = preset.detection
        branches = {
            name: DetectionBranch([width] * 4, task.output_groups, channels, _EXTRA_LEVELS, convs, h["detection_head"])
            for name, task in self.tasks.items()
            if task.output_kind == "levels"
        }
        return TaskPrompterNetwork(prompting, outputs, branches, level_width, width, h["head"], h["cross_task"])
