"""Reading published checkpoints: which of their tensors make up each of ours.

Published networks loop over tasks with a layer each, where ours have one grouped layer: its weights are theirs, one
after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtdense.core.errors import CheckpointError

__all__ = [
    "PUBLISHED_TASKS",
    "Source",
    "Sources",
    "attention_sources",
    "bare_names",
    "check_task_order",
    "collect",
    "from_published",
    "layer_sources",
    "norm_sources",
    "pyramid_sources",
    "turn_vectors",
    "up_embed_sources",
]

PUBLISHED_TASKS = {"edges": "edge", "saliency": "sal", "detection_3d": "3ddet"}
"""Public names of tasks, where they are not ours."""

_TASK_ORDER = ("semseg", "depth", "human_parts", "saliency", "normals", "edges", "detection_3d")

Sources = dict[str, "Source"]
"""{our name: where it comes from}."""

_MEND = "build the network with the checkpoint's tasks, backbone, image size and options (of ATRC: its genotype)."
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Source:
    """Where one of our tensors comes from.

    Args:
        names: Published names, joined along the first axis.
        columns: The part of the second axis that is taken, or None for all of it.
    """

    names: tuple[str, ...]
    columns: tuple[int, int] | None = None


def collect(own: Mapping[str, Tensor], state: Mapping[str, Tensor], sources: Sources) -> dict[str, Tensor]:
    """Our state dict from a published one; every tensor of both must be accounted for.

    Args:
        own: Our state dict, for names and shapes.
        state: The published one.
        sources: For every name of `own`.

    Raises:
        CheckpointError: A tensor is missing, left over, or of another shape.
    """
    wanted = {name for source in sources.values() for name in source.names}
    missing, extra = sorted(wanted - state.keys()), sorted(state.keys() - wanted)
    if missing or extra:
        parts = [f"lacks {_some(missing)}"] if missing else []
        parts += [f"has {_some(extra)} too many"] if extra else []
        raise CheckpointError(
            f"the published checkpoint {' and '.join(parts)}",
            _MEND,
        )
    if unknown := sorted(own.keys() ^ sources.keys()):
        raise CheckpointError(f"no rule for {_some(unknown)}", "this is an error of mtdense; report it.")
    return {name: _join(name, own[name], state, source) for name, source in sources.items()}


def _join(name: str, own: Tensor, state: Mapping[str, Tensor], source: Source) -> Tensor:
    parts = [state[key] for key in source.names]
    if source.columns is not None:
        parts = [part[:, source.columns[0] : source.columns[1]] for part in parts]
    if own.dim() == 0:
        # Counters of batch norms; those of all tasks are equal.
        joined = parts[0]
    elif own.dim() == parts[0].dim() + 1:
        joined = torch.stack(parts)
    else:
        joined = torch.cat(parts)
    # Linear layers of a task are 1x1 convolutions here.
    if joined.dim() == 2 and own.shape == (*joined.shape, 1, 1):
        joined = joined[..., None, None]
    if joined.shape != own.shape:
        raise CheckpointError(
            f"{source.names[0]} is {tuple(parts[0].shape)}, which does not fit {name}, {tuple(own.shape)}",
            _MEND,
        )
    return joined


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def layer_sources(own: str, names: Sequence[str], bias: bool = True) -> Iterator[tuple[str, Source]]:
    """Weight (and bias) of a layer."""
    for kind in ("weight", "bias") if bias else ("weight",):
        yield f"{own}.{kind}", Source(tuple(f"{name}.{kind}" for name in names))


def norm_sources(own: str, names: Sequence[str]) -> Iterator[tuple[str, Source]]:
    """All tensors of a batch norm."""
    for kind in _NORM:
        yield f"{own}.{kind}", Source(tuple(f"{name}.{kind}" for name in names))


def pyramid_sources(tasks: Sequence[str], decoder: str, levels: int) -> Iterator[tuple[str, Source]]:
    """What the checkpoints of InvPT and BridgeNet have in common: all but stages, scale embeddings and TPP.

    Args:
        tasks: Our names of the tasks, in the network's order.
        decoder: Name of the part that holds the stages, below `multi_task_decoder`.
        levels: Number of stages.
    """
    public = [PUBLISHED_TASKS.get(name, name) for name in tasks]
    top = "multi_task_decoder"
    for i in (0, 1):
        blocks = [f"{top}.preliminary_decoder.{name}.{i}" for name in public]
        yield from layer_sources(f"preliminary.conv{i + 1}", [f"{b}.conv" for b in blocks], bias=False)
        yield from norm_sources(f"preliminary.norm{i + 1}", [f"{b}.bn1" for b in blocks])
    for own, name in zip(tasks, public, strict=True):
        yield from layer_sources(f"preliminary_heads.{own}", [f"{top}.intermediate_head.{name}"])
        yield from layer_sources(f"mix.convs.{own}", [f"{top}.{decoder}.mix_proj.{name}.0"])
        yield from layer_sources(f"final.decoders.{own}.0", [f"{top}.{decoder}.mt_proj.{name}.0"])
        yield from norm_sources(f"final.decoders.{own}.1", [f"{top}.{decoder}.mt_proj.{name}.1"])
        yield from layer_sources(f"final.heads.{own}", [f"heads.{name}.linear_pred"])
    for level in range(levels):
        yield from layer_sources(f"collect.norms.{level}", [f"{top}.{decoder}.norm_mts.{level}"])
        own = f"collect.projections.{level - 1}" if level else "unused.projection"
        yield from layer_sources(own, [f"{top}.{decoder}.redu_chan.{level}.{i}" for i in range(len(tasks))])
    yield from layer_sources("unused.norm", [f"{top}.{decoder}.norm_mt"])


def up_embed_sources(own: str, stage: str, tasks: int) -> Iterator[tuple[str, Source]]:
    """The up-sampling layers of a stage."""
    embeds = [f"{stage}.patch_embed.{i}.proj" for i in range(tasks)]
    for number, (conv, norm) in ((1, (1, 2)), (2, (4, 5))):
        yield from layer_sources(f"{own}.conv{number}", [f"{e}.{conv}" for e in embeds], bias=False)
        yield from norm_sources(f"{own}.norm{number}", [f"{e}.{norm}" for e in embeds])


def attention_sources(own: str, block: str, query_convs: Sequence[str]) -> Iterator[tuple[str, Source]]:
    """Norms, projections and MLP of an attention block."""
    yield from layer_sources(f"{own}.norm1", [f"{block}.norm1"])
    yield from layer_sources(f"{own}.norm2", [f"{block}.norm2"])
    yield from layer_sources(f"{own}.query_conv", [f"{name}.conv" for name in query_convs], bias=False)
    yield from norm_sources(f"{own}.query_norm", [f"{name}.bn" for name in query_convs])
    for part, name in (("query", "proj_q"), ("key", "proj_k"), ("value", "proj_v"), ("out", "proj")):
        yield from layer_sources(f"{own}.{part}", [f"{block}.attn.{name}"])
    for part in ("fc1", "fc2"):
        yield from layer_sources(f"{own}.mlp.{part}", [f"{block}.mlp.{part}"])


def bare_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict without the `module.` that training on several GPUs had put before the names."""
    return {key.removeprefix("module."): value for key, value in state.items()}


