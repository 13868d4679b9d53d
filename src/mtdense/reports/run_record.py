"""Run records: one small JSON file per run, from which every printed number can be traced back."""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import torch

from mtdense.core.errors import ConfigError, DataError
from mtdense.reports.canonical import canonical_json, checksum, decode_float, plain, write_atomic

__all__ = ["KINDS", "LIMITING", "MetricValue", "RunRecord", "limits_of", "weights_checksum"]

KINDS = ("fit", "validate", "test", "predict", "trivial")
_MEND = "run the command that wrote it again, or leave this record out."


@dataclass(frozen=True)
class MetricValue:
    """One measured figure.

    Args:
        task: Task it belongs to.
        name: Name in the task's `metrics()`, such as "mIoU".
        value: As the metric computed it; NaN where nothing was scored.
        unit: "fraction", "degrees", "metres", ... ("" where there is none).
        higher_is_better: Direction, from the metric.
        primary: Whether tables and Δm use it.
        protocol: Conventions behind the figure where published evaluators disagree, such as "max_dist=0.011"; figures
            of different protocols are not comparable. "" in records from before it was written down.
    """

    task: str
    name: str
    value: float
    unit: str
    higher_is_better: bool
    primary: bool
    protocol: str = ""


@dataclass(frozen=True)
class RunRecord:
    """What was run, on what, with which result.

    Args:
        kind: One of `KINDS`.
        method: Method id, such as "mtl_baseline" or "single_task".
        backbone: Backbone id; "" where there is none.
        tasks: Task names in order.
        metrics: Results.
        config: Nested plain configuration of the run.
        data: Description of the data (`DenseDataModule.description`).
        seed: Seed of the run; None where nothing is random.
        selection: How the weights were chosen: "last", "best_val", ...; None where there are none.
        steps: Optimiser steps behind the weights.
        parameters: Number of network parameters.
        weights_sha256: See `weights_checksum`.
        checkpoint: Path of the checkpoint that was read or written last, as given.
        checkpoint_sha256: Of that file's bytes.
        versions: Python and package versions.
        code: Git "revision" and "dirty" flag; None each where the package does not run from a checkout.
        device: Readable device name.
        wall_seconds: Duration of the run.
        peak_rss_bytes: Largest resident memory of the main process.
        peak_cuda_bytes: Largest memory allocated on the CUDA device.
        started: UTC time, ISO 8601.
        finished: UTC time, ISO 8601.
        variant: Tells rows of one method apart, such as an ablation's name.
        logged: Other logged scalars, such as losses.
        world_size: Number of processes that shared the work; None in records from before it was written down.
        limits: Options of the trainer that left data out, such as {"limit_test_batches": 2}; see `partial`.
    """

    kind: str
    method: str
    backbone: str
    tasks: list[str]
    metrics: list[MetricValue]
    config: dict[str, Any]
    data: dict[str, Any]
    seed: int | None
    selection: str | None
    steps: int
    parameters: int
    weights_sha256: str | None
    checkpoint: str | None
    checkpoint_sha256: str | None
    versions: dict[str, Any]
    code: dict[str, Any]
    device: str
    wall_seconds: float
    peak_rss_bytes: int | None
    peak_cuda_bytes: int | None
    started: str
    finished: str
    variant: str = ""
    logged: dict[str, Any] = field(default_factory=dict)
    world_size: int | None = None
    limits: dict[str, Any] = field(default_factory=dict)

    SCHEMA: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"unknown kind of run record {self.kind!r}", f"use one of {', '.join(KINDS)}.")
        for name in ("config", "data", "versions", "code", "logged", "limits"):
            object.__setattr__(self, name, plain(getattr(self, name), name))

    @property
    def config_sha256(self) -> str:
        """Sha256 of the canonical JSON of `config`."""
        return checksum(self.config)

    @property
    def partial(self) -> dict[str, Any]:
        """What left data out of this training or evaluation, by option of the trainer; empty where nothing did.

        Records from before `limits` was written down tell it by their configuration.
        """
        trainer = self.config.get("trainer")
        return {**(limits_of(trainer, self.kind) if isinstance(trainer, Mapping) else {}), **self.limits}

    def metric(self, task: str, name: str) -> float | None:
        """Value of one metric, or None where it was not measured."""
        return next((m.value for m in self.metrics if (m.task, m.name) == (task, name)), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain form as stored, with `schema`, `config_sha256` and the record's own `record_sha256`."""
        body = {"schema": self.SCHEMA, **plain(self, "record"), "config_sha256": self.config_sha256}
        return {**body, "record_sha256": checksum(body)}

    @classmethod
    def from_dict(cls, stored: Any, source: str = "run record") -> RunRecord:
        """Rebuilds a record from `to_dict()`.

        Args:
            stored: What JSON gave.
            source: File name, for errors.

        Raises:
            DataError: Not a record, of another schema, incomplete, or edited since it was written.
        """
        if not isinstance(stored, Mapping) or "record_sha256" not in stored:
            raise DataError(f"{source} is not a run record", _MEND)
        body = {key: value for key, value in stored.items() if key != "record_sha256"}
        if body.get("schema") != cls.SCHEMA:
            raise DataError(
                f"{source} has schema {body.get('schema')!r}; this version of mtdense reads {cls.SCHEMA}",
                "read it with the version of mtdense that wrote it, or run again.",
            )
        if checksum(body) != stored["record_sha256"]:
            raise DataError(f"{source} was changed after it was written: its checksum does not match", _MEND)
        if body.pop("config_sha256", None) != checksum(body.get("config")):
            raise DataError(f"{source}: the checksum of the configuration does not match", _MEND)
        del body["schema"]
        _check_types(body, source)
        try:
            metrics = [MetricValue(**{**item, "value": decode_float(item["value"])}) for item in body["metrics"]]
            return cls(**{**body, "metrics": metrics})
        except (TypeError, ValueError, KeyError, ConfigError) as error:
            raise DataError(f"{source} is not a complete run record: {error}", _MEND) from error

    def path_in(self, run: Path, suffix: str = "") -> Path:
        """Where this record belongs in a run's folder: RUN/records/test.json, RUN/records/trivial-constant.json.

        Args:
            run: Folder of the run.
            suffix: Tells records of one kind apart, such as "best" for RUN/records/test-best.json.
        """
        parts = (self.kind, self.method if self.kind == "trivial" else "", suffix)
        return run / "records" / f"{'-'.join(filter(None, parts))}.json"

    def write(self, path: Path) -> None:
        """Writes the record; a reader sees the old file or the new one, never half of one."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomic(Path(path), text + "\n")

    @classmethod
    def read(cls, path: Path) -> RunRecord:
        """Reads and validates a record.

        Raises:
            DataError: Missing, damaged, of another schema, or edited.
        """
        path = Path(path)
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"cannot read run record {path}: {error.strerror}", "check the path.") from error
        except ValueError as error:
            raise DataError(f"{path} is damaged: {error}", _MEND) from error
        return cls.from_dict(stored, str(path))


# Not in the first records of this schema.
_LATER = frozenset({"world_size", "limits"})

# {kind: {option of the trainer that leaves data out: values that do not}}; a whole number counts batches, also 1.
_ALL_BATCHES: tuple[Any, ...] = (None, 1.0)
_LIMITS: dict[str, dict[str, tuple[Any, ...]]] = {
    kind: {"fast_dev_run": (None, False, 0), **own}
    for kind, own in {
        "fit": {
            "overfit_batches": (None, 0, 0.0),
            "limit_train_batches": _ALL_BATCHES,
            "limit_val_batches": _ALL_BATCHES,
        },
        "validate": {"overfit_batches": (None, 0, 0.0), "limit_val_batches": _ALL_BATCHES},
        "test": {"limit_test_batches": _ALL_BATCHES},
        "predict": {"limit_predict_batches": _ALL_BATCHES},
    }.items()
}

LIMITING = tuple(dict.fromkeys(key for own in _LIMITS.values() for key in own))
"""Options of the trainer that can leave data out."""


def limits_of(trainer: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The options of a trainer that leave data out of a training or evaluation, with their values.

    Args:
        trainer: Options by name, such as the `trainer` section of a configuration.
        kind: One of `KINDS`.
    """
    found = {}
    for key, harmless in _LIMITS.get(kind, {}).items():
        value = trainer.get(key)
        if not any(value == each and type(value) is type(each) for each in harmless):
            found[key] = value
    return found


# Annotations are text under `from __future__ import annotations`; these are the JSON types behind them.
_JSON_TYPES: dict[str, type | types.UnionType] = {
    "str": str,
    "str | None": str | None,
    "int": int,
    "int | None": int | None,
    "float": int | float,
    "list[str]": list,
    "list[MetricValue]": list,
    "dict[str, Any]": dict,
}


def _check_types(body: Mapping[str, Any], source: str) -> None:
    known = {item.name: str(item.type) for item in fields(RunRecord)}
    missing = sorted(known.keys() - body.keys() - _LATER)
    unknown = sorted(body.keys() - known.keys())
    if missing or unknown:
        raise DataError(f"{source} is not a complete run record: missing {missing}, unknown {unknown}", _MEND)
    for name, annotation in known.items():
        if name not in body:
            continue
        value = body[name]
        if not isinstance(value, _JSON_TYPES[annotation]) or (isinstance(value, bool) and "int" in annotation):
            raise DataError(f"{source}: {name} is {value!r}, not {annotation}", _MEND)


def weights_checksum(state: Mapping[str, Any]) -> str:
    """Sha256 over a state dictionary: sorted names, and of each tensor data type, shape and bytes.

    Two runs that end with bit-identical weights have the same checksum, on whatever device they ran.

    Args:
        state: `module.state_dict()`. Entries that are no tensors (a module's extra state) must be plain values.

    Raises:
        ConfigError: An entry is neither a tensor nor a plain value.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        if isinstance(value, torch.Tensor):
            tensor = value.detach().cpu().contiguous()
            digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            # A byte view works for every data type, those that NumPy lacks included.
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(f"{name}\0{canonical_json(plain(value, name))}\0".encode())
    return digest.hexdigest()
