"""What is exported: normalisation, network and the last step of each task in one plain module."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mtdense import __version__
from mtdense.core.errors import ConfigError
from mtdense.models import DenseModule
from mtdense.models.noise import KeptNoise, keep_noise
from mtdense.reports.canonical import plain
from mtdense.tasks import Task

__all__ = ["FORMS", "ExportedModel", "Form", "export_description"]

Form = Literal["predictions", "soft", "logits"]
FORMS: dict[Form, str] = {
    "predictions": "class ids, probabilities, unit vectors or values, at the size of the image",
    "soft": "probabilities of each class, unit vectors or values, at the size of the image",
    "logits": "what the heads give, at the network's own resolution",
}


class ExportedModel(nn.Module):
    """RGB images (B, 3, H, W) in [0, 1] to one output per task, in the order of `tasks`.

    Metres at another size than that of training are brought to it, as `mtdense predict` does (`Task.zoom_target`);
    logits are left as they are.

    Args:
        model: The network.
        form: See `FORMS`.
        tasks: Tasks that are put out; None: all.
        filled: Height and width that pictures filled in training; None: all of the network's images.

    Raises:
        ConfigError: An unknown task, or one whose predictions are no map.
    """

    def __init__(
        self,
        model: DenseModule,
        form: Form = "predictions",
        tasks: Sequence[str] | None = None,
        filled: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ConfigError(f"unknown form {form!r} of outputs", f"use one of {', '.join(FORMS)}.")
        names = list(model.tasks) if tasks is None else list(tasks)
        for name in names:
            if name not in model.tasks or model.tasks[name].output_kind != "map":
                maps = [n for n, task in model.tasks.items() if task.output_kind == "map"]
                raise ConfigError(f"{name} cannot be exported", f"name maps that the network gives: {', '.join(maps)}.")
        self.model = model.eval()
        self.form = form
        self.tasks: dict[str, Task] = {name: model.tasks[name] for name in names}
        trained = filled or model.hparams["input_size"]
        self.trained_size: tuple[int, int] | None = trained and (int(trained[0]), int(trained[1]))
        """Height and width that pictures filled in training, if the checkpoint says it."""
        self._noise: KeptNoise | None = None

    def zoom(self, size: Sequence[int]) -> float:
        """By how much a picture of this size is larger than that of its aspect was in training."""
        if self.trained_size is None:
            return 1.0
        # While it is traced for any size, sizes are symbols.
        zoom: float = torch.sym_max(size[0] / self.trained_size[0], size[1] / self.trained_size[1])
        return zoom

    @torch.no_grad()
    def fix_noise(self, size: Sequence[int]) -> None:
        """Makes constants of the noise that a network draws for its images (DiffusionMTL), at one size."""
        kept = KeptNoise()
        with keep_noise(kept):
            self.model(torch.full((1, 3, *size), 0.5))
        self._noise = kept if kept.tensors else None

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Images to outputs."""
        with contextlib.nullcontext() if self._noise is None else keep_noise(self._noise):
            final = self.model(image).final
        size = image.shape[-2:]
        return tuple(self._last_step(task, final[name], size) for name, task in self.tasks.items())

    def _last_step(self, task: Task, logits: Tensor, size: Sequence[int]) -> Tensor:
        if self.form == "logits":
            return logits.float()
        sized = torch.nn.functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
        found = task.soften(sized) if self.form == "soft" else task.predict(sized)
        zoom = self.zoom(size)
        return found if isinstance(zoom, float) and zoom == 1 else task.zoom_target(found, 1 / zoom)


def export_description(exported: ExportedModel, size: Sequence[int], dynamic: str) -> dict[str, Any]:
    """What goes into the file beside the network, as plain values: tasks, classes, units, coding of input and outputs.

    Args:
        exported: What is exported.
        size: Height and width it was traced at.
        dynamic: What of the input's shape may vary: "none", "batch" or "size".
    """
    model = exported.model
    told = {
        "mtdense": __version__,
        "method": model.method,
        "form": exported.form,
        "input": {
            "name": "image",
            "layout": "batch, channel, row, column",
            "colours": "RGB in [0, 1], not normalised: that is part of the network",
            "size": list(size),
            "may_vary": dynamic,
            "trained_size": None if exported.trained_size is None else list(exported.trained_size),
        },
        "outputs": {
            name: {
                "holds": FORMS[exported.form],
                "stored_as": task.stored_as,
                **task.meaning,
                "spec": task.spec,
                **_zoom_told(exported, task, size, dynamic),
            }
            for name, task in exported.tasks.items()
        },
        "axes_of_vectors": "x right, y down, z forward",
    }
    result: dict[str, Any] = plain(told)
    return result


def _zoom_told(exported: ExportedModel, task: Task, size: Sequence[int], dynamic: str) -> dict[str, str]:
    """What another size than that of training does to values: nothing to classes, directions and probabilities."""
    closer = float(task.zoom_target(torch.ones(1, 1, 1), 0.5))
    if closer == 1:
        return {}
    if exported.trained_size is None:
        said = "as the network gives them: the checkpoint does not say at what size it was trained"
        return {"values_at_other_sizes": said}
    height, width = exported.trained_size
    verb = "multiplied" if closer > 1 else "divided"
    told = f"{verb} by max(height / {height}, width / {width})"
    if exported.form == "logits":
        return {"values_at_other_sizes": f"to be {told}"}
    return {"values_at_other_sizes": told if dynamic == "size" else f"{told} = {exported.zoom(size):.6g}"}