def _split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A published state dict's backbone (names without `backbone.`) and the rest; `module.` is cut off."""
    bare = bare_names(state)
    backbone = {key.removeprefix("backbone."): value for key, value in bare.items() if key.startswith("backbone.")}
    return backbone, {key: value for key, value in bare.items() if not key.startswith("backbone.")}


def from_published(
    network: nn.Module, state: Mapping[str, Tensor], sources: Sources, backbone_name: str = "backbone"
) -> dict[str, Tensor]:
    """A network's state dict from a published one, backbone included.

    Args:
        network: Ours.
        state: The published state dict; names of its backbone's tensors begin with `backbone.`.
        sources: For everything but the backbone; those of parts below `unused`, which the public code holds for
            nothing, may be missing in both.
        backbone_name: Where the backbone is in our network.

    Raises:
        CheckpointError: A tensor is missing, left over, or of another shape.
    """
    backbone = network.get_submodule(backbone_name)
    own_names = getattr(backbone, "own_names", None)
    if own_names is None:
        raise CheckpointError("a network without a backbone that knows published names", "load it otherwise.")
    theirs, rest = _split(state)
    own = network.state_dict()
    sources = _without_unused(own, rest, sources)
    prefix = f"{backbone_name}."
    decoder = collect({k: v for k, v in own.items() if not k.startswith(prefix)}, rest, sources)
    found = own_names(theirs)
    _check_nothing_resized(theirs, found)
    named = {prefix + key: value for key, value in found.items()}
    plain: Sources = {key: Source((key,)) for key in own if key.startswith(prefix)}
    return {**collect({key: own[key] for key in plain}, named, plain), **decoder}


