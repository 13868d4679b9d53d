"""What a rank of test_two_ranks does: the gradient of a training step under partial labels."""

from __future__ import annotations

import torch

from mtdense.models import MTPSL, SemiSupervised
from tests.models.helpers import SPECS, backward, fix_statistics, make_batch, share

# Rank 0 (images 0, 1) has no depth label and no label but one; image 1 has none, image 3 all.
LABELLED = {
    "semseg": [True, False, False, True],
    "depth": [False, False, True, True],
    "normals": [False, False, True, True],
}
CLASSES = {"mtpsl": MTPSL, "semi_supervised": SemiSupervised}


def gradient(method: str, unlabelled_rank: bool, rank: int, world: int) -> list[float]:
    torch.manual_seed(0)
    # A wide threshold, so that pseudo-labels count in an untrained network.
    options = {"value_threshold": 5.0, "vector_threshold": 3.0} if method == "semi_supervised" else {}
    model = CLASSES[method](tasks=SPECS, backbone="tiny", preset="tiny", **options)
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    fix_statistics(model)
    labelled = {name: [False, False, *flags[2:]] for name, flags in LABELLED.items()} if unlabelled_rank else LABELLED
    backward(model, share(make_batch(SPECS, labelled), rank, world), world)
    return torch.cat([p.grad.flatten() for p in model.parameters()]).tolist()


def gradients(rank: int, world: int) -> dict[str, list[float]]:
    """Of each method, with some labels and with a rank that has none."""
    return {f"{m}/{u}": gradient(m, u, rank, world) for m in CLASSES for u in (False, True)}
