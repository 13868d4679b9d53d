"""The runs of a comparison: their configuration, their folders, and how far each has got."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from mtdense.core.errors import ConfigError, DataError
from mtdense.reports.canonical import canonical_json, checksum, plain, write_atomic
from mtdense.reports.environment import code_revision, versions
from mtdense.reports.evidence.plan_file import Method, Plan
from mtdense.reports.run_record import RunRecord

__all__ = ["DIVERGED_EXIT", "Comparison", "Network", "State", "Trial", "differing_keys", "flat"]

DIVERGED_EXIT = 3
"""Exit code of `mtdense fit` where a loss was not finite; that of `mtdense.cli.main`."""

_MARK, _DIVERGED = "trial.json", "diverged.json"

# What differs between networks of one task and of all: the plan's own doing.
_TASK_KEYS = ("tasks", "mask_tasks", "only_labelled")

# {option of the trainer that ends a run early or leaves data out: values that do not}
_OTHER_ENDS: dict[str, tuple[Any, ...]] = {
    "max_time": (),
    "limit_train_batches": (1.0,),
    "overfit_batches": (0, 0.0),
    "fast_dev_run": (False, 0),
}


class State(Enum):
    """How far a trial has got."""

    ABSENT = "to do"
    PARTIAL = "begun"
    DONE = "trained"
    DIVERGED = "diverged"
    OTHER = "of another configuration"


@dataclass(frozen=True)
class Network:
    """One network of one method in one setting: what gets a grid value of its own.

    Args:
        setting: Id of the setting.
        method: Id of the method.
        task: Its task, where the method has a network per task; else None.
    """

    setting: str
    method: str
    task: str | None = None

    @property
    def id(self) -> str:
        """Such as "one-label/mtl_baseline" or "one-label/single_task/depth"."""
        return "/".join(filter(None, (self.setting, self.method, self.task)))


@dataclass(frozen=True)
class Trial:
    """One training run.

    Args:
        network: What is trained.
        grid: Id of the grid value.
        seed: Seed of the run.
        config: Its configuration, without its folder.
        folder: Its run folder.
    """

    network: Network
    grid: str
    seed: int
    config: dict[str, Any]
    folder: Path

    @property
    def id(self) -> str:
        """Such as "one-label/mtl_baseline/lr1e-3/seed0"; the folder below that of the comparison."""
        return f"{self.network.id}/{self.grid}/seed{self.seed}"

    @property
    def config_sha256(self) -> str:
        """Checksum of the configuration; a run of another one is another trial."""
        return checksum(self.config)

    @property
    def max_steps(self) -> int:
        """Optimiser steps."""
        return int(self.config["trainer"]["max_steps"])

    @property
    def checkpoint(self) -> Path:
        """Where the run keeps its last checkpoint."""
        return self.folder / "checkpoints" / "last.ckpt"

    def state(self) -> State:
        """How far it has got.

        Raises:
            DataError: Its files are damaged.
        """
        fitted, diverged = self.folder / "records" / "fit.json", self.folder / _DIVERGED
        if not (fitted.is_file() or diverged.is_file() or self.checkpoint.is_file()):
            return State.ABSENT
        if self._marked() != self.config_sha256:
            return State.OTHER
        if diverged.is_file():
            return State.DIVERGED
        if not fitted.is_file():
            return State.PARTIAL
        # A run that something else than the plan ended or seeded is not the plan's.
        return State.DONE if self.ended_otherwise() is None else State.OTHER

    def ended_otherwise(self) -> str | None:
        """What is wrong with the training that the folder's record tells of; None if nothing, or without a record.

        Raises:
            DataError: A damaged record.
        """
        path = self.folder / "records" / "fit.json"
        if not path.is_file():
            return None
        record = RunRecord.read(path)
        if (record.steps, record.seed) == (self.max_steps, self.seed):
            return None
        return f"a training of {record.steps} steps with seed {record.seed}, not of {self.max_steps} with {self.seed}"

    def fitted(self) -> RunRecord | None:
        """Record of the training, with the scores of its validation; None unless it is done."""
        return RunRecord.read(self.folder / "records" / "fit.json") if self.state() is State.DONE else None

    def tested(self) -> RunRecord | None:
        """Record of the test of these weights, or None.

        Raises:
            DataError: The folder's test is of other weights than its training ended with.
        """
        fitted, path = self.fitted(), self.folder / "records" / "test.json"
        if fitted is None or not path.is_file():
            return None
        record = RunRecord.read(path)
        if record.weights_sha256 != fitted.weights_sha256:
            raise DataError(
                f"{path} is a test of other weights than those of the training in the same folder",
                f"remove {path}; the test is then done again.",
            )
        return record

    def diverged(self) -> dict[str, Any] | None:
        """What was written down of a training that diverged: `message`, `code` and `versions`; else None.

        Raises:
            DataError: Damaged files.
        """
        return self._stored(_DIVERGED, ("message", "code", "versions")) if self.state() is State.DIVERGED else None

    def mark_diverged(self, message: str) -> None:
        """Writes down that the training diverged, which it would do again.

        Args:
            message: What it said of it.
        """
        told = {"message": message, "code": dict(code_revision()), "versions": versions()}
        write_atomic(self.folder / _DIVERGED, json.dumps(plain(told), indent=2, ensure_ascii=False) + "\n")

    def mark(self) -> None:
        """Writes down which configuration the folder's run has."""
        told = {"id": self.id, "config_sha256": self.config_sha256, "config": self.config}
        write_atomic(self.folder / _MARK, json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def unmark(self) -> None:
        """Takes back `mark` and `mark_diverged`: what lies in the folder is of no known configuration."""
        (self.folder / _MARK).unlink(missing_ok=True)
        (self.folder / _DIVERGED).unlink(missing_ok=True)

    def _marked(self) -> str | None:
        return (
            str(self._stored(_MARK, ("config_sha256",))["config_sha256"]) if (self.folder / _MARK).is_file() else None
        )

    def _stored(self, name: str, keys: Sequence[str]) -> dict[str, Any]:
        path = self.folder / name
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return {key: stored[key] for key in keys}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is damaged: {error}", f"remove the folder {self.folder}; the run is then done again."
            ) from error


