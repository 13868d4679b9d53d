"""Loading backbone weights so that nothing is left at its random value unnoticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mtdense.core.errors import CheckpointError

__all__ = ["load_backbone_weights", "weights_follow", "weights_will_follow"]

_FOLLOW: ContextVar[bool] = ContextVar("weights_follow", default=False)

# Weights of an ImageNet classifier's last layer: the only ones a dense network has no place for.
_CLASSIFIER_PREFIXES = ("fc.", "head.", "classifier.", "head_dist.", "norm.", "fc_norm.", "pre_logits.")
_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema")


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


def load_backbone_weights(module: nn.Module, path: str | Path) -> None:
    """Fills a backbone from a local file in timm's or torchvision's naming.

    Args:
        module: The backbone. Every one of its weights must be in the file.
        path: `.safetensors`, or a file of `torch.save` that holds tensors only.

    Raises:
        CheckpointError: The file is missing, damaged, needs pickle, lacks a weight, has one of another shape, or has
            weights for which the backbone has no place (a classifier's last layer is passed over).
    """
    state = _read(Path(path))
    own = module.state_dict()
    # timm wraps some networks in a feature extractor, which puts "model." before every name.
    prefix = "model." if own and all(key.startswith("model.") for key in own) else ""
    state = {prefix + key.removeprefix("module."): value for key, value in state.items()}
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [
        key for key in state if key not in own and not key.removeprefix(prefix).startswith(_CLASSIFIER_PREFIXES)
    ]
    shapes = [
        f"{key}: file {tuple(state[key].shape)}, backbone {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if missing or unexpected or shapes:
        raise CheckpointError(
            f"{path} does not fit the backbone: {len(missing)} weights missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}, {len(shapes)} of another shape {shapes[:3]}",
            "give the weights of exactly this backbone, in timm's naming.",
        )
    module.load_state_dict({key: state[key] for key in own if key in state}, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"no backbone weights at {path}", "check `backbone_checkpoint`.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"backbone weights {path} cannot be read safely: {error}",
            "download the file again, or re-save it as a plain state dict or as safetensors.",
        ) from error
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise CheckpointError(f"{path} holds no state dict", "save `model.state_dict()` with torch.save.")
    return dict(cast("Mapping[str, Tensor]", loaded))
