"""InvPT's official checkpoints in our names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from mtdense.core.errors import CheckpointError
from mtdense.models.invpt.network import InvPTNetwork
from mtdense.models.layers.published_code import PublishedCode, require_backbone
from mtdense.models.layers.published_names import (
    Source,
    Sources,
    attention_sources,
    check_task_order,
    from_published,
    layer_sources,
    pyramid_sources,
    up_embed_sources,
)

__all__ = ["PUBLISHED", "from_official", "official_sources"]

_TOP = "multi_task_decoder"


def from_official(network: InvPTNetwork, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict from one of the official code (class `TransformerNet` of Multi-Task-Transformer's InvPT).

    Args:
        network: Built like the official network, with its `unused_parts` where the state dict has them, and with the
            tasks in its order: semseg, depth, human_parts, saliency, normals, edges.
        state: The official state dict, with or without `module.` before the names.

    Raises:
        CheckpointError: The network is another, or a tensor is missing, left over, or of another shape.
    """
    return from_published(network, state, official_sources(network))


def official_sources(network: InvPTNetwork) -> Sources:
    """Where everything but the backbone comes from.

    Raises:
        CheckpointError: The official code has no such network.
    """
    if len(set(network.backbone.strides)) > 1:
        raise CheckpointError("the official code has no such network", "build it on a ViT.")
    check_task_order(network.tasks)
    sources = dict(pyramid_sources(network.tasks, "invpt", len(network.stages)))
    for part, name in (("scale_embed.0", 0), ("scale_embed.1", 1), ("unused.embed", 2)):
        sources |= layer_sources(part, [f"{_TOP}.scale_embed.{name}"])
    for index in range(len(network.stages)):
        sources |= _stage(index, len(network.tasks))
    return sources


def _stage(index: int, tasks: int) -> Iterator[tuple[str, Source]]:
    stage = f"{_TOP}.invpt.invpt_stages.{index}"
    block = f"{stage}.blocks.0"
    own = f"stages.{index}.block"
    yield from attention_sources(own, block, [f"{block}.attn.conv_proj_q.{i}" for i in range(tasks)])
    yield from layer_sources(f"{own}.fuse" if index else "unused.fuse", [f"{block}.attn.fuse_attn"])
    if index:
        yield from up_embed_sources(f"stages.{index}.up", stage, tasks)


PUBLISHED = PublishedCode(
    from_official,
    heads=("preliminary_heads.{task}", "final.heads.{task}"),
    readers=("mix.convs.{task}",),
    check=require_backbone,
)
