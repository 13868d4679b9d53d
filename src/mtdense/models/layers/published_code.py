"""What is to be known of a public code to read its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mtdense.backbones import PAPER_BACKBONES, HRNet, InternImage, VisionTransformer
from mtdense.core.errors import CheckpointError

if TYPE_CHECKING:
    from mtdense.models.base import DenseModule

__all__ = ["PublishedCode", "require_backbone", "require_options"]


def _anything(model: DenseModule) -> None:
    """Every model whose tensors fit means what the public code means by them."""


def _nothing(model: DenseModule) -> str:
    """Every option that matters shows in the tensors, or is checked."""
    return ""


@dataclass(frozen=True)
class PublishedCode:
    """A public code, as the `PUBLISHED` of an architecture's `published.py`.

    Layers are convolutions or sequences that end in one; `{task}` in their names stands for a task's name, `a|b` for
    the one of the two that the network has.

    Args:
        from_official: (our network, public state dict) to our state dict; raises CheckpointError where they differ.
        heads: Layers that give the logits of a task.
        readers: Layers whose last input channels are these logits.
        joint_readers: Layers whose input channels are the logits of all tasks, in their order.
        methods: Methods of ours that the checkpoints are of; none: the one of the folder's name.
        check: Refuses a model whose tensors fit, but which makes something else of them.
        unsaid: What the user alone knows: options that public files differ in, and do not tell of; "" if there is none.
        normalised: Images had ImageNet's mean and deviation; else they were in [0, 1].
        normals_axes: Camera axis of each channel of normals; see `mtdense.data.label_coding.parse_axes`.
        beside: Further state dicts in the file, whose names are put before their tensors'.
    """

    from_official: Callable[[Any, Mapping[str, Tensor]], dict[str, Tensor]]
    heads: tuple[str, ...]
    readers: tuple[str, ...] = ()
    joint_readers: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    check: Callable[[DenseModule], None] = _anything
    unsaid: Callable[[DenseModule], str] = _nothing
    normalised: bool = True
    normals_axes: str = "-x-y-z"
    beside: tuple[str, ...] = ()


def require_options(given: Mapping[str, Any], needed: Mapping[str, Any], where: str) -> None:
    """Refuses options under which the public weights would be used otherwise than in the public code.

    Args:
        given: All options.
        needed: Those that matter, with the values that the public code has.
        where: What stands before their names on the command line.

    Raises:
        CheckpointError: Names those that differ, and what to give.
    """
    other = {name: value for name, value in needed.items() if given[name] != value}
    if other:
        told = ", ".join(f"{name} is {given[name]!r}" for name in other)
        mend = ", ".join(f"{name}: {value!r}" for name, value in other.items())
        raise CheckpointError(
            f"{told}, with which these weights would not give what they were trained for",
            f"set {where} to what the public code has: {mend}.",
        )


def require_backbone(model: DenseModule) -> None:
    """Refuses a backbone whose tensors fit, but which makes something else of them than the public codes' do.

    Raises:
        CheckpointError: See `require_options`.
    """
    given: dict[str, Any] = {}
    needed: dict[str, Any] = {}
    for module in model.network.modules():
        if isinstance(module, HRNet):
            given["fusion"], needed["fusion"] = module.fusion, "bilinear"
        elif isinstance(module, VisionTransformer):
            depth = module.out_blocks[-1]
            given["out_blocks"], needed["out_blocks"] = [*module.out_blocks], [depth * k // 4 for k in (1, 2, 3, 4)]
        elif isinstance(module, InternImage):
            given["offset_scale"] = module.offset_scale
            needed["offset_scale"] = PAPER_BACKBONES[model.hparams["backbone"]].arguments["offset_scale"]
    require_options(given, needed, "`--model.backbone_options`")
