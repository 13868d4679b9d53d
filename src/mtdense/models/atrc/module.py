"""ATRC as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from mtdense.core.errors import ConfigError
from mtdense.data.sample import Batch
from mtdense.models.agreement import check_choice
from mtdense.models.atrc.auxiliary import AuxiliaryForm, auxiliary_form
from mtdense.models.atrc.directions import DirectionSet, directions
from mtdense.models.atrc.genotype import read_genotype
from mtdense.models.atrc.network import ATRCNetwork
from mtdense.models.base import DenseModule
from mtdense.models.canvas import inside, upsample
from mtdense.models.outputs import Outputs
from mtdense.tasks import Task
from mtdense.tasks.base import LossTerms

__all__ = ["ATRC", "PRESETS"]

# The most channels of a task's feature; a quarter of the backbone's is the other bound.
PRESETS: dict[str, int | None] = {"paper": None, "small": 128, "tiny": 16}


class ATRC(DenseModule):
    """Adaptive task-relational context (Brüggemann et al., ICCV 2021): each task takes from each a context of its kind.

    Args:
        preset: A task's feature has a quarter of the backbone's channels (`paper`), at most 128 (`small`) or 16
            (`tiny`, for tests).
        genotype: The context that each task takes from each: {target: {source: none | global | local | t_label |
            s_label}}; one of these words for all pairs; a published result of the search (`nyud_hrnet_w18`,
            `nyud_hrnet_w48`, `pascal_hrnet_w18`); a .json file of the search; or `baseline`, the paper's MTL baseline,
            which has one convolution and a head per task and nothing else.
        auxiliary_weight: Weight of the losses on the first predictions, which label contexts read.
        value_bins: Classes that measurements (depth) are first predicted in.
        value_range: Range of these, in the label's unit, divided logarithmically.
        directions: What normals are first sorted by: the published clusters of `nyud` or `pascal_context`, or
            directions spread evenly (`even`). [ours]
        mask_padding: Keep places outside the image out of label contexts. The public code means to, but looks for 255
            where its padding is 0.
        dropout: Rate at which whole channels are dropped in front of the heads.
        zero_init: Start with the contexts' sum multiplied by zero.
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: An option of unknown value or out of range.
    """

    method: ClassVar[str] = "atrc"

    def __init__(
        self,
        preset: Literal["paper", "small", "tiny"] = "paper",
        genotype: dict[str, dict[str, str | int]] | str = "global",
        auxiliary_weight: float = 1.0,
        value_bins: int = 40,
        value_range: tuple[float, float] = (0.7, 10.0),
        directions: DirectionSet = "even",
        mask_padding: bool = False,
        dropout: float = 0.05,
        zero_init: bool = True,
        **kwargs: Any,
    ) -> None:
        check_choice("preset", preset, tuple(PRESETS))
        if not 0 <= auxiliary_weight < float("inf"):
            raise ConfigError(f"auxiliary_weight is {auxiliary_weight}", "give a number of at least 0.")
        if value_bins < 2 or not 0 < value_range[0] < value_range[1] < float("inf"):
            raise ConfigError(
                f"value_bins is {value_bins}, value_range {list(value_range)}",
                "give 2 bins or more and a range above 0.",
            )
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout is {dropout}", "give a rate of at least 0 and below 1.")
        super().__init__(**kwargs)

    def build_network(self) -> nn.Module:
        """The network of `preset` and `genotype` on the chosen backbone."""
        h = self.hparams
        table = None
        if h["genotype"] != "baseline":
            table = read_genotype(h["genotype"], list(self.tasks))
            if isinstance(h["genotype"], str) and h["genotype"].endswith(".json"):
                h["genotype"] = table  # a checkpoint does not depend on the file
        limits = (float(h["value_range"][0]), float(h["value_range"][1]))
        clusters = directions(h["directions"])
        self.auxiliary_forms: dict[str, AuxiliaryForm] = {
            name: auxiliary_form(task, h["value_bins"], limits, clusters) for name, task in self.tasks.items()
        }
        return ATRCNetwork(
            self.build_backbone(),
            {name: task.num_outputs for name, task in self.tasks.items()},
            table,
            {name: form.num_outputs for name, form in self.auxiliary_forms.items()},
            PRESETS[h["preset"]],
            h["dropout"],
            h["zero_init"],
        )

    def forward(self, image: Tensor, content: Tensor | None = None) -> Outputs:
        """Runs the network on images (B, 3, H, W) in [0, 1]; logits keep the network's resolution."""
        shown = None
        if self.hparams["mask_padding"] and content is not None:
            shown = inside(content, image.shape[-2], image.shape[-1])
        outputs: Outputs = self.network(self.normalise(image, content), shown)
        return outputs

    def extra_losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """{"<task>_auxiliary"}: the loss of each first prediction, reduced and weighted as the task's own."""
        first: dict[str, Tensor] = outputs.features["auxiliary"]
        if not first:
            return {}
        present = [name for name in self.tasks if name in batch["targets"]]
        forms = {name: self.auxiliary_forms[name] for name in present}
        terms = {name: self._terms(name, first.get(name), batch) for name in present}
        # Of a task the reducer asks for `loss_value` alone.
        losses = self.reducer(cast("dict[str, Task]", forms), terms, batch["labelled"])
        factors = {name: self.hparams["auxiliary_weight"] * self.loss_weights[name] for name in first}
        return {
            f"{name}_auxiliary": factors[name] * losses[name] if name in losses else logits.float().sum() * 0.0
            for name, logits in first.items()
        }

    def _terms(self, name: str, logits: Tensor | None, batch: Batch) -> LossTerms:
        target = batch["targets"][name]
        if logits is None:
            # Nothing is predicted first, but its labels count where the reducer weighs images by their labels.
            nothing = torch.zeros(len(target), 2, device=target.device)
            return LossTerms(nothing, nothing)
        valid = self.tasks[name].valid(target) & batch["labelled"][name][:, None, None]
        return self.auxiliary_forms[name].loss_terms(upsample(logits, target.shape[-2:]), target, valid)
