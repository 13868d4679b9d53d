"""`mtdense fit | validate | test | predict`: LightningCLI with our rules for runs and checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import yaml
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

import data_modules  # noqa: F401 - short class names in YAML are found among imported classes
import mtdense.models  # noqa: F401 - likewise
from data_modules import DenseDataModule
from mtdense.backbones import weights_follow
from mtdense.cli.checkpoint_args import check_classes, checkpoint_config
from mtdense.cli.configs import BASE_CONFIG, config_file, merge, merged_configs, take_option
from mtdense.cli.failures import EndWithTheOthers, explained
from mtdense.cli.main import LIGHTNING
from mtdense.cli.precision import check_precision
from mtdense.cli.quiet import quiet
from mtdense.cli.resume import check_resumed_model, resumed_from
from mtdense.cli.run_folder import (
    check_fit_folder,
    checkpoint_folder,
    clear_fit_folder,
    default_run_folder,
    fresh_log_folder,
    name_places,
    sole_training,
)
from mtdense.cli.save_config import SaveConfig
from mtdense.cli.trainer import Trainer
from mtdense.cli.wandb_runs import respect_environment, sweep_run_folder
from mtdense.core.errors import ConfigError
from mtdense.core.experiments import resolve_experiment
from mtdense.models import DenseModule
from mtdense.models.baselines import read_baselines
from mtdense.models.checkpoint import CheckpointInfo, import_allowed, read_checkpoint
from mtdense.reports.architecture_figures import ArchitectureFigures
from mtdense.reports.canonical import plain
from mtdense.reports.ending import NoteEnding
from mtdense.reports.failures import FailureReport, FiniteGradients
from mtdense.reports.per_image import PerImageScores
from mtdense.reports.prediction_writer import PredictionWriter
from mtdense.reports.recorder import RunRecorder
from mtdense.reports.table_formats import score_lines
from mtdense.training.callbacks import RandomState, SaveLast
from mtdense.training.checkpoint_io import AtomicCheckpointIO
from mtdense.training.loading import RestoreLoader
from mtdense.training.progress_bar import ProgressBar

__all__ = ["MTDenseCLI", "run_lightning"]


class MTDenseCLI(LightningCLI):
    """LightningCLI over DenseModule and DenseDataModule.

    Args:
        arguments: Subcommand and options, configurations already expanded.
        checkpoint: What `--ckpt_path` holds, or None.
        experiment: The last `--config`, which names the run folder.
        held: Keeps the lock of the run's folder.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        checkpoint: CheckpointInfo | None,
        experiment: Path | None,
        held: contextlib.ExitStack | None = None,
    ) -> None:
        self.held = held or contextlib.ExitStack()
        self.checkpoint = checkpoint
        self.experiment = experiment
        self.resumed: Path | None = None
        # The parser shall raise: `main` reports every error in the same way.
        loud = {"exit_on_error": False}
        super().__init__(
            DenseModule,
            DenseDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=SaveConfig,
            trainer_class=Trainer,
            seed_everything_default=0,
            args=list(arguments),
            auto_configure_optimizers=False,
            parser_kwargs={"prog": "mtdense", **loud, **dict.fromkeys(LIGHTNING, loud)},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the run's own options and the links from data to model."""
        parser.add_argument("--run_dir", type=str | None, default=None, help="Folder of this run; null: runs/...")
        parser.add_argument("--log_dir", type=str | None, default=None, help="Folder of the loggers; null: in run_dir.")
        parser.add_argument("--overwrite", type=bool, default=False, help="Start anew in a folder that holds a run.")
        parser.add_argument(
            "--resume",
            type=Literal["never", "auto"],
            default="never",
            help="auto: go on with the run in run_dir.",
        )
        parser.add_argument("--variant", type=str, default="", help="Tells runs of one method apart in tables.")
        parser.add_argument("--save_every", type=int, default=200, help="Optimiser steps between saves of last.ckpt.")
        parser.add_argument("--out", type=str | None, default=None, help="Folder for the predictions of `predict`.")
        parser.add_argument("--per_image", type=str | None, default=None, help="CSV file for each test image's scores.")
        parser.add_argument("--figures", type=int, default=0, help="Images of which `predict` draws the figures, too.")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=_seed)
        if self.checkpoint is None:
            parser.link_arguments("data.task_specs", "model.init_args.tasks", apply_on="instantiate")
            parser.link_arguments("data.size", "model.init_args.input_size", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses our arguments; Lightning warns of giving any, for `sys.argv` is never empty in a program."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Nothing: the checkpoint's model is among the arguments already, its classes checked."""

    def before_instantiate_classes(self) -> None:
        """Decides on the run folder and tells trainer, loggers and checkpoints."""
        config = self.config[self.subcommand]
        ckpt_path = config.get("ckpt_path")
        if ckpt_path is None and self.subcommand != "fit":
            raise ConfigError(f"`mtdense {self.subcommand}` without a model", "name one by --ckpt_path.")
        check_precision(config.trainer.precision)
        if config.per_image is not None and self.subcommand != "test":
            raise ConfigError(f"--per_image with `mtdense {self.subcommand}`", "score images by `mtdense test`.")
        if config.figures and self.subcommand != "predict":
            raise ConfigError(
                f"--figures with `mtdense {self.subcommand}`",
                "draw by `mtdense predict`, or while training by the callback `mtdense.reports.ArchitectureFigures`.",
            )
        run = Path(
            config.run_dir
            or sweep_run_folder(str(self.subcommand), ckpt_path)
            or default_run_folder(str(self.subcommand), self.experiment, ckpt_path, config.seed_everything)
        )
        if self.subcommand == "fit" and not config.trainer.fast_dev_run:
            self.held.enter_context(sole_training(run))
            if config.resume == "auto":
                self.resumed = resumed_from(run, config)
                ckpt_path = config.ckpt_path = None if self.resumed is None else str(self.resumed)
            check_fit_folder(run, ckpt_path, config.overwrite)
        self.portable = self._portable_config()
        self.save_config_kwargs = {"text": yaml.safe_dump(self.portable, sort_keys=False)}
        config.run_dir = str(run)
        config.log_dir = config.log_dir or str(fresh_log_folder(run, str(self.subcommand)))
        config.trainer.default_root_dir = str(run)
        respect_environment(_entries(config.trainer.logger))
        name_places(_entries(config.trainer.logger), config.log_dir, run)
        name_places(_entries(config.trainer.callbacks), config.log_dir, run)

    def before_fit(self) -> None:
        """Opens the data and plans the batches before a file is written or removed: what is wrong costs nothing."""
        if self.resumed is not None:
            check_resumed_model(self.resumed, self.model)
        self.datamodule.setup("fit")
        self.datamodule.trainer = self.trainer  # tells the number of ranks
        self.datamodule.train_dataloader()
        own = self.config[self.subcommand]
        if own.overwrite and not own.trainer.fast_dev_run:
            clear_fit_folder(Path(own.run_dir), own.get("ckpt_path"))

    def before_validate(self) -> None:
        """As before training."""
        self.datamodule.setup("validate")
        self._mute()

    def before_test(self) -> None:
        """As before training."""
        self.datamodule.setup("test")
        self._mute()

    def before_predict(self) -> None:
        """As before training."""
        self.datamodule.setup("predict")

    def _mute(self) -> None:
        """Lightning's table of results gives way to ours, which has units; `--verbose false` silences that, too."""
        self.config_init[self.subcommand]["verbose"] = False

    def _portable_config(self) -> dict[str, Any]:
        """The configuration as plain values, without what is of this run's place or comes from data or checkpoint."""
        config = self.config[self.subcommand]
        text = self._parser(self.subcommand).dump(config, skip_unset=False, skip_link_targets=True)
        told: dict[str, Any] = yaml.safe_load(text)
        told.update(run_dir=None, log_dir=None, ckpt_path=None, overwrite=False, per_image=None, figures=0)
        told.pop("resume")
        model = told["model"]["init_args"]
        for linked in ("tasks", "input_size"):
            model.pop(linked, None)
        if isinstance(model.get("delta_m_baselines"), str):
            model["delta_m_baselines"] = read_baselines(model["delta_m_baselines"])
        return told

    def instantiate_classes(self) -> None:
        """Builds data, model and trainer; a model whose weights follow downloads nothing."""
        with weights_follow() if self.checkpoint is not None or self.resumed is not None else contextlib.nullcontext():
            super().instantiate_classes()

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> L.Trainer:
        own = self.config[self.subcommand]
        seed = own.seed_everything
        self.model.run_info = {"seed": seed, "config": self.portable}
        extra: list[Callback] = [RunRecorder(self.portable, seed, variant=own.variant, ckpt_path=own.get("ckpt_path"))]
        extra.append(FailureReport())
        if self.subcommand == "fit":
            last = SaveLast(checkpoint_folder(Path(own.run_dir)), own.save_every)
            extra += [NoteEnding(), FiniteGradients(), RestoreLoader(), RandomState(), last]
        if own.per_image is not None:
            extra.append(PerImageScores(own.per_image))
        if self.subcommand == "predict":
            out = own.out or str(Path(own.run_dir) / "predictions")
            extra.append(PredictionWriter(out))
            if own.figures:
                extra.append(ArchitectureFigures(own.figures, str(Path(out) / "figures")))
        given = config.get("callbacks") or []
        kept: list[Callback] = [ProgressBar.instead_of(c) for c in (given if isinstance(given, list) else [given])]
        if self.subcommand == "fit" and not self.datamodule.has_validation:
            kept = [c for c in kept if not _needs_validation(c)]
        config["callbacks"] = kept
        extra.append(EndWithTheOthers())
        plugins = config.get("plugins") or []
        config["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), AtomicCheckpointIO()]
        return super()._instantiate_trainer(config, [*callbacks, *extra])


def run_lightning(arguments: Sequence[str]) -> MTDenseCLI:
    """Runs `fit`, `validate`, `test` or `predict` and gives the finished command back.

    Args:
        arguments: The subcommand first, then its options.

    Raises:
        MTDenseError: Any fault that the user can mend.
    """
    quiet()
    subcommand, rest = arguments[0], list(arguments[1:])
    allow, rest = take_option(rest, "--allow_module", "--allow-module")
    per_image, rest = take_option(rest, "--per_image", "--per-image")
    rest += [f"--per_image={path}" for path in per_image]
    names, rest = take_option(rest, "--config", "-c")
    ckpt_paths, _ = take_option(rest, "--ckpt_path")
    if subcommand == "fit" and ckpt_paths and not names:
        # A run goes on with the trainer it had, not with a default one.
        own = default_run_folder(subcommand, None, ckpt_paths[-1], 0) / "config.yaml"
        names = [str(own)] if own.is_file() else []
    config = merged_configs(names)
    ckpt_path = ckpt_paths[-1] if ckpt_paths else config.get("ckpt_path")
    checkpoint = None
    if str(ckpt_path).startswith("hf://"):
        raise ConfigError(f"`mtdense {subcommand} --ckpt_path {ckpt_path}`", "fetch it first: `mtdense weights pull`.")
    if ckpt_path is not None:
        checkpoint = read_checkpoint(ckpt_path, allow)
        if subcommand == "fit" and "imported" in checkpoint.about:
            raise ConfigError(
                f"{ckpt_path} holds imported weights and no training to go on with", "test or predict with it."
            )
    # Not before the checkpoint is known to hide nothing.
    import_allowed(allow)
    if checkpoint is not None:
        check_classes(checkpoint)
        config = checkpoint_config(checkpoint, rest, config)
    with config_file(plain(merge(merged_configs([BASE_CONFIG]), config))) as path:
        arguments = [subcommand, "--config", str(path), *rest]
        with explained(), contextlib.ExitStack() as held:
            cli = MTDenseCLI(arguments, checkpoint, resolve_experiment(names[-1]) if names else None, held)
    _say_where(cli)
    return cli


def _say_where(cli: MTDenseCLI) -> None:
    """Last words of a command: where its results lie, and what comes next."""
    own = cli.config[cli.subcommand]
    if not cli.trainer.is_global_zero or own.trainer.fast_dev_run:
        return
    if cli.subcommand == "fit":
        print(
            f"Wrote {own.run_dir}; next: mtdense test --ckpt_path {checkpoint_folder(Path(own.run_dir)) / 'last.ckpt'}"
        )
        return
    if own.get("verbose"):
        records = [c.record for c in cli.trainer.callbacks if isinstance(c, RunRecorder)]  # type: ignore[attr-defined]
        print("\n".join(line for record in records if record is not None for line in score_lines(record)))
    if cli.subcommand == "predict":
        print(f"Wrote {own.out or Path(own.run_dir) / 'predictions'}")
    else:
        print(f"Wrote {Path(own.run_dir) / 'records'}")


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"seed_everything is {value}", "give a whole number, so that the run can be repeated.")
    return value


def _needs_validation(callback: Callback) -> bool:
    """Whether it keeps the best checkpoint by a validation metric: without validation it would only complain."""
    return isinstance(callback, ModelCheckpoint) and (callback.monitor or "").startswith("val/")


def _entries(value: Any) -> list[Namespace]:
    """Class entries of a configuration value that may be one, many, a flag or nothing."""
    entries = value if isinstance(value, list) else [value]
    return [entry for entry in entries if isinstance(entry, Namespace) and "class_path" in entry]
