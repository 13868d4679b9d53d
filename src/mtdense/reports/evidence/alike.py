"""Whether the runs of a comparison were made alike, where the plan does not say that they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtdense.reports.canonical import canonical_json
from mtdense.reports.evidence.trials import Trial, flat
from mtdense.reports.run_record import RunRecord

__all__ = ["unlike"]

Runs = Sequence[tuple[Trial, RunRecord]]

# Each run's own.
_OWN = ("run_dir", "log_dir", "ckpt_path", "overwrite", "variant", "out", "per_image", "figures")
# Options that all methods have: not what makes a method. Others may have another default in each class.
_SHARED = tuple(
    f"model.init_args.{name}"
    for name in (
        *(
            "backbone",
            "backbone_checkpoint",
            "backbone_options",
            "pretrained",
            "normalization",
            "preset",
            "loss_family",
        ),
        *("optimizer", "lr", "weight_decay", "momentum", "fused_optimizer", "warmup_steps"),
        *("schedule", "schedule_interval", "poly_power", "decay_every", "decay_factor"),
    )
)
_MODEL = "model.init_args."


def unlike(fitted: Runs, tested: Runs, diverged: Sequence[Trial] = ()) -> list[str]:
    """Sentences on what differs between runs though the plan does not set it differently.

    Code, device (with its threads), package versions and data of all trainings and tests; and of the configurations
    that the records hold, defaults included, what differs between runs for which the plan sets the same, or nothing:
    all options of data and trainer, those of the model that all methods share, and within one class all of the model's.

    Args:
        fitted: Trainings, with their records: grid trials, and chosen runs.
        tested: Tests, with their records.
        diverged: Trainings without a record, of which those count that diverged.
    """
    programs = [(f"training of {trial.id}", record) for trial, record in fitted]
    programs += [(f"test of {trial.id}", record) for trial, record in tested]
    lost = [(f"training of {trial.id}", told) for trial in diverged if (told := trial.diverged()) is not None]
    code = [(name, record.code) for name, record in programs] + [(name, told["code"]) for name, told in lost]
    versions = [(name, record.versions) for name, record in programs] + [(n, told["versions"]) for n, told in lost]
    kinds = {
        "code revisions": [(_revision(found), name) for name, found in code],
        "devices": [(record.device, name) for name, record in programs],
        "package versions": [(canonical_json(found), name) for name, found in versions],
        "training data": [(_data(record), f"training of {trial.id}") for trial, record in fitted],
    }
    said = [f"Not alike: {kind} {_listed(found)}." for kind, found in kinds.items() if _differ(found)]
    if not said and any(found.get("dirty") for _, found in code):
        said.append("The runs' code had changes that are in no revision.")
    return said + _unlike_options("trainings", fitted) + _unlike_options("tests", tested)


def _revision(code: Mapping[str, Any]) -> str:
    return f"{str(code.get('revision'))[:12]}{' (changed)' * bool(code.get('dirty'))}"


def _data(record: RunRecord) -> str:
    known = {key: record.data.get(key) for key in ("name", "version", "size", "label_setting", "label_seed")}
    return canonical_json({**known, "mask": str(record.data.get("mask_checksum"))[:12]})


def _unlike_options(what: str, runs: Runs) -> list[str]:
    planned = {trial.id: dict(flat(trial.config)) for trial, _ in runs}
    groups: dict[tuple[str, str | None, str | None], list[tuple[str, str]]] = {}
    for trial, record in runs:
        for key, value in flat(record.config):
            if key in _OWN:
                continue
            own_class = key.startswith(_MODEL) and key not in _SHARED
            model = planned[trial.id].get("model.class_path") if own_class else None
            told = _class_name(value) if key.endswith("class_path") else value
            groups.setdefault((key, planned[trial.id].get(key), model), []).append((told, trial.id))
    return [
        f"Not alike in {what}, though the plan sets no difference: {key} {_listed(found)}."
        for (key, *_), found in groups.items()
        if _differ(found)
    ]


def _class_name(path: str) -> str:
    """Package and name of a class: a run that was interrupted names the module between them, too."""
    parts = path.strip('"').split(".")
    return ".".join((parts[0], parts[-1]))


def _differ(found: Iterable[tuple[str, str]]) -> bool:
    return len({value for value, _ in found}) > 1


def _listed(found: Iterable[tuple[str, str]]) -> str:
    """The values, each with the number of its runs and the first of them."""
    runs: dict[str, list[str]] = {}
    for value, run in found:
        runs.setdefault(value, []).append(run)
    return "; ".join(f"{value} ({_count(names)})" for value, names in sorted(runs.items()))


def _count(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)}, first {names[0]}"
