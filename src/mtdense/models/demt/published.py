"""DeMT's official checkpoints in our names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from mtdense.models.demt.network import DeMTNetwork
from mtdense.models.layers.published_code import PublishedCode, require_options
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

# Constants of losses and counters of metrics; what the public Swin and mixer keep, and timm computes or nobody reads.
_NO_WEIGHTS = ("criterion.", "metrics_dict.")
_BUFFERS = (".relative_position_index", ".3.fn.0.offset")


def from_official(network: DeMTNetwork, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict from one of the official code (class `MultiTaskModel` of yangyangxu0/DeMT with its `DemtHead`).

    Args:
        network: Built like the official network, on a Swin or an HRNet, with a width of 256 and the tasks in the order
            of the public configurations: semseg, depth, human_parts, saliency, normals, edges.
        state: The official state dict, with or without `module.` before the names.

    Raises:
        CheckpointError: The network is another, or a tensor is missing, left over, or of another shape.
    """
    bare = bare_names(state)
    weights = {
        key: value for key, value in bare.items() if not key.startswith(_NO_WEIGHTS) and not key.endswith(_BUFFERS)
    }
    return from_published(network, weights, official_sources(network))


def official_sources(network: DeMTNetwork) -> Sources:
    """Where everything but the backbone comes from.

    Raises:
        CheckpointError: The tasks stand in another order.
    """
    tasks = list(network.heads)
    check_task_order(tasks)
    sources: Sources = {}
    for own, name in (("reduce", "linear1"), ("interact_linear", "smlp")):
        sources |= _linear_norm(own, f"head.{name}")
    sources |= _attention("interact", "head.task_fusion")
    for place, task in enumerate(tasks):
        for i in range(len(cast(nn.Sequential, network.mixers[task]))):
            sources |= _mixer(f"mixers.{task}.{i}", f"head.defor_mixers.{place}.blocks.{i}")
        sources |= _attention(f"query.{task}", f"head.task_querys.{place}")
        sources |= _linear_norm(f"query_linear.{task}", f"head.smlp2.{place}")
        public = PUBLISHED_TASKS.get(task, task)
        sources |= layer_sources(f"task_convolutions.{task}.0", [f"head.bottleneck.{public}.conv"], bias=False)
        sources |= norm_sources(f"task_convolutions.{task}.1", [f"head.bottleneck.{public}.bn"])
        sources |= layer_sources(f"heads.{task}", [f"head.final_logits.{public}"])
    return sources


def _mixer(own: str, public: str) -> Iterator[tuple[str, Source]]:
    yield from layer_sources(f"{own}.channels.0", [f"{public}.0"])
    yield from norm_sources(f"{own}.channels.2", [f"{public}.2"])
    moved = f"{public}.3.fn"
    yield from layer_sources(own, [f"{moved}.0"])
    yield from layer_sources(f"{own}.offsets.taps", [f"{moved}.0.get_offset.p_conv"])
    yield from layer_sources(f"{own}.offsets.spread", [f"{moved}.0.get_offset.opt"])
    yield from norm_sources(f"{own}.places.1", [f"{moved}.2"])


def _attention(own: str, public: str) -> Iterator[tuple[str, Source]]:
    for kind in ("in_proj_weight", "in_proj_bias"):
        yield f"{own}.{kind}", Source((f"{public}.{kind}",))
    yield from layer_sources(f"{own}.out_proj", [f"{public}.out_proj"])


def _linear_norm(own: str, public: str) -> Iterator[tuple[str, Source]]:
    for i in (0, 1):
        yield from layer_sources(f"{own}.{i}", [f"{public}.{i}"])


def _check(model: DenseModule) -> None:
    needed = {"interaction": "own_token", "offset_places": "absolute", "num_heads": 4}
    require_options(model.hparams, needed, "`--model`")


PUBLISHED = PublishedCode(from_official, heads=("heads.{task}",), check=_check)
