"""Loading backbone weights so that nothing is left at its random value unnoticed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor

from mtdense.backbones.base import Backbone
from mtdense.core.errors import CheckpointError

__all__ = [
    "bare_names",
    "fill_backbone",
    "load_backbone_weights",
    "read_state_dict",
    "weights_follow",
    "weights_will_follow",
]

_FOLLOW: ContextVar[bool] = ContextVar("weights_follow", default=False)

# Weights of an ImageNet classifier's or a segmentation network's head: a backbone has no place for them.
_HEAD_PREFIXES = (
    *("fc.", "head.", "classifier.", "head_dist.", "fc_norm.", "pre_logits.", "attn_pool."),
    *("decode_head.", "auxiliary_head.", "conv_head.", "incre_modules.", "downsamp_modules.", "final_layer."),
)
_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema")
_OUTER_PREFIXES = ("module.", "model.", "backbone.")


class _Named:
    """Stands for a class or function that a file names and nobody needs: it takes anything and keeps nothing."""

    def __init__(self, *values: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# What lies beside the weights: early versions of Lightning wrote a class as a key, others scores as arrays of NumPy.
# Nothing of these is imported or run.
_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Named, name)
    for name in (
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
        *("numpy.ndarray", "numpy.dtype"),
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    )
]


@contextmanager
def weights_follow() -> Iterator[None]:
    """Builds networks whose weights come from a checkpoint right after: nothing is downloaded or read inside."""
    token = _FOLLOW.set(True)
    try:
        yield
    finally:
        _FOLLOW.reset(token)


def weights_will_follow() -> bool:
    """True inside `weights_follow`."""
    return _FOLLOW.get()


def bare_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without heads and without what data-parallel, segmentation or transfer wrappers put before names."""
    bare = dict(state)
    for prefix in _OUTER_PREFIXES:
        bare = {key.removeprefix(prefix): value for key, value in bare.items()}
    return {key: value for key, value in bare.items() if not key.startswith(_HEAD_PREFIXES)}


def load_backbone_weights(backbone: Backbone, path: str | Path) -> None:
    """Fills a backbone from a local file.

    Args:
        backbone: Every one of its weights must be in the file.
        path: `.safetensors`, or a file of `torch.save` that holds tensors only; in timm's or torchvision's names, in
            the names of the backbone's public code (see `Backbone.own_names`), or its own `state_dict()`.

    Raises:
        CheckpointError: The file is missing, damaged, needs pickle, lacks a weight, has one of another shape, or has
            weights for which the backbone has no place (a head is passed over).
    """
    fill_backbone(backbone, read_state_dict(path), str(path))


def fill_backbone(backbone: Backbone, state: Mapping[str, Tensor], source: str) -> None:
    """Fills a backbone from a state dict; see `load_backbone_weights`.

    Args:
        backbone: The network.
        state: Its weights.
        source: Where they come from, for the error.
    """
    own = backbone.state_dict()
    given = backbone.own_names(bare_names(state))
    optional = {key for key in own if key.startswith(backbone.optional_weights)} if backbone.optional_weights else set()
    if optional.intersection(given):
        optional = set()
    missing = [
        key for key in own if key not in given and key not in optional and not key.endswith("num_batches_tracked")
    ]
    unexpected = [key for key in given if key not in own]
    shapes = [
        f"{key}: file {tuple(given[key].shape)}, backbone {tuple(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    if missing or unexpected or shapes:
        raise CheckpointError(
            f"{source} does not fit the backbone: {len(missing)} weights missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}, {len(shapes)} of another shape {shapes[:3]}",
            "give the weights of exactly this backbone, in timm's naming or its public code's.",
        )
    backbone.load_state_dict({key: given[key] for key in own if key in given}, strict=False)


def read_state_dict(path: str | Path, beside: Sequence[str] = ()) -> dict[str, Tensor]:
    """The weights in a file of somebody's training: tensors and plain values are read, nothing else.

    Args:
        path: `.safetensors`, or a file of `torch.save` that holds a state dict, itself or under `model`, `state_dict`
            and the like; what lies beside it (optimiser, schedule) is left out.
        beside: State dicts that are read, too, where they lie beside it, their names put before their tensors'.

    Raises:
        CheckpointError: The file is missing, damaged, needs pickle, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}", "check the path.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with torch.serialization.safe_globals(_HARMLESS):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"the weights {path} cannot be read safely: {_reason(error)}",
            "download the file again, or re-save it where it was made: "
            "`torch.save(model.state_dict(), FILE)`, or as safetensors.",
        ) from error
    given = {name: loaded.get(name) for name in beside} if isinstance(loaded, Mapping) else {}
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if isinstance(loaded, Mapping):
        others = {name: state for name, state in given.items() if isinstance(state, Mapping)}
        loaded = {**loaded, **{f"{name}.{key}": state[key] for name, state in others.items() for key in state}}
    tensors = isinstance(loaded, Mapping) and all(isinstance(value, Tensor) for value in loaded.values())
    if not tensors or not loaded or not all(isinstance(key, str) for key in loaded):
        raise CheckpointError(f"{path} holds no state dict", "save `model.state_dict()` with torch.save.")
    return dict(cast("Mapping[str, Tensor]", loaded))


def _reason(error: Exception) -> str:
    """Why a file was refused, without PyTorch's advice to read it unsafely."""
    text = str(error)
    found = re.search(r"WeightsUnpickler error: (.+)", text)
    return found[1] if found else (text.splitlines() or [type(error).__name__])[0]
