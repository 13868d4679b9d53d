"""The Lightning callback that writes a run record after every fit, validation and test."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from mtdense.core.errors import ConfigError
from mtdense.reports.access import tasks_of
from mtdense.reports.canonical import file_checksum, plain
from mtdense.reports.environment import (
    code_revision,
    device_name,
    peak_cuda_bytes,
    peak_rss_bytes,
    utc_now,
    versions,
)
from mtdense.reports.metric_values import metric_value
from mtdense.reports.run_record import LIMITING, MetricValue, RunRecord, limits_of, weights_checksum

__all__ = ["RunRecorder"]

_STATE = "mtdense_record"
"""Key of what a checkpoint keeps for the record of a run that goes on."""

_PARTIAL = "partial"

_KINDS = {
    TrainerFn.FITTING: "fit",
    TrainerFn.VALIDATING: "validate",
    TrainerFn.TESTING: "test",
    TrainerFn.PREDICTING: "predict",
}


class RunRecorder(Callback):
    """Writes RUN/records/{fit,validate,test,predict}.json, where RUN is the trainer's `default_root_dir`.

    `test.json` is the test of `last` (or of weights that come from no checkpoint) on all tasks of the model. Another
    checkpoint or fewer tasks get a record of their own beside it: `test-best.json`, `test-last-semseg+depth.json`,
    `test-best-depth.json`. The same goes for `validate`. An evaluation of a part of the data (`limit_test_batches`,
    `fast_dev_run`) is told in the record's `limits`, and lies beside a whole one: `test-partial.json`; so does a
    training by `fast_dev_run`. Only a repetition of the same evaluation is overwritten.

    The module must offer `tasks` (name to `Task`) and `method`, as `DenseModule` does; `backbone` is read from its
    hyper-parameters, the data from `trainer.datamodule.description`. Only rank zero writes. A run that ends with an
    error or is interrupted writes none.

    Args:
        config: Plain nested configuration of the run; None records the hyper-parameters of module and data module.
        seed: Seed of the run.
        selection: How the tested weights were chosen ("last", "best_val", ...); None finds out from the checkpoint.
        variant: Tells rows of one method apart, such as an ablation's name.
        ckpt_path: Checkpoint whose weights are evaluated, where the trainer is not told (weights loaded before).
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        seed: int | None = None,
        selection: str | None = None,
        variant: str = "",
        ckpt_path: str | None = None,
    ) -> None:
        self.config = config
        self.seed = seed
        self.selection = selection
        self.variant = variant
        self.ckpt_path = ckpt_path
        self.record: RunRecord | None = None
        """What was recorded last, in the first process."""
        self._clock = time.perf_counter()
        self._started = utc_now()
        self._loaded: dict[str, Any] | None = None
        self._earlier: dict[str, Any] = {"logged": {}, "wall_seconds": 0.0}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Starts the clock; complains now, and not after hours of training, about what cannot be recorded."""
        self._clock, self._started, self._loaded = time.perf_counter(), utc_now(), None
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        for name in ("tasks", "method"):
            if not hasattr(pl_module, name):
                raise ConfigError(
                    f"{type(pl_module).__name__} has no `{name}`, so its run cannot be recorded",
                    "train a DenseModule, or remove RunRecorder from the callbacks.",
                )
        self._plain_config(trainer, pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps what the checkpoint says of itself: its step, its run's best file, and what was logged."""
        self._earlier = (
            checkpoint.get(_STATE, self._earlier) if trainer.state.fn == TrainerFn.FITTING else self._earlier
        )
        callbacks = checkpoint.get("callbacks", {})
        best = [state for key, state in callbacks.items() if str(key).startswith(ModelCheckpoint.__name__)]
        self._loaded = {
            "step": checkpoint.get("global_step"),
            "best": [Path(s["best_model_path"]).name for s in best if s.get("monitor") and s.get("best_model_path")],
            "last": [Path(s["last_model_path"]).name for s in best if s.get("last_model_path")],
        }

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Writes down what a run that goes on from here must know for its record: metrics so far, and time spent."""
        logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
        checkpoint[_STATE] = {"logged": {**self._earlier["logged"], **logged}, "wall_seconds": self._wall_seconds()}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Records the training run with the metrics of its last validation."""
        self._record(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Records a `validate` run; validations within a fit are part of that fit."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._record(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Records the test."""
        self._record(trainer, pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Records which weights predicted what; there are no metrics."""
        self._record(trainer, pl_module)

    def _record(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.state.fn not in _KINDS:
            return
        self.record = record = self.make_record(trainer, pl_module, _KINDS[trainer.state.fn])
        record.write(record.path_in(Path(trainer.default_root_dir), self._suffix(record, trainer, pl_module)))

    def _suffix(self, record: RunRecord, trainer: Trainer, pl_module: LightningModule) -> str:
        """What tells this evaluation from that of `last` on all tasks and all data, which has ""."""
        checkpoint = self._checkpoint_path(trainer, record.kind)
        stem = "" if checkpoint is None else checkpoint.stem
        fewer = len(record.tasks) < len(tasks_of(pl_module))
        if record.kind == "fit":
            # The folder's own training, whatever its data; a trial of the program trains nothing that stays.
            return _PARTIAL if "fast_dev_run" in record.partial else ""
        partial = _PARTIAL if record.partial else ""
        if not fewer and stem in ("", ModelCheckpoint.CHECKPOINT_NAME_LAST):
            return partial
        return "-".join(filter(None, (stem, "+".join(record.tasks) if fewer else "", partial)))

    def make_record(self, trainer: Trainer, pl_module: LightningModule, kind: str) -> RunRecord:
        """Gathers a record from the trainer's present state.

        Args:
            trainer: Its metrics, device, data module and checkpoints are read.
            pl_module: The module that ran.
            kind: "fit", "validate", "test" or "predict".
        """
        checkpoint = self._checkpoint_path(trainer, kind)
        earlier = self._earlier["logged"] if kind == "fit" else {}
        metrics, logged = _split_metrics(trainer, pl_module, "test" if kind == "test" else "val", earlier)
        loaded_step = self._loaded["step"] if self._loaded is not None and kind != "fit" else None
        return RunRecord(
            kind=kind,
            method=str(pl_module.method),
            backbone=_backbone(pl_module),
            tasks=_present_tasks(trainer, pl_module),
            metrics=metrics,
            config=self._plain_config(trainer, pl_module),
            data=plain(_description(trainer), "data"),
            seed=self.seed,
            selection=self.selection or self._find_selection(checkpoint, trainer, kind),
            steps=int(trainer.global_step if loaded_step is None else loaded_step),
            parameters=_parameters(pl_module),
            weights_sha256=weights_checksum(pl_module.state_dict()),
            checkpoint=_short(checkpoint, Path(trainer.default_root_dir)),
            checkpoint_sha256=file_checksum(checkpoint) if checkpoint is not None and checkpoint.is_file() else None,
            versions=versions(),
            code=dict(code_revision()),
            device=device_name(trainer.strategy.root_device),
            wall_seconds=self._wall_seconds(),
            peak_rss_bytes=peak_rss_bytes(),
            peak_cuda_bytes=peak_cuda_bytes(),
            started=self._started,
            finished=utc_now(),
            variant=self.variant,
            logged=logged,
            world_size=int(trainer.world_size),
            limits=limits_of({key: getattr(trainer, key, None) for key in LIMITING}, kind),
        )

    def _wall_seconds(self) -> float:
        """Since the start, with what a resumed run had spent before."""
        return float(time.perf_counter() - self._clock + self._earlier["wall_seconds"])

    def _plain_config(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        config: Mapping[str, Any]
        if self.config is not None:
            config = self.config
        else:
            config = {"model": dict(pl_module.hparams), "data": dict(getattr(_datamodule(trainer), "hparams", {}))}
        return dict(plain(config, "config"))

    def _checkpoint_path(self, trainer: Trainer, kind: str) -> Path | None:
        """The checkpoint that was evaluated, or that a fit wrote last."""
        if kind != "fit":
            path = trainer.ckpt_path or self.ckpt_path
            return Path(path) if path else None
        last = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        if last.is_file():
            return last
        callback = trainer.checkpoint_callback
        if not isinstance(callback, ModelCheckpoint):
            return None
        written = callback.last_model_path or callback.best_model_path
        return Path(written) if written else None

    def _find_selection(self, checkpoint: Path | None, trainer: Trainer, kind: str) -> str:
        """What the files say; "unstated" where they say nothing."""
        if kind == "fit" or checkpoint is None:
            return "last"
        known = self._loaded or {"best": [], "last": []}
        callbacks = [c for c in trainer.callbacks if isinstance(c, ModelCheckpoint)]  # type: ignore[attr-defined]
        best = [*known["best"], *(Path(c.best_model_path).name for c in callbacks if c.monitor and c.best_model_path)]
        last = [*known["last"], *(Path(c.last_model_path).name for c in callbacks if c.last_model_path)]
        if checkpoint.name in last or checkpoint.stem == ModelCheckpoint.CHECKPOINT_NAME_LAST:
            return "last"
        return "best_val" if checkpoint.name in best else "unstated"


def _parameters(pl_module: LightningModule) -> int:
    """What is trained but for a loss weighting's own, which is no part of the network."""
    weighting = pl_module.get_submodule("weighting").parameters() if hasattr(pl_module, "weighting") else ()
    own = {id(parameter) for parameter in weighting}
    return sum(parameter.numel() for parameter in pl_module.parameters() if id(parameter) not in own)


def _datamodule(trainer: Trainer) -> Any:
    return getattr(trainer, "datamodule", None)


def _present_tasks(trainer: Trainer, pl_module: LightningModule) -> list[str]:
    """The model's tasks that the data carries: a network of many tasks may be tested on fewer."""
    carried = getattr(_datamodule(trainer), "tasks", None)
    return [name for name in tasks_of(pl_module) if carried is None or name in carried]


def _description(trainer: Trainer) -> Mapping[str, Any]:
    description: Mapping[str, Any] = getattr(_datamodule(trainer), "description", {})
    return description


def _backbone(pl_module: LightningModule) -> str:
    backbone = pl_module.hparams.get("backbone", "")
    return str(backbone.get("name", "")) if isinstance(backbone, Mapping) else str(backbone or "")


def _split_metrics(
    trainer: Trainer, pl_module: LightningModule, stage: str, earlier: Mapping[str, float]
) -> tuple[list[MetricValue], dict[str, float]]:
    """Task metrics of the stage, and every other logged scalar by its key; `earlier` holds what is not logged anew."""
    logged = {**earlier, **{key: float(value) for key, value in trainer.callback_metrics.items()}}
    metrics = []
    for task in tasks_of(pl_module).values():
        for name, metric in task.metrics().items():
            value = logged.pop(f"{stage}/{task.name}/{name}", None)
            if value is not None:
                metrics.append(metric_value(task, name, metric, value))
    return metrics, dict(sorted(logged.items()))


def _short(path: Path | None, run: Path) -> str | None:
    """Path below the run's folder where it lies there, so that a moved run keeps true."""
    if path is None:
        return None
    resolved, root = path.resolve(), run.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(path)
