"""Whether a training was that of a run's plan: its configuration, and the images behind each of its steps."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule

from mtdense.core.configs import merged_configs
from mtdense.core.errors import ConfigError, MTDenseError
from mtdense.core.words import counted
from mtdense.models.checkpoint import resolve_class
from mtdense.reports.canonical import plain
from mtdense.reports.run_record import RunRecord

__all__ = ["alike", "global_batch", "trained_otherwise", "world_size"]

# What decides on the weights besides model and data, with Lightning's values where nobody gives others. How many
# devices share a batch is compared by `global_batch`; how work is shown, saved or validated changes no weights.
_TRAINER: dict[str, Any] = {
    **dict.fromkeys(("max_epochs", "min_epochs", "min_steps", "max_time", "gradient_clip_val")),
    **{"max_steps": -1, "accumulate_grad_batches": 1, "precision": "32-true"},
}
_KINDS = {"model": LightningModule, "data": LightningDataModule}
# Of the place and of the number of devices.
_ELSEWHERE = ("root", "seed", "batch_size", "eval_batch_size", "num_workers")


def world_size(config: Mapping[str, Any]) -> int | None:
    """Number of devices that a configuration asks for; None where it leaves that to the machine."""
    trainer = config.get("trainer") or {}
    devices, nodes = trainer.get("devices"), trainer.get("num_nodes") or 1
    if isinstance(devices, list):
        devices = len(devices)
    elif isinstance(devices, str) and devices.isascii() and devices.isdigit():
        devices = int(devices)
    return devices * int(nodes) if isinstance(devices, int) and devices > 0 else None


def global_batch(config: Mapping[str, Any], world: int | None = None) -> int:
    """Images of one step and part of accumulation, of all devices together.

    Args:
        config: Its `batch_size` is that of one device.
        world: Number of devices; None: as the configuration asks for, else one.
    """
    return int(config["data"]["init_args"]["batch_size"]) * (world or world_size(config) or 1)


def trained_otherwise(config: Mapping[str, Any], record: RunRecord) -> str | None:
    """What tells the training of a record from that of a configuration; None where nothing does.

    Args:
        config: That of the run.
        record: Of a training.
    """
    if (record.config.get("data") or {}).get("init_args", {}).get("batch_size") is not None:
        world = record.world_size or world_size(record.config)
        if world is None:
            return "a training on an unknown number of devices, so that nobody knows its batch"
        found, wanted = global_batch(record.config, world), global_batch(config)
        if found != wanted:
            return f"a training of batches of {counted(found, 'image')} ({counted(world, 'device')}), not of {wanted}"
    different = sorted(_different(config, record.config))
    return f"a training of another configuration: {', '.join(different[:6])}" if different else None


def _different(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Dotted names of what differs; what one of the two leaves open has its default."""
    for section in _KINDS:
        own, stored = ours[section], theirs.get(section) or {}
        if str(own["class_path"]).rpartition(".")[2] != str(stored.get("class_path")).rpartition(".")[2]:
            yield f"{section}.class_path"
            continue
        given = own.get("init_args") or {}
        expected = {**_defaults(str(own["class_path"]), section), **given}
        for key, value in (stored.get("init_args") or {}).items():
            if key not in _ELSEWHERE and key in expected and not alike(value, expected[key]):
                yield f"{section}.{key}"
    trainer, stored = ours.get("trainer") or {}, theirs.get("trainer") or {}
    for key, default in _TRAINER.items():
        if not alike(stored.get(key, default), trainer.get(key, default)):
            yield f"trainer.{key}"
    # Such as one that ends a training early.
    if _classes(stored) - _classes(trainer) - _classes(merged_configs(["base/trainer.yaml"])["trainer"]):
        yield "trainer.callbacks"


def _classes(trainer: Mapping[str, Any]) -> set[str]:
    """Names of a trainer's callbacks."""
    entries = trainer.get("callbacks") or []
    listed = entries if isinstance(entries, list) else [entries]
    return {str(entry.get("class_path")).rpartition(".")[2] for entry in listed if isinstance(entry, Mapping)}


@cache
def _defaults(class_path: str, section: str) -> dict[str, Any]:
    """Of a class and those it passes its options on to; only plain values."""
    try:
        kind: type = resolve_class(class_path, _KINDS[section])
    except MTDenseError:  # told when it is to be trained
        return {}
    found: dict[str, Any] = {}
    for each in kind.__mro__:
        for name, parameter in inspect.signature(each.__init__).parameters.items():  # type: ignore[misc]
            if parameter.default is inspect.Parameter.empty:
                continue
            try:
                found.setdefault(name, plain(parameter.default))
            except ConfigError:
                continue
    return found


def alike(stored: Any, given: Any) -> bool:
    """Equality of plain values; the argument parser takes texts such as "1e-3" for numbers, and fills in defaults."""
    if isinstance(given, Mapping) and isinstance(stored, Mapping):
        return all(key in stored and alike(stored[key], value) for key, value in given.items())
    if isinstance(given, list) and isinstance(stored, list):
        return len(given) == len(stored) and all(map(alike, stored, given))
    if type(given) is not type(stored) and not isinstance(given, bool) and not isinstance(stored, bool):
        try:
            return float(given) == float(stored)
        except (TypeError, ValueError):
            return False
    return bool(given == stored)
