"""BridgeNet's official checkpoints in our names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from mtdense.core.errors import CheckpointError
from mtdense.models.bridgenet.network import BridgeNetwork
from mtdense.models.layers.published_code import PublishedCode, require_backbone, require_options
from mtdense.models.layers.published_names import (
    PUBLISHED_TASKS,
    Source,
    Sources,
    attention_sources,
    check_task_order,
    from_published,
    layer_sources,
    norm_sources,
    pyramid_sources,
    up_embed_sources,
)

if TYPE_CHECKING:
    from mtdense.models.base import DenseModule

__all__ = ["PUBLISHED", "from_official", "official_sources"]

_TOP = "multi_task_decoder"


def from_official(network: BridgeNetwork, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict from one of the official code (class `TransformerNet` of the repository EEMTL).

    Args:
        network: Built like the official network, with its `unused_parts` where the state dict has them, and with the
            tasks in its order: semseg, depth, human_parts, saliency, normals, edges.
        state: The official state dict, with or without `module.` before the names.

    Raises:
        CheckpointError: The network is another, or a tensor is missing, left over, or of another shape.
    """
    return from_published(network, state, official_sources(network))


def official_sources(network: BridgeNetwork) -> Sources:
    """Where everything but the backbone comes from.

    Raises:
        CheckpointError: The official code has no such network.
    """
    plan = network.plan
    if plan.stages != 3 or plan.refinement not in ("tfr", "add") or not (plan.tpp and plan.bfe):
        raise CheckpointError(
            "the official code has no such network",
            "build it with three stages, TPP, BFE, and `refinement: tfr` or `add`.",
        )
    check_task_order(network.tasks)
    sources = dict(pyramid_sources(network.tasks, "trfl", plan.stages))
    for part, name in (("unused.embed", 0), ("scale_embed.1", 1), ("scale_embed.0", 2)):
        sources |= layer_sources(part, [f"{_TOP}.scale_embed.{name}"])
    sources |= _tpp([PUBLISHED_TASKS.get(name, name) for name in network.tasks])
    for index, width in enumerate(plan.widths):
        sources |= _stage(index, width, len(network.tasks))
        if plan.refinement == "tfr":
            for block in range(len(plan.drop_rates)):
                sources |= _refine_block(index, block, width, len(network.tasks))
    return sources


def _tpp(tasks: list[str]) -> Iterator[tuple[str, Source]]:
    made = [f"{_TOP}.atten_production.{name}" for name in tasks]
    fused = [f"{_TOP}.atten_fusion.{name}" for name in tasks]
    yield from layer_sources("tpp.norm", [f"{m}.norm1" for m in made])
    yield from layer_sources("tpp.query_conv", [f"{m}.attn_production.conv_proj_q.conv" for m in made], bias=False)
    yield from norm_sources("tpp.query_norm", [f"{m}.attn_production.conv_proj_q.bn" for m in made])
    for part, name in (("query", "proj_q"), ("key", "proj_k"), ("value", "proj_v")):
        yield from layer_sources(f"tpp.{part}", [f"{m}.attn_production.{name}" for m in made])
    yield from layer_sources("tpp.mix", [f"{f}.attn_fusion.fuse_attn" for f in fused])
    yield from layer_sources("tpp.out", [f"{f}.attn_fusion.proj" for f in fused])
    yield from layer_sources("tpp.mlp_norm", [f"{f}.norm2" for f in fused])
    for part in ("fc1", "fc2"):
        yield from layer_sources(f"tpp.{part}", [f"{f}.mlp.{part}" for f in fused])


def _stage(index: int, width: int, tasks: int) -> Iterator[tuple[str, Source]]:
    own, stage = f"stages.{index}", f"{_TOP}.trfl.trfl_stages.{index}"
    yield from layer_sources(f"{own}.embed.0", [f"{stage}.back_feature_embed.0"])
    yield from norm_sources(f"{own}.embed.1", [f"{stage}.back_feature_embed.1"])
    block = f"{stage}.blocks.0"
    yield from attention_sources(f"{own}.bridge", block, [f"{block}.attn.conv_proj_q"])
    yield from layer_sources(f"{own}.bridge.restore", [f"{block}.attn.restore_proj_q.conv"])
    if index > 0:
        yield from up_embed_sources(f"{own}.up", stage, tasks)
        yield from layer_sources(f"{own}.cascade", [f"{stage}.reduce_channel"])


def _refine_block(index: int, block: int, width: int, tasks: int) -> Iterator[tuple[str, Source]]:
    own = f"stages.{index}.refine.blocks.{block}"
    path = f"{_TOP}.trfl.trfl_stages.{index}.reconv.re_blocks.{block}"
    layers = [f"{path}.{i}.conv_layer" for i in range(tasks)]
    first = tuple(f"{layer}.0.weight" for layer in layers)
    # The official convolution reads [task, bridge].
    yield f"{own}.from_task.weight", Source(first, (0, width))
    yield f"{own}.from_bridge.weight", Source(first, (width, 2 * width))
    yield f"{own}.from_task.bias", Source(tuple(f"{layer}.0.bias" for layer in layers))
    yield from norm_sources(f"{own}.norm1", [f"{layer}.1" for layer in layers])
    yield from layer_sources(f"{own}.dilated", [f"{layer}.3" for layer in layers], bias=False)
    yield from norm_sources(f"{own}.norm2", [f"{layer}.4" for layer in layers])
    yield from layer_sources(f"{own}.out", [f"{layer}.6" for layer in layers])


def _check(model: DenseModule) -> None:
    require_options(model.hparams, {"tpp_feature_to_bridge": False}, "`--model`")
    require_backbone(model)


PUBLISHED = PublishedCode(
    from_official,
    heads=("preliminary_heads.{task}", "final.heads.{task}"),
    readers=("mix.convs.{task}",),
    check=_check,
)
