"""The runs of a comparison: their configuration, their folders, and how far each has got."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtdense.core.errors import ConfigError
from mtdense.reports.canonical import plain
from mtdense.reports.evidence.plan_file import Method, Plan
from mtdense.reports.run_record import limits_of
from mtdense.reports.training_run import State, TrainingRun, differing_keys, flat

__all__ = ["Comparison", "Network", "State", "Trial", "differing_keys", "flat"]

# What differs between networks of one task and of all: the plan's own doing.
_TASK_KEYS = ("tasks", "mask_tasks", "only_labelled")


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
class Trial(TrainingRun):
    """One training run of a comparison.

    Args:
        seed: Seed of the run.
        config: Its configuration, without its folder.
        folder: Its run folder.
        network: What is trained.
        grid: Id of the grid value.
    """

    network: Network
    grid: str

    @property
    def id(self) -> str:
        """Such as "one-label/mtl_baseline/lr1e-3/seed0"; the folder below that of the comparison."""
        return f"{self.network.id}/{self.grid}/seed{self.seed}"

    @property
    def max_steps(self) -> int:
        """Optimiser steps."""
        return int(self.config["trainer"]["max_steps"])


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
        trial = Trial(seed, plain(config, network.id), self.out, network, grid)
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
        ends = {**limits_of(trainer, "fit"), **limits_of(trainer, "test"), "max_time": trainer.get("max_time")}
        ends.pop("limit_val_batches", None)  # changes no weights; that there is a validation is asked for apart
        for key, value in ends.items():
            if value is not None:
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
