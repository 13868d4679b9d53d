"""The MTL baseline as a LightningModule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import nn

from mtdense.core.errors import ConfigError
from mtdense.models.base import DenseModule
from mtdense.models.layers.detection_head import DetectionBranch, HeadKind
from mtdense.models.layers.segnet import SegNetNetwork, segnet_filters
from mtdense.models.mtl_baseline.network import SharedEncoderNetwork
from mtdense.tasks import Task

__all__ = ["PRESETS", "MTLBaseline"]

# Width of neck and decoders. `paper` gives the published parameter counts, `small` is for CPUs and demonstrations.
PRESETS = {"paper": 512, "small": 128, "tiny": 16}

# Channels and convolutions of a tower of the detection head.
_DETECTION = {"paper": (256, 3), "small": (64, 2), "tiny": (16, 1)}
# Levels of strides 64 and 128, made of that of stride 32.
_EXTRA_LEVELS = 2


class MTLBaseline(DenseModule):
    """One shared encoder, one decoder per task: what every multi-task method is compared with.

    `backbone: segnet` builds the network of MTAN and MTPSL instead: SegNet from scratch, encoder and decoder shared,
    a head per task. Their images are not normalised: `normalization: weights` says so.

    3-D detection shares the backbone only: a pyramid over its maps of strides 8 to 32 with two coarser levels, and the
    head of FCOS3D.

    Args:
        preset: `paper` (width 512), `small` (128) or `tiny` (16, for tests).
        detection_head: `plain` convolutions, or `task_prompter`, whose towers end in a deformable one; matters to 3-D
            detection only.
        kwargs: See `DenseModule`.
    """

    method: ClassVar[str] = "mtl_baseline"
    predicts_levels: ClassVar[bool] = True

    def __init__(
        self,
        preset: Literal["paper", "small", "tiny"] = "paper",
        detection_head: HeadKind = "plain",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)

    def build_network(self) -> nn.Module:
        """The network of `preset` on the chosen backbone."""
        h = self.hparams
        outputs = {name: task.num_outputs for name, task in self.tasks.items() if task.output_kind == "map"}
        if h["backbone"] == "segnet":
            if h["pretrained"] or h["backbone_checkpoint"] is not None:
                raise ConfigError(
                    "weights for 'segnet', which is trained from scratch",
                    "set `pretrained: false` and leave out `backbone_checkpoint`.",
                )
            if len(outputs) < len(self.tasks):
                raise ConfigError(
                    "'segnet' has no pyramid to detect boxes in",
                    "use another backbone, or leave detection_3d out of `data.tasks`.",
                )
            return SegNetNetwork(outputs, segnet_filters(PRESETS[h["preset"]]))
        backbone = self.build_backbone()
        others = {name: task for name, task in self.tasks.items() if task.output_kind == "levels"}
        branches = {name: self._branch(task, backbone.channels[1:]) for name, task in others.items()}
        return SharedEncoderNetwork(backbone, outputs, PRESETS[h["preset"]], branches=branches)

    def _branch(self, task: Task, in_channels: Sequence[int]) -> nn.Module:
        channels, convs = _DETECTION[self.hparams["preset"]]
        kind = self.hparams.get("detection_head", "plain")
        return DetectionBranch(in_channels, task.output_groups, channels, _EXTRA_LEVELS, convs, kind)
