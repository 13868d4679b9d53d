"""What a row costs at most: the paper's own recipe, the budget of our comparisons, or a few steps of a tiny network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtdense.core.configs import merge, merged_configs
from mtdense.core.errors import ConfigError
from mtdense.core.suggest import did_you_mean
from mtdense.reports.paper_tables.structure import SINGLE_TASK
from mtdense.reports.run_record import limits_of

__all__ = ["BUDGETS", "REPLICA_IMAGES", "Budget", "limited", "parse_budget"]

_STREETS = "cityscapes"
_BOXES = "cityscapes_3d"

BUDGETS = ("smoke", "short", "full")
"""Names of budgets; `limited` says what they mean."""

REPLICA_IMAGES: dict[str, dict[str, tuple[int, int]]] = {
    "smoke": {"": (24, 4)},
    "short": {"": (1350, 300), _BOXES: (400, 80)},
}
"""{budget: {data set, "" for the others: images to train (validation included) and to test in its replica}}."""

# What a row says of the size of its network: a smaller one goes by its preset.
_SIZES = ("backbone_options", "backbone_checkpoint", "widths", "level_width", "width", "channel_heads", "input_size")
# Its recipe, which all rows share where the budget has one.
_RECIPE = (
    *("optimizer", "lr", "weight_decay", "momentum", "fused_optimizer"),
    *("schedule", "schedule_interval", "poly_power", "decay_every", "decay_factor"),
)
# Prompts are tokens of a transformer.
_TRANSFORMERS = ("TaskPrompter", "TSPTransformer")
_TINY_TRANSFORMERS = {
    "vit": {
        "backbone": "vit_base",
        "backbone_options": {"overrides": {"embed_dim": 16, "depth": 4, "num_heads": 2}},
    },
    "swin": {
        "backbone": "swin_t",
        "backbone_options": {
            "overrides": {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2}
        },
    },
}
_TINY_LEVELS = {"level_width": 8, "width": 16}
# The rates that the committed comparisons chose on validation; see docs/reproduce.md.
_SHORT_RATES = {"alone": 1e-3, "full": 1e-3, "partial": 3e-4}


@dataclass(frozen=True)
class Budget:
    """A budget.

    Args:
        name: One of `BUDGETS`.
        steps: Optimiser steps instead of the budget's own; None for those.
    """

    name: str
    steps: int | None = None

    def __str__(self) -> str:
        """As `parse_budget` reads it; the name of its folder."""
        return self.name if self.steps is None else f"{self.name}@{self.steps}"

    @property
    def mark(self) -> str:
        """What is to stand beside every result: "" for the paper's recipe."""
        return "" if str(self) == "full" else str(self)

    @property
    def seeds(self) -> int:
        """Number of seeds unless somebody says another: the papers print one run, our comparisons three."""
        return 3 if self.name == "short" else 1


def parse_budget(text: str) -> Budget:
    """Reads "smoke", "short", "full", or one of these with a number of steps, such as "short@120".

    Raises:
        ConfigError: Another name, or no number of steps.
    """
    name, at, steps = str(text).partition("@")
    if name not in BUDGETS:
        raise ConfigError(
            f"there is no budget {name!r}", f"{did_you_mean(name, BUDGETS)}The budgets are {', '.join(BUDGETS)}."
        )
    if not at:
        return Budget(name)
    if not steps.isascii() or not steps.isdigit() or int(steps) < 1:
        raise ConfigError(f"--budget {text}", "give a number of optimiser steps after the @, such as short@120.")
    return Budget(name, int(steps))


def limited(config: Mapping[str, Any], budget: Budget, dataset: str, setting: str, method: str) -> dict[str, Any]:
    """The configuration of a row within a budget.

    `full` is the experiment as it is, on one device unless it names a number: its batch is that of a device, and on as
    many devices as a machine happens to have it would be another recipe. `short` is the budget of
    `experiments/base/evidence.yaml`: its backbone, preset, image size, batch, steps and recipe, with a learning rate
    that the committed comparisons chose; the row keeps its method, losses and data set. `smoke` is
    `experiments/base/table_smoke.yaml` with the row's own recipe.

    Args:
        config: Experiment and overrides of the row.
        budget: The budget.
        dataset: Id of the data set.
        setting: Label setting.
        method: Method of the row.

    Raises:
        ConfigError: An experiment that leaves data out.
    """
    result = dict(config)
    if budget.name == "full":
        result = _on_one_device(result)
    else:
        result = _smaller(result, budget.name, dataset, setting, method)
        result["variant"] = "-".join(filter(None, (str(budget), str(config.get("variant") or ""))))
    return result if budget.steps is None else _ended_after(result, budget.steps)


