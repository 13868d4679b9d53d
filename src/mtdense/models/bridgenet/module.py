"""BridgeNet as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from mtdense.data.sample import Batch
from mtdense.models.base import DenseModule
from mtdense.models.bridgenet.figures import draw_stages, draw_tpp
from mtdense.models.bridgenet.network import BridgeNetwork
from mtdense.models.bridgenet.options import PresetName, Refinement, TFRSize, make_plan
from mtdense.models.bridgenet.tfr import ConcatForm
from mtdense.models.feature_pictures import draw_tasks
from mtdense.models.outputs import Outputs
from mtdense.tasks.base import ArrayAny

__all__ = ["BridgeNet"]


class BridgeNet(DenseModule):
    """Task-generic features gather what all tasks know, and guide each task in turn.

    J. Zhang et al., "BridgeNet: Comprehensive and Effective Feature Interactions via Bridge Feature for Multi-task
    Dense Predictions". Defaults are the official code's behaviour without its unused parts; where the paper says
    something else, an option has both. The README of this folder has the reasons.

    Args:
        preset: `paper`, `small` (128 wide) or `tiny` (16 wide, for tests).
        tfr_size: TFR layers of a stage: `base` 2, `large` 4, `huge` 6; null takes the preset's (`large`).
        tfr_layers: Number of TFR layers instead.
        tfr_drop_path_rate: Stochastic depth of a stage's last TFR block, rising linearly from 0.
        tpp: Task Pattern Propagation.
        bfe: Bridge features by cross-attention; false: the task-generic feature takes their place. [ours]
        refinement: How tasks use the bridge feature: `tfr`, `add`, `concat`, `add_invpt` (added, then InvPT's block),
            or `none`: no bridge at all, the decoder alone. [`add_invpt`: inferred; `none`: ours]
        concat_form: The one convolution of `concat`, which the paper does not give. [assumed]
        tpp_feature_to_bridge: Stages start from TPP's features, as the paper says; false: from those before TPP, which
            then acts through the preliminary predictions alone, as in the official code.
        num_stages: 3, or 4 for pyramids of strides 4 to 32; null: 4 for HRNets, else 3.
        width: Channels of a task's preliminary feature; null: 512, or for HRNets those of the coarsest branch. [HRNets:
            inferred]
        extra_width: Channels that the stages have beyond `width`; null takes the preset's (64).
        preliminary_width: Channels between the convolutions of a preliminary decoder; null: the backbone's last map's,
            but `width` where these exceed 1280 (ResNet-50). [ResNet-50: assumed]
        preliminary_weight: Weight of the loss on preliminary predictions.
        unused_parts: Hold what the official code holds and does not use: official checkpoints and counts then fit.
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: An option of unknown value or out of range, options that contradict each other, or a backbone
            without the maps that the stages need.
    """

    method: ClassVar[str] = "bridgenet"

    def __init__(
        self,
        preset: PresetName = "paper",
        tfr_size: TFRSize | None = None,
        tfr_layers: int | None = None,
        tfr_drop_path_rate: float = 0.15,
        tpp: bool = True,
        bfe: bool = True,
        refinement: Refinement = "tfr",
        concat_form: ConcatForm = "conv1x1",
        tpp_feature_to_bridge: bool = False,
        num_stages: Literal[3, 4] | None = None,
        width: int | None = None,
        extra_width: int | None = None,
        preliminary_width: int | None = None,
        preliminary_weight: float = 0.5,
        unused_parts: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)

    def build_network(self) -> nn.Module:
        """The network of `preset` and options on the chosen backbone."""
        h = self.hparams
        self.preliminary_weight = h["preliminary_weight"]
        backbone = self.build_backbone()
        outputs = {name: task.num_outputs for name, task in self.tasks.items()}
        return BridgeNetwork(backbone, outputs, make_plan(h, backbone))

    def figures(self, batch: Batch, outputs: Outputs) -> dict[str, ArrayAny]:
        """The paper's figures 3, 9 and 10 for the batch's first image; tasks from left to right in the model's order.

        `tpp`: attention over the image, feature before TPP, feature after. `stages`: a row per stage, with generic
        feature, bridge feature and the tasks' features. `refined`: the tasks' features after the last stage (Figure 9;
        `MTINet.figures` has those beside which the paper sets them).
        """
        features, tasks = outputs.features, len(self.tasks)
        stages = features["stages"]
        pictures: dict[str, ArrayAny] = {
            "refined": draw_tasks(stages[-1][2][0], tasks),
            "stages": draw_stages([[None if x is None else x[0] for x in stage] for stage in stages], tasks),
        }
        if "attention" in features:
            pictures["tpp"] = draw_tpp(
                features["attention"][0], features["before_tpp"][0], features["after_tpp"][0], tasks
            )
        return pictures
