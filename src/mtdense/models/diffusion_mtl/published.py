"""DiffusionMTL's official checkpoint in our names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mtdense.core.errors import CheckpointError
from mtdense.models.diffusion_mtl.network import DiffusionNetwork
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

_TOP = "diffusion_model"
_BETAS = f"{_TOP}.betas"
# What the official code keeps and the steps' variances give.
_DERIVED = {
    *(f"{_TOP}.alphas_cumprod{end}" for end in ("", "_prev")),
    *(f"{_TOP}.{name}_alphas_cumprod" for name in ("sqrt", "sqrt_one_minus", "log_one_minus", "sqrt_recip")),
    *(f"{_TOP}.sqrt_recipm1_alphas_cumprod", f"{_TOP}.posterior_variance", f"{_TOP}.posterior_log_variance_clipped"),
    *(f"{_TOP}.posterior_mean_coef{i}" for i in (1, 2)),
}


def from_official(network: DiffusionNetwork, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict from one of the official code (class `DiffusionNet` of DiffusionMTL).

    Args:
        network: Built like the official network, on a ResNet, with the tasks in its order: semseg, depth, human_parts,
            saliency, normals, edges.
        state: The official state dict, with or without `module.` before the names.

    Raises:
        CheckpointError: The network is another, its diffusion has other steps, or a tensor is missing, left over, or
            of another shape.
    """
    given = bare_names(state)
    given = {key: value for key, value in given.items() if key not in _DERIVED}
    _check_steps(network, given.pop(_BETAS, None))
    return from_published(network, given, official_sources(network), "preliminary.backbone")


def official_sources(network: DiffusionNetwork) -> Sources:
    """Where everything but the backbone comes from.

    Raises:
        CheckpointError: The tasks stand in another order.
    """
    tasks = list(network.final_heads)
    check_task_order(tasks)
    sources: Sources = {}
    sources |= layer_sources("preliminary.neck", ["backbone_embed"])
    sources |= layer_sources("condition", [f"{_TOP}.pred_combinator.out_layer"])
    for i in range(len(network.denoiser.blocks)):
        sources |= _block(f"denoiser.blocks.{i}", f"{_TOP}.denoiser.crossblocks.{i}")
    for i in (0, 2):
        sources |= layer_sources(f"denoiser.step_embedding.layers.{i}", [f"{_TOP}.denoiser.t_embedder.mlp.{i}"])
    for task in tasks:
        sources |= _task(task, PUBLISHED_TASKS.get(task, task))
    return sources


def _task(own: str, public: str) -> Iterator[tuple[str, Source]]:
    for block in (0, 1):
        mine, theirs = f"preliminary.decoders.{own}.{block}", f"preliminary_dec.{public}.{block}"
        for i in (1, 2):
            yield from layer_sources(f"{mine}.conv{i}", [f"{theirs}.conv{i}"], bias=False)
            yield from norm_sources(f"{mine}.bn{i}", [f"{theirs}.bn{i}"])
    yield from layer_sources(f"preliminary.heads.{own}", [f"preliminary_head.{public}.0"])
    denoiser = f"{_TOP}.denoiser"
    yield from layer_sources(f"denoiser.pre_convs.{own}", [f"{denoiser}.pre_layer.{public}"])
    for i in (0, 1, 3, 5):
        yield from layer_sources(f"denoiser.task_heads.{own}.{i}", [f"{denoiser}.task_heads.{public}.{i}"])
    yield from layer_sources(f"final_heads.{own}", [f"{denoiser}.final_task_heads.{public}.linear_pred"])


def _block(own: str, public: str) -> Iterator[tuple[str, Source]]:
    for part, mlp, norm in (("task_mlp", "mlp_kv", "norm2_kv"), ("query_mlp", "mlp", "norm2")):
        yield from layer_sources(f"{own}.{part}.0", [f"{public}.{norm}"])
        yield from layer_sources(f"{own}.{part}.1", [f"{public}.{mlp}.fc1"])
        yield from layer_sources(f"{own}.{part}.3", [f"{public}.{mlp}.fc2"])
    yield from layer_sources(f"{own}.query_norm", [f"{public}.norm1"])
    yield from layer_sources(f"{own}.task_norm", [f"{public}.norm_kv"])
    for part, name, bias in (("query", "q", False), ("key_value", "kv", False), ("out", "proj", True)):
        yield from layer_sources(f"{own}.attention.{part}", [f"{public}.attn.{name}"], bias)


def _check_steps(network: DiffusionNetwork, betas: Tensor | None) -> None:
    if betas is None:
        raise CheckpointError(f"the published checkpoint lacks {_BETAS}", "take a file of the official code.")
    own = torch.tensor(network.schedule.betas)
    if betas.shape != own.shape or not torch.allclose(betas.float(), own, rtol=1e-4):
        raise CheckpointError(
            f"the published checkpoint's steps have the variances {betas.tolist()}, the network's {own.tolist()}",
            "set `num_steps`, `beta_start` and `beta_end` to what it was trained with.",
        )


def _check(model: DenseModule) -> None:
    require_options(model.hparams, {"num_heads": 4}, "`--model`")


PUBLISHED = PublishedCode(
    from_official,
    heads=("preliminary.heads.{task}", "final_heads.{task}"),
    joint_readers=("condition",),
    methods=("diffusion_mtl_feature",),
    check=_check,
)
