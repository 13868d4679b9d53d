"""Looks inside trained networks on a data set: their own numbers and figures, and their predictions side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from PIL import Image
from torch import Tensor

from mtdense.core.errors import ConfigError
from mtdense.data.sample import Batch
from mtdense.models import DenseModule
from mtdense.models.agreement import check_data_tasks
from mtdense.models.diagnosis import Diagnosed, Diagnosis, draw_tables
from mtdense.models.outputs import Outputs
from mtdense.reports.contact_sheet import ContactRow, contact_sheet, rows_from_batch
from mtdense.reports.prediction_files import safe_path
from mtdense.tasks import Task

__all__ = ["Numbers", "check_peers", "diagnose", "first_images", "peer_names", "write_figures"]


@dataclass
class Numbers:
    """The numbers of a network, image by image, as they come.

    Args:
        tasks: The network's tasks, in order.
    """

    tasks: Sequence[str]
    _about: dict[str, str] = field(default_factory=dict)
    _values: dict[str, list[Tensor]] = field(default_factory=dict)
    _ids: list[str] = field(default_factory=list)

    def add(self, ids: Sequence[str], found: Mapping[str, Diagnosis]) -> None:
        """Takes those of a batch."""
        self._ids += ids
        for name, diagnosis in found.items():
            self._about[name] = diagnosis.about
            self._values.setdefault(name, []).append(diagnosis.values.detach().double().cpu())

    def summary(self) -> dict[str, Any]:
        """{name: what it is, mean and deviation over the images that have one, and each image's own}, as plain values.

        A number by pair of tasks also has, as `pairs`, mean and deviation of its mean over pairs of different tasks.
        Deviations are the sample's; with fewer than two images there is none.
        """
        return {name: self._summarise(name) for name in self._values}

    def means(self) -> dict[str, Tensor]:
        """{name: mean over the images that have one, (T,) or (T, T)}."""
        return {name: torch.cat(values).nanmean(0) for name, values in self._values.items()}

    def _summarise(self, name: str) -> dict[str, Any]:
        values = torch.cat(self._values[name])
        known = values.isfinite().flatten(1).all(1)
        kept = values[known]
        told = {"about": self._about[name], "images": len(kept), **_spread(kept)}
        if values.dim() == 3 and values.shape[1] > 1:
            told["pairs"] = _spread(kept[:, ~torch.eye(values.shape[1], dtype=torch.bool)].mean(1))
        told["per_image"] = {id_: _numbers(value) for id_, value in zip(self._ids, values, strict=True)}
        return told


def _spread(values: Tensor) -> dict[str, Any]:
    return {"mean": _numbers(values.mean(0)), "std": _numbers(values.std(0)) if len(values) > 1 else None}


def _numbers(values: Tensor) -> Any:
    """Nested lists of six significant digits, None where there is none."""
    if values.dim():
        return [_numbers(value) for value in values]
    return float(f"{values.item():.6g}") if math.isfinite(values.item()) else None


def peer_names(models: Sequence[DenseModule], files: Sequence[str | Path]) -> list[str]:
    """A name for each network: its method; where two share one, the run's folder, or a number at last."""
    methods = [model.method for model in models]
    folders = [_run_name(Path(file)) for file in files]
    names = [m if methods.count(m) == 1 else f for m, f in zip(methods, folders, strict=True)]
    return [
        name if names.count(name) == 1 else f"{name}-{names[:place].count(name) + 1}"
        for place, name in enumerate(names)
    ]


def _run_name(file: Path) -> str:
    folder = file.resolve().parent
    return folder.parent.name if folder.name == "checkpoints" else file.stem


def check_peers(models: Mapping[str, DenseModule], tasks: Mapping[str, Task]) -> None:
    """Refuses networks that cannot be shown beside each other on these data.

    Args:
        models: {name: network}.
        tasks: The data's.

    Raises:
        ConfigError: A network has none of the tasks, or means something else by one.
    """
    for name, model in models.items():
        shared = {task: tasks[task] for task in tasks if task in model.tasks}
        if not shared:
            raise ConfigError(
                f"{name} predicts {', '.join(model.tasks)}, the data have {', '.join(tasks)}",
                "name networks that share a task with the data.",
            )
        try:
            check_data_tasks(model.tasks, shared)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error.problem}", error.mend) from error


