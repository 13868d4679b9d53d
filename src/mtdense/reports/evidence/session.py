"""Carries a comparison out: the grid on the first seed, the choice, the other seeds, one test of each chosen run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mtdense.core.errors import ConfigError, DataError
from mtdense.core.words import counted
from mtdense.reports.evidence.jobs import KEEP, Progress, clear_run, training_job
from mtdense.reports.evidence.runner import GRACE_SECONDS, Job, cores, pinned, run_jobs, sole_use
from mtdense.reports.evidence.selection import choose
from mtdense.reports.evidence.trials import Comparison, Network, State, Trial, differing_keys

__all__ = ["Outcome", "execute", "select_networks"]


@dataclass
class Outcome:
    """What a session of a comparison came to.

    Args:
        failed: Ids of runs that failed in it.
        blocked: Networks whose grid value could not be chosen, with the reason.
        diverged: Runs that are wanted but diverged, and networks of which all grid values did: results, not failures.
    """

    failed: list[str] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    diverged: list[str] = field(default_factory=list)


def select_networks(comparison: Comparison, only: Sequence[str]) -> list[Network]:
    """The networks of the named settings and methods; names of one kind add up, of both kinds restrict one another.

    Raises:
        ConfigError: A name that is neither.
    """
    plan = comparison.plan
    for name in only:
        if name not in plan.settings and name not in plan.methods:
            raise ConfigError(
                f"{plan.source} has neither a setting nor a method {name!r}",
                f"the settings are {', '.join(plan.settings)}, the methods {', '.join(plan.methods)}.",
            )
    settings = {name for name in only if name in plan.settings} or plan.settings.keys()
    methods = {name for name in only if name in plan.methods} or plan.methods.keys()
    return [network for network in comparison.networks if network.setting in settings and network.method in methods]


def execute(
    comparison: Comparison,
    networks: Sequence[Network],
    jobs: int,
    environment: Mapping[str, str],
    progress: Progress,
    keep: str = "tested",
    overwrite: bool = False,
    grace: float = GRACE_SECONDS,
) -> Outcome:
    """Runs what is still to be done of these networks; a second call goes on where a first one stopped.

    Args:
        comparison: The comparison.
        networks: Of which networks.
        jobs: Programs at a time; each gets an equal share of the processor's cores.
        environment: Of the programs.
        progress: Follows it.
        keep: See `KEEP`.
        overwrite: Do runs of another configuration again; else they are an error.
        grace: Seconds that interrupted runs have to save.

    Raises:
        ConfigError: A number of jobs below 1, a grace below 0, or runs of another configuration.
        KeyboardInterrupt: After the runs have been stopped.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs {jobs}", "give 1 or more.")
    if keep not in KEEP:
        raise ConfigError(f"--keep {keep}", f"use one of {', '.join(KEEP)}.")
    if not grace >= 0:
        raise ConfigError(f"--grace {grace}", "give seconds, 0 or more.")
    with sole_use(comparison.out) as lock:
        session = _Session(comparison, jobs, environment, progress, keep, overwrite, lock, grace)
        return session.run(networks)


@dataclass
class _Session:
    comparison: Comparison
    jobs: int
    environment: Mapping[str, str]
    progress: Progress
    keep: str
    overwrite: bool
    lock: int | None
    grace: float

    def run(self, networks: Sequence[Network]) -> Outcome:
        plan = self.comparison.plan
        grid = self._grid_trials(networks)
        every = [t for n in networks for g in self.comparison.method(n).grid for t in self._seeds(n, g)]
        self._clear_others({trial.id: trial for trial in [*grid, *every]}.values())
        outcome = Outcome()
        fits = [trial for trial in grid if trial.state() not in (State.DONE, State.DIVERGED)]
        outcome.failed += self._run([self._job(trial, True, False) for trial in fits], [("fit", fits)])
        chosen: list[Trial] = []
        for network in networks:
            try:
                choice = choose(self.comparison, network)
            except DataError as error:  # a record of this method is damaged; the others go on
                outcome.blocked[network.id] = str(error)
                continue
            if choice.diverged:
                outcome.diverged.append(network.id)
                continue
            if choice.grid is None:
                outcome.blocked[network.id] = choice.reason
                continue
            self._drop_others(network, choice.grid)
            chosen += self._seeds(network, choice.grid)
        chosen.sort(key=lambda trial: plan.seeds.index(trial.seed))  # a session cut short leaves whole seeds
        tests = [t for t in chosen if t.state() is not State.DIVERGED and t.tested() is None]
        fits = [t for t in tests if t.state() is not State.DONE or not t.checkpoint.is_file()]
        todo = [self._job(trial, trial in fits, True) for trial in tests]
        outcome.failed += self._run(todo, [("fit", fits), ("test", tests)])
        sound = [trial for trial in chosen if trial.id not in outcome.failed]
        outcome.diverged += [trial.id for trial in sound if trial.state() is State.DIVERGED]
        return outcome

    def _seeds(self, network: Network, grid: str) -> list[Trial]:
        return [self.comparison.trial(network, grid, seed) for seed in self.comparison.plan.seeds]

    def _grid_trials(self, networks: Sequence[Network]) -> list[Trial]:
        """Those of the networks, and first those that their choice is measured by."""
        plan = self.comparison.plan
        found: dict[str, Trial] = {}
        if plan.rule_reference is not None:
            for setting in dict.fromkeys(network.setting for network in networks):
                trial = self.comparison.grid_trials(Network(setting, plan.rule_reference))[0]
                found[trial.id] = trial
        for network in networks:
            found.update({trial.id: trial for trial in self.comparison.grid_trials(network)})
        return list(found.values())

    def _clear_others(self, trials: Collection[Trial]) -> None:
        """Refuses runs of another configuration, also where they would not be used now; or removes them."""
        others = [trial for trial in trials if trial.state() is State.OTHER]
        if self.overwrite:
            for trial in others:
                clear_run(trial)
        if self.overwrite or not others:
            return
        keys = differing_keys(others[0])
        different = others[0].ended_otherwise() if not keys else f"different: {', '.join(keys[:6])}"
        raise ConfigError(
            f"{counted(len(others), 'run')} in {self.comparison.out} with another configuration than "
            f"{self.comparison.plan.source} says now, first {others[0].id}" + (f" ({different})" if different else ""),
            "choose another `--out`, or do them again with `--overwrite`.",
        )

    def _run(self, jobs: Sequence[Job], planned: Sequence[tuple[str, Sequence[Trial]]]) -> list[str]:
        for what, trials in planned:
            self.progress.planned(what, trials)
        threads = max(1, cores() // self.jobs)
        environment = pinned(self.environment, threads)
        return run_jobs(jobs, self.jobs, environment, self.progress.say, self.lock, self.grace)

    def _job(self, trial: Trial, fit: bool, test: bool) -> Job:
        return training_job(trial, fit, test, self.progress, self.keep)

    def _drop_others(self, network: Network, grid: str) -> None:
        """Checkpoints of grid values that were not chosen are large, and nothing reads them."""
        if self.keep == "all":
            return
        for trial in self.comparison.grid_trials(network):
            if trial.grid != grid and trial.state() is State.DONE:
                trial.checkpoint.unlink(missing_ok=True)
