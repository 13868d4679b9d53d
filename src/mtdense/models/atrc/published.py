"""Checkpoints of ATRC's public code in our names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from torch import Tensor

from mtdense.backbones import HRNet
from mtdense.models.atrc.network import ATRCNetwork
from mtdense.models.layers.published_code import PublishedCode, require_backbone, require_options
from mtdense.models.layers.published_names import (
    PUBLISHED_TASKS,
    Source,
    Sources,
    bare_names,
    check_task_order,
    from_published,
    layer_sources,
    norm_sources,
)

if TYPE_CHECKING:
    from mtdense.models.base import DenseModule

__all__ = ["PUBLISHED", "from_official", "official_sources"]

# Constants of losses and counters of metrics, which lie in the same state dict.
_NO_WEIGHTS = ("criterion.", "metrics_dict.")


def from_official(network: ATRCNetwork, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict from one of the public code (class `MultiTaskModel` of brdav/atrc, or its baseline).

    Args:
        network: Built with the checkpoint's genotype, on an HRNet, with the tasks in the order of the public
            configurations: semseg, depth, human_parts, saliency, normals, edges.
        state: The public state dict, with or without `module.` before the names.

    Raises:
        CheckpointError: The network is another, or a tensor is missing, left over, or of another shape.
    """
    bare = bare_names(state)
    weights = {key: value for key, value in bare.items() if not key.startswith(_NO_WEIGHTS)}
    return from_published(network, weights, official_sources(network))


def official_sources(network: ATRCNetwork) -> Sources:
    """Where everything but the backbone comes from.

    Raises:
        CheckpointError: The tasks stand in another order.
    """
    check_task_order(list(network.heads))
    sources: Sources = {}
    for own in network.heads:
        task = _public(own)
        sources |= _block(f"task_convolutions.{own}", f"head.bottleneck.{task}")
        sources |= layer_sources(f"heads.{own}", [f"head.final_logits.{task}"])
    for own in network.auxiliary:
        task = _public(own)
        sources |= _block(f"auxiliary.{own}", f"head.aux_conv.{task}")
        sources |= layer_sources(f"auxiliary_heads.{own}", [f"head.aux_logits.{task}"])
    for own, context in network.contexts.items():
        sources |= _context(f"contexts.{own}", _public(own), list(context.get_submodule("blocks")._modules))
    return sources


def _context(own: str, task: str, sources: list[str]) -> Iterator[tuple[str, Source]]:
    top = "head.atrc_module"
    for source in sources:
        block = f"{top}.cp_blocks.{task}.{_public(source)}"
        for part in ("query", "key"):
            for i in (0, 1):
                yield from _block(f"{own}.blocks.{source}.{part}.{i}", f"{block}.{part}_project.{i}")
        yield from _block(f"{own}.blocks.{source}.value", f"{block}.value_project")
    if sources:
        yield from _block(f"{own}.projection", f"{top}.out_proj.{task}")
    yield from _block(f"{own}.merge", f"{top}.bottleneck.{task}.0")


def _block(own: str, name: str) -> Iterator[tuple[str, Source]]:
    """Convolution and batch norm."""
    yield from layer_sources(f"{own}.0", [f"{name}.conv"], bias=False)
    yield from norm_sources(f"{own}.1", [f"{name}.bn"])


def _public(task: str) -> str:
    return PUBLISHED_TASKS.get(task, task)


def _check(model: DenseModule) -> None:
    require_options(model.hparams, {"mask_padding": False}, "`--model`")
    # The public code's; on other backbones an ATRC is somebody's own.
    if isinstance(cast(ATRCNetwork, model.network).backbone, HRNet):
        require_backbone(model)


def _unsaid(model: DenseModule) -> str:
    if not cast(ATRCNetwork, model.network).contexts:
        return ""
    named = model.hparams["genotype"]
    return f"of which kind each context is (`genotype` is {named if isinstance(named, str) else 'a table'})"


# First predictions are classes.
PUBLISHED = PublishedCode(from_official, heads=("heads.{task}",), check=_check, unsaid=_unsaid)
