"""Every shipped sweep: its points are parsed, its metric is logged, and a run goes as an agent would start it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import wandb
from jsonargparse import Namespace

from mtdense.cli import lightning_cli
from mtdense.cli.building import build_experiment
from mtdense.cli.configs import merged_configs
from mtdense.cli.main import main
from mtdense.cli.wandb_runs import respect_environment, sweep_run_folder
from mtdense.core.errors import ConfigError
from tests.conftest import CONF
from tests.models.detection_worker import detection_batch
from tests.models.helpers import make_batch
from tests.sweeps import SWEEPS, command, points, read, some, variables

ROOT = Path(__file__).parents[2]
TINY = ("--config", str(CONF / "tiny.yaml"), "--data.train_images=8", "--data.val_images=4", "--trainer.max_steps=2")
TINY = (*TINY, "--trainer.val_check_interval=2", "--model.optimizer=adam")
# The first draw of `streets_3d` has prompts, which want a transformer; streets of `detection_batch` have this size.
STREETS = ("--model.backbone=swin_t", "--model.width=16", "--model.input_size=[64, 128]", "--data.size=[64, 128]")
SWIN = "{overrides: {embed_dim: 8, depths: [1, 1, 1, 1], num_heads: [1, 1, 2, 2], window_size: 2}}"
STREETS = (*STREETS, f"--model.backbone_options={SWIN}")


class ParsedOnly(lightning_cli.MTDenseCLI):
    """Stops when the arguments are parsed, and checked against the classes they name.

    The parser is the same for all points, and building it takes half the time: it is built once.
    """

    built: dict[str, Any] = {}

    def setup_parser(self, *args: Any) -> None:
        if not ParsedOnly.built:
            before = set(vars(self))
            super().setup_parser(*args)
            ParsedOnly.built = {key: value for key, value in vars(self).items() if key not in before}
        vars(self).update(ParsedOnly.built)

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def parse(monkeypatch: pytest.MonkeyPatch, name: str, point: dict[str, Any]) -> Namespace:
    monkeypatch.setattr(lightning_cli, "MTDenseCLI", ParsedOnly)
    monkeypatch.setattr(lightning_cli, "_say_where", lambda cli: None)
    config: Namespace = lightning_cli.run_lightning(command(name, point)).config["fit"]
    return config


def check(config: Namespace, point: dict[str, Any]) -> None:
    """Every parameter arrived as what the file says."""
    for key, wanted in point.items():
        if key == "config":
            continue
        owner, _, option = key.partition(".")
        place = config[owner]["init_args"] if owner in ("data", "model") else config[owner] if option else config
        found = place
        for part in (option or owner).split("."):
            found = found[part]
        found = found.as_dict() if isinstance(found, Namespace) else found
        assert found == (None if wanted == "null" else wanted), key


@pytest.mark.parametrize("name", SWEEPS)
def test_files_are_what_an_agent_understands(name: str) -> None:
    sweep = read(name)
    assert (
        {"program", "command", "method", "metric", "parameters"}
        <= set(sweep)
        <= {*("program", "command", "method", "metric", "parameters", "run_cap")}
    )
    assert sweep["command"][-1] == "${args}"  # of all forms the only one that every value survives
    assert sweep["metric"]["goal"] in ("minimize", "maximize")
    for point in points(name):
        assert all(value is not None for value in point.values())  # would arrive as the text None
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    point = points(name)[0]
    theirs = create_sweep_command_args({"args": {key: {"value": value} for key, value in point.items()}})["args"]
    assert command(name, point)[-len(theirs) :] == theirs


@pytest.mark.parametrize("name", [n for n in SWEEPS if n in ("loss_weights", "procedural")])
def test_points_are_parsed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    last = some(name)[-1]
    check(parse(monkeypatch, name, last), last)


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_all_points_are_parsed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for point in points(name):
        check(parse(monkeypatch, name, point), point)


def logged_in_validation(names: list[str], options: list[str]) -> set[str]:
    """Keys that a validation of the experiment logs, from its own steps and hooks."""
    model, _ = build_experiment(names, options)
    keys: set[str] = set()
    model.log = lambda key, *_, **__: keys.add(key)  # type: ignore[method-assign,misc]
    model.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    specs = {name: dict(task.spec) for name, task in model.tasks.items()}
    batch = detection_batch(specs=specs) if "detection_3d" in specs else make_batch(specs, size=(64, 80))
    with torch.no_grad():
        model.eval().validation_step(batch, 0)
        model.on_validation_epoch_end()
    return keys


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "seeds" else pytest.mark.slow) for n in SWEEPS])
def test_the_metric_is_logged(name: str) -> None:
    point = points(name)[0]
    arguments = [a for a in command(name, point)[1:] if a.startswith("--model.delta_m_baselines")]
    # Names do not depend on the network.
    arguments += ["--model.pretrained=false", *(STREETS if name == "streets_3d" else ())]
    keys = logged_in_validation([point["config"], str(CONF / "tiny.yaml")], arguments)
    assert read(name)["metric"]["name"] in keys
    assert ("val/delta_m" in keys) == ("model.delta_m_baselines" in point)


def test_what_runs_send_away() -> None:
    config = merged_configs(["base/sweep.yaml"])["trainer"]["logger"]
    wandb = [entry for entry in config if entry["class_path"].endswith("WandbLogger")]
    assert [entry["init_args"]["log_model"] for entry in wandb] == [False]
    text = "".join(path.read_text() for path in (ROOT / "experiments").rglob("*.yaml"))
    assert "ArchitectureFigures" not in text  # the callback that draws, and gives loggers what it drew
    assert "wandb.ai" not in text


def test_folders_of_a_sweep(tmp_path: Path) -> None:
    ids = {"WANDB_SWEEP_ID": "swe_ep-1", "WANDB_RUN_ID": "ab12"}
    assert sweep_run_folder("fit", None, ids) == Path("runs/sweeps/swe_ep-1/ab12")
    assert sweep_run_folder("test", None, ids) is None
    assert sweep_run_folder("fit", "x.ckpt", ids) is None
    assert sweep_run_folder("fit", None, {"WANDB_RUN_ID": "ab12"}) is None
    with pytest.raises(ConfigError, match=r"'\.\./x' cannot name a folder"):
        sweep_run_folder("fit", None, {**ids, "WANDB_RUN_ID": "../x"})


def test_variables_win_over_files() -> None:
    def entry() -> Namespace:
        init_args = Namespace(project="mtdense", save_dir="{run_dir}", offline=False)
        return Namespace(class_path="lightning.pytorch.loggers.WandbLogger", init_args=init_args)

    untouched, told, online = entry(), entry(), entry()
    respect_environment([untouched], {})
    assert untouched == entry()
    respect_environment([told], {"WANDB_PROJECT": "mine", "WANDB_DIR": "/there", "WANDB_MODE": "offline"})
    assert told.init_args.as_dict() == {"project": "mine", "save_dir": "/there", "offline": True}
    online.init_args.offline = True
    respect_environment([online], {"WANDB_MODE": "online"})
    assert online.init_args.offline is False
    other = Namespace(class_path="lightning.pytorch.loggers.CSVLogger", init_args=Namespace(save_dir="x"))
    respect_environment([other], {"WANDB_DIR": "/there"})
    assert other.init_args.save_dir == "x"


def outcome(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "records" / "fit.json").read_text())
    return record


def metrics(run: Path) -> set[str]:
    with next((run / "logs").rglob("metrics.csv")).open() as file:
        return {key for row in csv.DictReader(file) for key, value in row.items() if value}


def test_a_run_in_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process; a second run of the same sweep goes beside the first, the first's id again is refused."""
    monkeypatch.chdir(tmp_path)
    for key, value in variables(tmp_path, "abc", "run1").items():
        monkeypatch.setenv(key, value)
    # The server is not there to ask, whatever the file says.
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    point = points("procedural")[0]
    arguments = [*command("procedural", point), *TINY]
    assert main(arguments) == 0, capsys.readouterr().err
    run = tmp_path / "runs" / "sweeps" / "abc" / "run1"
    assert (run / "config.yaml").is_file()
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert read("procedural")["metric"]["name"] in metrics(run)
    offline = list((tmp_path / "wandb").glob("offline-run-*-run1"))
    assert len(offline) == 1
    wandb.finish()  # writes what it still holds
    told = (offline[0] / "run-run1.wandb").read_bytes()
    assert b"val/delta_m" in told
    assert b"abc" in told
    assert not [path for path in offline[0].rglob("*") if path.suffix in (".png", ".ckpt")]
    capsys.readouterr()
    assert main(arguments) == 1
    assert "already holds a finished run" in capsys.readouterr().err


