"""A trained network as one safetensors file: weights, and beside them as JSON what builds the network. No pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import lightning as L
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mtdense.core.errors import CheckpointError

__all__ = ["SUFFIX", "pack_content", "packed_bytes", "read_packed"]

SUFFIX = ".safetensors"
_KEY = "mtdense"
_MODEL, _DATA = (kind.CHECKPOINT_HYPER_PARAMS_KEY for kind in (L.LightningModule, L.LightningDataModule))
# Of this machine, or of a training that cannot be gone on with.
_LEFT_OUT = ("config", "selection")


def pack_content(content: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What is published of a checkpoint: (weights, what builds the network).

    Optimiser, callbacks and configuration stay behind, and so do places on this machine: the data's folder and the file
    that the backbone began from. Of other absolute paths, however deep in an option, the file's name is kept: without
    it other images would be taken than were, and nobody would be told.

    Args:
        content: A checkpoint of `mtdense fit`, as loaded.
    """
    about = {key: _without_places(value) for key, value in content["mtdense"].items() if key not in _LEFT_OUT}
    model = {key: _without_places(value) for key, value in _arguments(content, _MODEL).items()}
    if "backbone_checkpoint" in model:
        model["backbone_checkpoint"] = None
    data = {key: _without_places(value) for key, value in _arguments(content, _DATA).items() if key != "root"}
    # Tensors of one storage could not be saved, and views would drag their whole storage along.
    state = {name: value.detach().clone().contiguous() for name, value in content["state_dict"].items()}
    return state, {"format": 1, "model": model, "data": data, "about": about}


def packed_bytes(state: Mapping[str, torch.Tensor], told: Mapping[str, Any]) -> bytes:
    """The file's content.

    Raises:
        CheckpointError: Arguments that JSON cannot hold as they are.
    """
    try:
        text = json.dumps(told, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint's arguments cannot be written as JSON: {error}", "train with plain, finite arguments."
        ) from error
    whole: bytes = save(dict(state), metadata={"format": "pt", _KEY: text})
    return whole


def read_packed(path: Path) -> dict[str, Any]:
    """A packed file in the form of a checkpoint of `mtdense fit`.

    Raises:
        CheckpointError: Missing, damaged, or not packed by `mtdense weights pack`.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            text = (file.metadata() or {}).get(_KEY)
            told = None if text is None else json.loads(text)
            if not isinstance(told, dict) or not {"model", "data", "about"} <= told.keys():
                raise CheckpointError(
                    f"{path} holds weights, but not which network they are of",
                    "use a file of `mtdense weights pack`; as a backbone's weights name it in "
                    "`--model.backbone_checkpoint`.",
                )
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", "copy or download it again.") from error
    return {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": L.__version__,
        "state_dict": state,
        _MODEL: told["model"],
        _DATA: told["data"],
        # There is no training to go on with.
        "mtdense": {**told["about"], "imported": told["about"].get("imported", {"from": "packed weights"})},
    }


def _arguments(content: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {key: value for key, value in content.get(kind, {}).items() if not key.startswith("_")}


def _without_places(value: Any) -> Any:
    """The same with file names for absolute paths, however deep they lie."""
    if isinstance(value, Mapping):
        return {_without_places(key): _without_places(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(item) for item in value]
    if isinstance(value, PurePath):
        value = str(value)
    if not _is_place(value):
        return value
    kind = PurePosixPath if PurePosixPath(value).is_absolute() or value.startswith("~/") else PureWindowsPath
    return kind(value.removeprefix("file://")).name or value


def _is_place(value: Any) -> bool:
    """Whether it is an absolute path, of whatever system, or one from somebody's home."""
    if isinstance(value, PurePath):
        value = str(value)
    if not isinstance(value, str) or "\n" in value:
        return False
    starts = value.startswith(("~/", "~\\", "file://"))
    return starts or value == "~" or PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()