def _on_one_device(config: dict[str, Any]) -> dict[str, Any]:
    trainer = dict(config.get("trainer") or {})
    left_out = {**limits_of(trainer, "fit"), **limits_of(trainer, "test")}
    if left_out:
        raise ConfigError(
            f"the experiment leaves data out: trainer.{', trainer.'.join(left_out)}",
            "remove that from the row's experiment or overrides; try a row by `--budget smoke`.",
        )
    if trainer.get("devices") in (None, "auto", -1, "-1"):
        trainer["devices"] = 1
    trainer["num_nodes"] = trainer.get("num_nodes") or 1
    return {**config, "trainer": trainer}


def _smaller(config: dict[str, Any], name: str, dataset: str, setting: str, method: str) -> dict[str, Any]:
    over = _smoke(dataset) if name == "smoke" else _short(dataset)
    model, data, trainer = dict(config["model"]), dict(config["data"]), config.get("trainer") or {}
    given = dict(model.get("init_args") or {})
    dropped = _SIZES if name == "smoke" else (*_SIZES, *_RECIPE)
    model["init_args"] = {key: value for key, value in given.items() if key not in dropped}
    # Scored at the size that the network sees.
    data["init_args"] = {**(data.get("init_args") or {}), "score_size": None}
    kept = {key: trainer[key] for key in ("gradient_clip_val", "logger") if key in trainer}
    result = merge({**config, "model": model, "data": data, "trainer": kept}, over)
    return merge(result, {"model": {"init_args": _for_class(name, given, model, setting, method)}})


def _for_class(
    name: str, given: Mapping[str, Any], model: Mapping[str, Any], setting: str, method: str
) -> dict[str, Any]:
    """What a class of networks needs of a small backbone, or what tells rows apart whatever their size."""
    own = str(model.get("class_path", "")).rpartition(".")[2]
    options: dict[str, Any] = {}
    if own == "TIF" and str(given.get("preset", "")).startswith("config_"):
        # Forms of the network, of which rows are made; each takes a width.
        options = {"preset": given["preset"], "width": 16 if name == "smoke" else 64}
    elif given.get("backbone") == "segnet":
        options["backbone"] = "segnet"
    elif name == "smoke" and own in _TRANSFORMERS:
        family = "vit" if str(given.get("backbone", "")).startswith("vit") else "swin"
        options = dict(_TINY_TRANSFORMERS[family])
        if own == "TaskPrompter":
            options |= _TINY_LEVELS
    elif name == "short" and own in (*_TRANSFORMERS, "PromptFusion"):
        streets = merged_configs(["base/evidence_streets_3d.yaml"])["model"]["init_args"]
        options = {key: streets[key] for key in ("backbone", "backbone_options")}
    elif name == "short" and own == "BridgeNet":
        options["backbone_options"] = {"output_stride": 16}
    if name == "short":
        options["lr"] = _SHORT_RATES["alone" if method == SINGLE_TASK else "full" if setting == "full" else "partial"]
        if own == "MTPSL":
            options["mapper_downsample"] = 2
    return options


def _smoke(dataset: str) -> dict[str, Any]:
    over = merged_configs(["base/table_smoke.yaml"])
    if dataset.startswith(_STREETS):
        over = merge(over, {"data": {"init_args": {"size": [32, 64]}}})
    if dataset == _BOXES:
        # TaskPrompter is among the rows that others are compared with there.
        over = merge(over, {"model": {"init_args": _TINY_TRANSFORMERS["swin"]}})
    return merge(over, {"data": {"init_args": {"resize": None}}})


def _short(dataset: str) -> dict[str, Any]:
    streets = dataset.startswith(_STREETS)
    found = merged_configs(["base/evidence_streets_3d.yaml" if streets else "base/evidence.yaml"])
    shared = ("size", "batch_size", "eval_batch_size", "num_workers")
    data = {key: found["data"]["init_args"][key] for key in shared}
    if dataset == _BOXES:
        data["task_options"] = found["data"]["init_args"]["task_options"]
    # A replica has that size; genuine images are scaled to it.
    data["resize"] = "fit"
    model = {key: value for key, value in found["model"]["init_args"].items() if key != "loss_family"}
    if dataset != _BOXES:
        model = {**model, "backbone": "resnet18"}
        model.pop("backbone_options", None)
    kept = {key: found[key] for key in ("trainer", "save_every")}
    return {"data": {"init_args": data}, "model": {"init_args": model}, **kept}


def _ended_after(config: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The configuration with so many steps and one validation, of the last weights."""
    trainer = {"max_epochs": -1, "max_steps": steps, "check_val_every_n_epoch": None, "val_check_interval": steps}
    return merge(config, {"trainer": trainer})