@pytest.mark.slow
def test_parallel_runs_as_an_agent_starts_them(tmp_path: Path) -> None:
    """Two at a time in one folder, and the same point with TensorBoard and with CSV alone: the same weights."""
    first, second = points("procedural")[0], points("procedural")[-1]
    starts = {"one": first, "two": second, "again": first, "tensorboard": first, "csv": first}
    processes = {}
    for run, point in starts.items():
        arguments = [*command("procedural", point), *TINY]
        if run in ("tensorboard", "csv"):
            where = arguments.index("base/sweep.yaml")
            arguments[where : where + 1] = ["base/tensorboard.yaml"] if run == "tensorboard" else ["base/trainer.yaml"]
        environment = {**os.environ, **variables(tmp_path, "abc", run)}
        environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
        line = ["/usr/bin/env", sys.executable, "-m", "mtdense", *arguments]
        processes[run] = subprocess.Popen(
            line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if run in ("two", "tensorboard", "csv"):
            for process in processes.values():
                output = process.communicate(timeout=400)[0] if process.stdout and not process.stdout.closed else ""
                assert process.returncode == 0, output
    folder = tmp_path / "runs" / "sweeps" / "abc"
    sums = {run: outcome(folder / run)["weights_sha256"] for run in starts}
    assert len({sums[run] for run in ("one", "again", "tensorboard", "csv")}) == 1
    assert sums["two"] != sums["one"]
    logs = {run: metrics(folder / run) for run in starts if run != "tensorboard"}
    assert all("val/delta_m" in keys for keys in logs.values())
    assert list((folder / "tensorboard").rglob("events.out*"))
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 3