class Comparison:
    """A plan with the folder of its runs: which trials there are, and with which configuration.

    A trial's configuration is, later parts winning: the method's experiments, the plan's base, the method's own
    configuration, that of the setting, that of the grid value, the plan's tasks and the seed; a limit of epochs is
    lifted.

    Args:
        plan: See `parse_plan`.
        out: Folder of the runs.
        read: Reads and merges configuration files.
        merge: Lays one configuration on another.

    Raises:
        ConfigError: Methods with different numbers of optimiser steps or with different data, or a training that may
            end before its steps are done or whose last weights are not validated.
    """

    def __init__(
        self,
        plan: Plan,
        out: Path,
        read: Callable[[Sequence[str]], dict[str, Any]],
        merge: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]],
    ) -> None:
        self.plan = plan
        self.out = Path(out)
        self._merge = merge
        base = read(plan.base)
        self._methods = {
            method.id: merge(merge(read(method.experiments), base), method.config) for method in plan.methods.values()
        }
        self.networks = [
            Network(setting, method.id, task)
            for setting in plan.settings
            for method in plan.methods.values()
            for task in (plan.tasks if method.per_task else (None,))
        ]
        self._check()

    def trial(self, network: Network, grid: str, seed: int) -> Trial:
        """The run of a network with a grid value and a seed."""
        config = self._methods[network.method]
        tasks: dict[str, Any] = {"tasks": list(self.plan.tasks)}
        if network.task is not None:
            # The same labels as the network of all tasks sees, on batches that hold them.
            tasks = {"tasks": [network.task], "mask_tasks": list(self.plan.tasks), "only_labelled": True}
        ours: dict[str, Any] = {"data": {"init_args": tasks}, "seed_everything": seed}
        for part in (self.plan.settings[network.setting], self.method(network).grid[grid], ours):
            config = self._merge(config, part)
        if (config.get("trainer") or {}).get("max_epochs") is not None:
            # That of an experiment would end the run before its steps are done; -1 is no limit.
            config = self._merge(config, {"trainer": {"max_epochs": -1}})
        trial = Trial(network, grid, seed, plain(config, network.id), self.out)
        return replace(trial, folder=self.out / trial.id)

    def method(self, network: Network) -> Method:
        """The network's method."""
        return self.plan.methods[network.method]

    def grid_trials(self, network: Network) -> list[Trial]:
        """The runs among which the network's grid value is chosen."""
        return [self.trial(network, grid, self.plan.seeds[0]) for grid in self.method(network).grid]

    def all_grid_trials(self) -> Iterator[Trial]:
        """Those of all networks."""
        for network in self.networks:
            yield from self.grid_trials(network)

    def class_paths(self) -> dict[str, str]:
        """{method: class of its model}.

        Raises:
            ConfigError: A method that names none.
        """
        found = {}
        for name, config in self._methods.items():
            path = (config.get("model") or {}).get("class_path")
            if not isinstance(path, str):
                raise ConfigError(
                    f"{self.plan.source}: the method {name} names no model",
                    "set `model.class_path` in its config or experiment.",
                )
            found[name] = path
        return found

    # ---- checks ----------------------------------------------------------------------------------------------------
    def _check(self) -> None:
        self.class_paths()
        first: dict[str, tuple[str, dict[str, Any]]] = {}
        steps: dict[int, str] = {}
        for trial in self.all_grid_trials():
            steps[self._steps(trial)] = trial.id
            if len(steps) > 1:
                told = " and ".join(f"{count} in {name}" for count, name in steps.items())
                raise ConfigError(
                    f"{self.plan.source}: different numbers of optimiser steps: {told}",
                    "set `trainer.max_steps` in the base alone.",
                )
            data = self._data(trial)
            known_id, known = first.setdefault(trial.network.setting, (trial.id, data))
            for key in sorted(known.keys() | data.keys()):
                if known.get(key) != data.get(key):
                    raise ConfigError(
                        f"{self.plan.source}: data.{key} is {known.get(key)!r} in {known_id} but {data.get(key)!r} in "
                        f"{trial.id}",
                        "set options of the data in base or settings: methods are compared on the same data.",
                    )

    def _data(self, trial: Trial) -> dict[str, Any]:
        section = trial.config.get("data") or {}
        options = {key: value for key, value in (section.get("init_args") or {}).items() if key not in _TASK_KEYS}
        return {"class_path": section.get("class_path"), **options}

    def _steps(self, trial: Trial) -> int:
        trainer = trial.config.get("trainer") or {}
        steps, every = trainer.get("max_steps"), trainer.get("val_check_interval")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ConfigError(
                f"{self.plan.source}: trainer.max_steps of {trial.id} is {steps!r}",
                "set a number of optimiser steps in the base.",
            )
        self._refuse_other_ends(trial, trainer)
        by_step = trainer.get("check_val_every_n_epoch", 1) is None and trainer.get("limit_val_batches") != 0
        if not (by_step and isinstance(every, int) and every > 0 and steps % every == 0):
            raise ConfigError(
                f"{self.plan.source}: the last weights of {trial.id} are not validated, and its grid value is chosen "
                "by them",
                "set `trainer.check_val_every_n_epoch: null` and a `val_check_interval` that divides `max_steps`.",
            )
        return steps

    def _refuse_other_ends(self, trial: Trial, trainer: Mapping[str, Any]) -> None:
        for key, harmless in _OTHER_ENDS.items():
            value = trainer.get(key)
            if value is not None and not any(value == each and type(value) is type(each) for each in harmless):
                raise ConfigError(
                    f"{self.plan.source}: trainer.{key} of {trial.id} is {value!r}, beside max_steps",
                    "leave it out: `max_steps` alone says how long every network trains, and on all batches.",
                )
        batches = trainer.get("accumulate_grad_batches") or 1
        if batches != 1:
            # Lightning steps at the end of an epoch, too: methods with epochs of other lengths would see other numbers
            # of images in as many steps, and it counts batches until it validates.
            raise ConfigError(
                f"{self.plan.source}: trainer.accumulate_grad_batches of {trial.id} is {batches!r}",
                "leave it out, and set `data.init_args.batch_size`: the last step of an epoch may be of fewer batches, "
                "so steps would not be alike.",
            )


def differing_keys(trial: Trial) -> list[str]:
    """Dotted names in which the folder's configuration differs from the trial's, for errors."""
    try:
        stored = json.loads((trial.folder / _MARK).read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    ours, theirs = dict(flat(trial.config)), dict(flat(stored))
    absent = object()
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key, absent) != theirs.get(key, absent))


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, canonical JSON) of each value in nested mappings."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, canonical_json(value)