def _without_unused(own: Mapping[str, Tensor], state: Mapping[str, Tensor], sources: Sources) -> Sources:
    """The sources without those of unused parts that a network does not have."""
    absent = {name for name in sources if name.startswith("unused.") and name not in own}
    held = sorted({name for key in absent for name in sources[key].names} & state.keys())
    if held:
        raise CheckpointError(
            f"the published checkpoint has {len(held)} tensors of layers that its code never uses ({_some(held)}), for "
            "which this network has no place",
            "build it with `unused_parts: true` (`--model.unused_parts true`).",
        )
    return {name: source for name, source in sources.items() if name not in absent}


def _check_nothing_resized(theirs: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """A backbone fits weights of other sizes and depths to itself, which is right for pretrained ones only."""
    kept = Counter(tuple(value.shape) for value in found.values())
    for key, value in theirs.items():
        kept[tuple(value.shape)] -= 1
        if kept[tuple(value.shape)] < 0:
            raise CheckpointError(
                f"backbone.{key} of the published checkpoint is {tuple(value.shape)}, which would have to be resized "
                "or left out",
                _MEND,
            )


def check_task_order(tasks: Sequence[str]) -> None:
    """Refuses tasks in another order than the public code's: joint layers would take one for the other.

    Raises:
        CheckpointError: Another order, or a task that the public code does not know.
    """
    wanted = [name for name in _TASK_ORDER if name in tasks]
    if list(tasks) != wanted:
        raise CheckpointError(
            f"the tasks are {', '.join(tasks)}; the public code has {', '.join(wanted) or 'none of them'}",
            f"name them in its order: `--data.tasks '[{', '.join(wanted)}]'`.",
        )


def turn_vectors(
    state: Mapping[str, Tensor],
    axes: Sequence[tuple[int, float]],
    heads: Sequence[str],
    readers: Sequence[tuple[str, int]] = (),
) -> dict[str, Tensor]:
    """A state dict whose vectors come out along the camera's axes, from one that was trained on others.

    Args:
        state: In our names.
        axes: [(camera axis, sign)] of each channel that the network was trained on.
        heads: Convolutions that give the vectors.
        readers: (convolution, the first of its input channels that are the vectors; may count from the end).
    """
    order = [[axis for axis, _ in axes].index(i) for i in range(3)]
    signs = torch.tensor([axes[i][1] for i in order])
    turned = dict(state)
    for name in (f"{head}.{kind}" for head in heads for kind in ("weight", "bias")):
        value = state[name]
        turned[name] = value[order] * signs.to(value).reshape(-1, *[1] * (value.dim() - 1))
    for reader, first in readers:
        value = state[f"{reader}.weight"].clone()
        place = slice(first % value.shape[1], first % value.shape[1] + 3)
        value[:, place] = value[:, place][:, order] * signs.to(value).reshape(1, 3, 1, 1)
        turned[f"{reader}.weight"] = value
    return turned
