"""PromptFusion as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from mtdense.backbones import Backbone, Swin, backbone_family, create_backbone
from mtdense.core.errors import ConfigError
from mtdense.data.sample import Batch
from mtdense.models.base import DenseModule
from mtdense.models.layers.detection_head import HeadKind
from mtdense.models.outputs import Outputs
from mtdense.models.prompt_fusion.encoder import FusedSwin
from mtdense.models.prompt_fusion.figures import draw_fusions, draw_places
from mtdense.models.prompt_fusion.network import PromptFusionNetwork
from mtdense.models.prompt_fusion.options import (
    ContourOperator,
    FusionKind,
    FusionPlace,
    FusionSource,
    FusionTarget,
    PresetName,
    PromptEntry,
    PromptFusionOptions,
    StemFuse,
)
from mtdense.models.task_prompter.options import AttentionMaps, ChannelAttentionKind, ChannelOutput
from mtdense.tasks.base import ArrayAny
from mtdense.training import ParameterGroup

__all__ = ["PromptFusion"]

# A Swin for tests: what other architectures have the backbone `tiny` for.
_TINY = ("swin_tiny_patch4_window7_224", {"embed_dim": 8, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 4, 4)})
_TINY_WINDOW = 4


class PromptFusion(DenseModule):
    """A reconstruction of the multi-task network with triple feature embedding and task prompts fusion.

    Geng et al. An end-to-end visual multi-task learning model for task prompts fusion. Computer Engineering and
    Science 48(3), 2026. Only the abstract was at hand: it names the parts, everything else is assumed, on top of
    TaskPrompter. A0 to A20 are the assumptions in the README of this folder.

    Backbones are Swin Transformers; `tiny` is one for tests. At the beginning, features of a pretrained backbone reach
    the decoders unchanged: all that is new is multiplied by gates that begin at 0.

    Args:
        preset: `paper` (widths of TaskPrompter on Cityscapes-3D), `small`, or `tiny` for tests.
        stem_global: The global encoder of the embedding: the backbone's own patches. [A1]
        stem_local: The local encoder. [A1, A3]
        stem_contour: The contour encoder. [A1, A4]
        stem_kernel: Side of the global encoder's large depthwise kernel; 0: none. [A2]
        stem_fuse: How encoders are joined: `gated`, which begins as the backbone's embedding, `concat` or `sum`. [A5]
        contour_operator: What finds contours: Sobel, Laplacian and central differences (`all`), or one of them. [A4]
        contour_theta: Share of central differences in the contour encoder's convolution, where there are any. [A4]
        spatial_prompts: Prompts attend to places. [A7]
        channel_prompts: Prompts attend to channels. [A7]
        channel_attention: What describes a channel: averages on a grid (`pooled`, any image size), or its values at all
            `pixels` as in TaskPrompter, for one `input_size`. [A8]
        channel_grid: Rows and columns of `pooled`; null: 16 x 16, 8 x 8 in `small`, 4 x 4 in `tiny`. [A8]
        channel_output: Whether prompts get what channel attention gathers (`used`), or their projected queries only
            (`discarded`).
        attention_maps: What weighs places and channels: `raw` products, `scaled` ones, or the attention's own shares
            (`softmax`). [A9]
        prompt_entry: How places see prompts: `gated`, beginning with not at all, or in one softmax with the places
            (`joint`, as in TaskPrompter). [A19]
        prompts_per_task: Prompts of each task.
        fusion: Prompt fusion. [A10]
        fusion_place: Behind a stage, once its map has been merged for the next one (`after_merge`) or before
            (`before_merge`), or behind every `block`. [A10]
        fusion_kind: `attention`, or `pool`, a cheaper literal reading. [A12, A15]
        fusion_salient: The branch of greatest values.
        fusion_trend: The branch of means.
        fusion_raw: The branch of values as they are.
        fusion_source: What the branches read: `image`, `prompts` or `both`.
        fusion_target: What the result is added to: `image`, `prompts` or `both`. [A14]
        fusion_grid: Rows and columns that the image is read on; null: 8 x 16, 4 x 8 in `small`, 2 x 3 in `tiny`. [A11]
        prompt_gate: A task's prompt weighs the channels of its maps in the decoder. [A16]
        detection_head: `plain` convolutions, or `task_prompter`, whose towers end in a deformable one.
        new_lr_factor: Learning rate of all that is no backbone over `lr`. [A18]
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: An option of unknown value or out of range, options that contradict each other, or a backbone that
            is no Swin.
    """

    method: ClassVar[str] = "prompt_fusion"
    predicts_levels: ClassVar[bool] = True

    def __init__(
        self,
        preset: PresetName = "paper",
        stem_global: bool = True,
        stem_local: bool = True,
        stem_contour: bool = True,
        stem_kernel: int = 7,
        stem_fuse: StemFuse = "gated",
        contour_operator: ContourOperator = "all",
        contour_theta: float = 0.7,
        spatial_prompts: bool = True,
        channel_prompts: bool = True,
        channel_attention: ChannelAttentionKind = "pooled",
        channel_grid: list[int] | None = None,
        channel_output: ChannelOutput = "used",
        attention_maps: AttentionMaps = "raw",
        prompt_entry: PromptEntry = "gated",
        prompts_per_task: int = 1,
        fusion: bool = True,
        fusion_place: FusionPlace = "after_merge",
        fusion_kind: FusionKind = "attention",
        fusion_salient: bool = True,
        fusion_trend: bool = True,
        fusion_raw: bool = True,
        fusion_source: FusionSource = "both",
        fusion_target: FusionTarget = "both",
        fusion_grid: list[int] | None = None,
        prompt_gate: bool = True,
        detection_head: HeadKind = "plain",
        new_lr_factor: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if not new_lr_factor > 0:
            raise ConfigError(f"new_lr_factor is {new_lr_factor}", "give a number above 0.")
        super().__init__(**kwargs)

    def build_backbone(self) -> Backbone:
        """A Swin with its last norm only."""
        h = self.hparams
        options: dict[str, Any] = {"output_norm": "last", **(h["backbone_options"] or {})}
        name = h["backbone"]
        if name == "tiny":
            if h["pretrained"] or h["backbone_checkpoint"] is not None:
                raise ConfigError("the backbone 'tiny' has no weights to load", "set `pretrained: false`.")
            name, small = _TINY
            overrides = {**small, "window_size": _TINY_WINDOW, **options.pop("overrides", {})}
            return create_backbone(name, overrides=overrides, **{"drop_path_rate": 0.0, **options})
        if backbone_family(name) != "swin":
            raise ConfigError(
                f"the backbone '{name}', which is no Swin Transformer",
                "use swin_t, swin_b, swin_l or another `swin_*` of timm; prompts go through windows and stages.",
            )
        return create_backbone(name, h["pretrained"], h["backbone_checkpoint"], **options)

    def build_network(self) -> nn.Module:
        """The network of `preset` and options on the chosen backbone."""
        h = self.hparams
        options = PromptFusionOptions.of(h)
        backbone = self.build_backbone()
        assert isinstance(backbone, Swin)
        size = tuple(h["input_size"]) if h["input_size"] else None
        return PromptFusionNetwork(backbone, self.tasks, options, size)

    def figures(self, batch: Batch, outputs: Outputs) -> dict[str, ArrayAny]:
        """Where the prompts of the batch's first image look; none without prompts.

        `places`: a row per level, a column per task: the scores of places that decode the task's map, mean over heads.
        `fusion`: of each fusion what its branches read on the grid (strength of the features), and below it for each
        task where its prompt looks (mean over heads), with the share that goes to prompts instead, and how much of the
        branch the prompt takes. For the latter the encoder is run once more.
        """
        network = self.network
        assert isinstance(network, PromptFusionNetwork)
        encoder = network.encoder
        pictures: dict[str, ArrayAny] = {}
        levels = outputs.features["levels"]
        tasks = list(self.tasks)
        if levels[0].spatial is not None:
            pictures["places"] = draw_places([level.spatial[0] for level in levels], tasks)
        if isinstance(encoder, FusedSwin):
            image = batch["image"][:1]
            views = encoder.fusion_views(self.normalise(image, batch["meta"]["content"][:1]))
            if views:
                pictures["fusion"] = draw_fusions(image[0], views, tasks)
        return pictures

    def parameter_groups(self) -> list[ParameterGroup]:
        """The backbone, and everything else with a learning rate of its own."""
        factor = self.hparams["new_lr_factor"]
        if factor == 1.0:
            return super().parameter_groups()
        network = self.network
        assert isinstance(network, PromptFusionNetwork)
        known = {id(p) for p in network.encoder.pretrained()}
        old = [p for p in self.parameters() if id(p) in known]
        new = [p for p in self.parameters() if id(p) not in known]
        return [ParameterGroup(old), ParameterGroup(new, lr=self.hparams["lr"] * factor)]
