"""Compares an exported file with the network that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mtdense.core.errors import ConfigError
from mtdense.core.optional import require
from mtdense.reports.export.module import ExportedModel
from mtdense.reports.export.write import Dynamic, Format

__all__ = ["TOLERANCE", "ExportCheck", "check_export"]

TOLERANCE = 1e-4
"""Largest difference, as a share of the largest value (and absolutely, below 1)."""


@dataclass(frozen=True)
class ExportCheck:
    """How far a file is from its original.

    Args:
        differences: {task: largest difference over all images, see `TOLERANCE`}; of class ids the largest gap between
            the two best logits of a pixel that changed its class.
        images: Images compared.
    """

    differences: dict[str, float]
    images: int

    @property
    def largest(self) -> float:
        """Of all tasks."""
        return max(self.differences.values())


def check_export(
    exported: ExportedModel, path: Path, fmt: Format, size: Sequence[int], dynamic: Dynamic = "none"
) -> ExportCheck:
    """Runs both on black, white and random images, of several shapes where they may vary.

    Raises:
        ConfigError: The file differs by more than `TOLERANCE`, or cannot be run.
    """
    run = _runner(path, fmt)
    logits = ExportedModel(exported.model, "logits", list(exported.tasks))
    worst = dict.fromkeys(exported.tasks, 0.0)
    count = 0
    for image in _images(size, dynamic):
        try:
            with torch.no_grad():
                wanted, raw, found = exported(image), logits(image), run(image)
        except Exception as error:  # the runtime raises its own
            raise ConfigError(
                f"{path.name} cannot be run on {tuple(image.shape)}: {str(error).splitlines()[0]}",
                "export it for one size (`--dynamic none`), or in the other format.",
            ) from error
        count += len(image)
        for name, a, b, head in zip(worst, wanted, found, raw, strict=True):
            worst[name] = max(worst[name], _difference(a, b, head, image.shape[-2:]))
    result = ExportCheck(worst, count)
    if not result.largest <= TOLERANCE:
        told = ", ".join(f"{name} {value:.2g}" for name, value in worst.items())
        raise ConfigError(f"the exported network differs from the original: {told}", "do not use it; report this.")
    return result


def _images(size: Sequence[int], dynamic: Dynamic) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 3, *size), (1, 3, *size)]
    if dynamic != "none":
        shapes.append((3, 3, *size))
    if dynamic == "size":
        shapes.append((1, 3, size[0] + 32, size[1] + 64))
    random = [torch.rand(shape, generator=generator) for shape in shapes]
    return [torch.zeros(shapes[0]), torch.ones(shapes[0]), *random]


def _runner(path: Path, fmt: Format) -> Callable[[Tensor], Sequence[Tensor]]:
    if fmt == "torch_export":
        module = torch.export.load(path).module()
        return lambda image: list(module(image))
    runtime = require("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda image: [torch.from_numpy(part) for part in session.run(None, {"image": image.numpy()})]


def _difference(wanted: Tensor, found: Tensor, logits: Tensor, size: Sequence[int]) -> float:
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return float("inf")
    if wanted.dtype.is_floating_point:
        if not bool(found.isfinite().all()):
            return float("inf")  # a maximum would pass over NaN
        scale = max(1.0, float(wanted.abs().max()))
        return float((wanted - found).abs().max()) / scale
    changed = wanted != found
    if not bool(changed.any()):
        return 0.0
    best = torch.nn.functional.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False).topk(2, 1)
    gap = best.values[:, 0] - best.values[:, 1]
    return float(gap[changed].max()) / max(1.0, float(logits.abs().max()))
