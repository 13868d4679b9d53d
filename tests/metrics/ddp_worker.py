"""What a rank of test_two_processes does: every metric over seven images, of which each rank scores its own share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mtdense.metrics import AbsoluteError, DeltaM, MaxF, MeanAngularError, MeanIoU, OdsF, RootMeanSquaredError

IMAGES = 7
METRICS = {
    "miou": lambda: MeanIoU(4),
    "maxf_clean": lambda: MaxF(),
    "maxf_invpt": lambda: MaxF("invpt"),
    "maxf_astmt": lambda: MaxF("astmt"),
    "merr": lambda: MeanAngularError(),
    "rmse": lambda: RootMeanSquaredError(),
    "rmse_per_image": lambda: RootMeanSquaredError(per_image=True),
    "abserr": lambda: AbsoluteError(),
    "odsf": lambda: OdsF(),
    "odsf_threads": lambda: OdsF(workers=1),
    "odsf_nyud": lambda: OdsF.nyud(),
}


def image(metric: str, index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, target and mask of an image, the same on every rank; real values span many magnitudes."""
    g = torch.Generator().manual_seed(index)
    valid = torch.rand(1, 37, 53, generator=g) > 0.2
    if metric == "miou":
        preds, target = torch.randint(0, 4, (2, 1, 37, 53), generator=g)
        return preds, target, valid
    if metric.startswith("maxf"):
        preds, target = torch.rand(2, 1, 37, 53, generator=g)
        return preds, target > 0.3 * (index + 1) / IMAGES, valid
    if metric.startswith("odsf"):
        preds, target = torch.rand(2, 1, 37, 53, generator=g)
        return preds, target > 0.9, torch.ones_like(valid)
    shape = (2, 1, 3, 37, 53) if metric == "merr" else (2, 1, 37, 53)
    preds, target = torch.randn(shape, generator=g) * 10.0 ** (index - 3)
    return preds, target, valid


def batches(metric: str, rank: int, world: int) -> list[tuple[Tensor, ...]]:
    """All images at once on one rank; on two, five in batches of two and one, and the others one by one."""
    groups = [[range(IMAGES)]] if world == 1 else [[range(4, 6), range(6, 7), range(2)], [range(3, 4), range(2, 3)]]
    return [
        tuple(torch.cat(parts) for parts in zip(*(image(metric, i) for i in group), strict=True))
        for group in groups[rank]
    ]


def bits(value: Any) -> Any:
    """Figures to the last bit."""
    if isinstance(value, Tensor):
        return bits(value.tolist())
    if isinstance(value, dict):
        return {str(key): bits(part) for key, part in value.items()}
    return [bits(part) for part in value] if isinstance(value, list | tuple) else float(value).hex()


def results(rank: int, world: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    metrics = {name: make() for name, make in METRICS.items()}
    for name, metric in metrics.items():
        for batch in batches(name, rank, world):
            metric.update(*batch)
        found[name] = metric.compute()
        for detail in ("per_class", "details", "curve"):
            if hasattr(metric, detail):
                found[f"{name}/{detail}"] = getattr(metric, detail)()
        if isinstance(metric, OdsF):
            found[f"{name}/rest"] = [metric.counts, metric.ois, metric.average_precision]
        empty = METRICS[name]()
        if rank == 0:
            empty.update(*batches(name, rank, world)[0])
        found[f"{name}/first batch"] = empty.compute() if world > 1 or rank == 0 else None
    found["delta_m"] = DeltaM(dict.fromkeys(metrics, 0.5), metrics).compute()
    return {name: bits(value) for name, value in found.items()}
