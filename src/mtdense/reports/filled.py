"""What pictures filled of the network's images in training, as the checkpoint tells it."""

from __future__ import annotations

from mtdense.models.checkpoint import CheckpointInfo

__all__ = ["filled_in_training"]

_PADDED = "NYUDAtrcDataModule"


def filled_in_training(info: CheckpointInfo) -> tuple[int, int] | None:
    """Height and width that pictures filled where they were padded, not scaled; None: all of the network's images.

    That is known of data whose pictures all have one size: with `resize: null` that of NYUDAtrcDataModule's
    `crop_size`, 425x560 of 448x576.
    """
    if (info.data_class or "").rpartition(".")[2] != _PADDED:
        return None
    crop, size = info.data_args.get("crop_size"), info.model_args.get("input_size")
    if crop is None or size is None or info.data_args.get("resize", "fit") is not None:
        return None
    filled = int(crop[0]), int(crop[1])
    inside = all(part <= whole for part, whole in zip(filled, size, strict=True))
    return filled if inside and filled != tuple(size) else None
