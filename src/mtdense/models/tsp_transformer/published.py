"""TSP-Transformer's official checkpoints in our names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from mtdense.core.errors import CheckpointError
from mtdense.models.invpt.published import PUBLISHED as INVPT
from mtdense.models.invpt.published import official_sources
from mtdense.models.layers.published_names import Source, bare_names, from_published
from mtdense.models.tsp_transformer.network import TSPNetwork

if TYPE_CHECKING:
    from mtdense.models.base import DenseModule

__all__ = ["PUBLISHED", "from_official"]

_LETTERS = {"semseg": "S", "depth": "D", "human_parts": "P", "saliency": "Sa", "normals": "N", "edges": "E"}


def from_official(network: TSPNetwork, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict from one of the official code (class `TransformerNet` of TSP-Transformer).

    Args:
        network: Built like the official network, with its `unused_parts` where the state dict has them, and with the
            tasks in its order: semseg, depth, human_parts, saliency, normals, edges.
        state: The official state dict, with or without `module.` before the names.

    Raises:
        CheckpointError: The network is another, or a tensor is missing, left over, or of another shape.
    """
    sources = official_sources(network)
    rest = bare_names(state)
    for task in network.tasks:
        name = f"backbone.{_LETTERS[task]}Prompt_Tokens"
        if name not in rest:
            raise CheckpointError(
                f"the published checkpoint lacks {name}, the prompts of {task}", "build the network with its tasks."
            )
        # Not a part of the backbone here.
        rest[f"prompts.{task}"] = rest.pop(name)
        sources[f"prompts.{task}"] = Source((f"prompts.{task}",))
    return from_published(network, rest, sources)


def _unsaid(model: DenseModule) -> str:
    placement = model.hparams["prompt_placement"]
    return f"which blocks have prompts (`prompt_placement` is {placement}; the paper's NYUD-v2 late, its PASCAL early)"


PUBLISHED = replace(INVPT, from_official=from_official, unsaid=_unsaid)