@torch.no_grad()
def diagnose(
    models: Mapping[str, DenseModule],
    tasks: Mapping[str, Task],
    batches: Iterable[Batch],
    out: Path,
    figures: int = 4,
    device: torch.device | str = "cpu",
) -> dict[str, Numbers]:
    """Draws the first images by all networks, and gathers the numbers of those networks that have any.

    Writes OUT/predictions.png, and for each network OUT/<name>/<figure>.png with its own figures of the first images
    and `<number>.png` with the mean of each number by pair of tasks.

    Args:
        models: {name: network}.
        tasks: The data's.
        batches: Batches of the data; all are run where a network has numbers, else no more than the figures need.
        out: Folder to write to.
        figures: Images that are drawn, 0 for none.
        device: Where the networks run.

    Returns:
        {name: numbers}, for each network that has some.

    Raises:
        ConfigError: See `check_peers`; or a network does not take images of this size.
    """
    check_peers(models, tasks)
    for model in models.values():
        model.eval().to(device)
    numbers = {name: Numbers(list(model.tasks)) for name, model in models.items() if isinstance(model, Diagnosed)}
    rows: list[ContactRow] = []
    for place, batch in enumerate(batches):
        if not numbers and len(rows) >= figures:
            break
        batch = move_data_to_device(batch, torch.device(device))
        outputs = dict(_run(models, batch))
        for name, held in numbers.items():
            model = models[name]
            assert isinstance(model, Diagnosed)
            held.add(batch["id"], model.diagnostics(batch, outputs[name]))
        if len(rows) < figures:
            rows += _rows(models, batch, outputs, figures - len(rows))
        if place == 0 and figures:
            few = first_images(batch, figures)
            for name, seen in _run(models, few):
                write_figures(models[name].figures(few, seen), out / name)
    if rows:
        contact_sheet(rows, _drawn_tasks(models, tasks), out / "predictions.png")
    for name, held in numbers.items():
        write_figures(_tables(held), out / name)
    return numbers


def _run(models: Mapping[str, DenseModule], batch: Batch) -> Iterator[tuple[str, Outputs]]:
    for name, model in models.items():
        try:
            yield name, model.run_network(batch)
        except (RuntimeError, AssertionError, ValueError) as error:
            height, width = batch["image"].shape[-2:]
            raise ConfigError(
                f"{name} does not take images of {height}x{width}: {str(error).splitlines()[0]}",
                "compare networks that were trained at one size, or give the data another by `--data.size`.",
            ) from error


def _rows(
    models: Mapping[str, DenseModule], batch: Batch, outputs: Mapping[str, Outputs], limit: int
) -> list[ContactRow]:
    size = batch["image"].shape[-2:]
    predictions = {name: model.predictions(outputs[name], size, batch) for name, model in models.items()}
    if len(models) == 1:
        return rows_from_batch(batch, next(iter(predictions.values())), limit)
    return rows_from_batch(batch, {}, limit, peers=predictions)


def _drawn_tasks(models: Mapping[str, DenseModule], tasks: Mapping[str, Task]) -> dict[str, Task]:
    """The data's tasks first, then what networks predict beyond."""
    drawn = dict(tasks)
    for model in models.values():
        drawn.update({name: task for name, task in model.tasks.items() if name not in drawn})
    return drawn


def _tables(numbers: Numbers) -> dict[str, Any]:
    """Pictures of the means by pair of tasks: one for each group of names, such as one distance at several scales."""
    means = {name: mean for name, mean in numbers.means().items() if mean.dim() == 2}
    pictures = {}
    for group, names in itertools.groupby(means, key=lambda name: name.rpartition("/")[0]):
        tables = {name.rpartition("/")[2].replace("_", " "): means[name].numpy() for name in names}
        pictures[group.replace("/", "_")] = draw_tables(tables, numbers.tasks)
    return pictures


def write_figures(pictures: Mapping[str, Any], folder: Path) -> list[Path]:
    """Writes pictures (H, W, 3) as FOLDER/<name>.png, and gives the files back."""
    files = []
    for name, picture in pictures.items():
        files.append(safe_path(folder, name, ".png"))
        Image.fromarray(picture).save(files[-1])
    return files


def first_images(batch: Batch, count: int) -> Batch:
    """The first `count` images of a batch, with all that belongs to them."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cut(item) for key, item in value.items()}
        return value[:count]

    few: Batch = cut(batch)
    return few
