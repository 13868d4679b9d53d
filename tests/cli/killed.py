"""Runs of the program that are killed at chosen moments; itself a program, so that its children start at once.

    python tests/cli/killed.py PLAN.json

PLAN: {"arguments": [...], "runs": [{"folder": F, "moments": [MOMENT, ...]}, ...]}. Each run is killed (SIGKILL) at its
first moment, then the very same command (with `--resume auto`) is given again and killed at the second, and so on,
then it is given until it ends. Moments are logged in F/moments.txt before the kill:

    save:N:before | half | written | after     in the N-th save of a checkpoint of that process
    batch:N:start | backward | end             in optimiser step N (counted from 0)
    validation:N                               in the N-th validation batch of that process

A moment that ends in ":ctrl-c" sends SIGINT to the whole process group instead, as a terminal does; one that ends in
":sigterm" or ":sigusr1" that signal to the process, as a batch scheduler does; in ":sigterm:group" or ":sigusr1:group",
from outside to the whole group, data workers included, as torchrun, SLURM and systemd do.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mtdense  # noqa: F401 - first, for its torchvision guard

# isort: split

import torch
import yaml

from mtdense.cli.lightning_cli import run_lightning  # noqa: F401 - imported before the children are forked
from mtdense.cli.main import main
from mtdense.models.base import DenseModule
from mtdense.training import checkpoint_io

_SIGNALS = {"ctrl-c": signal.SIGINT, "sigterm": signal.SIGTERM, "sigusr1": signal.SIGUSR1}


class Killer:
    """Kills this process at a moment; without one it only makes training depend on torch's global generator."""

    def __init__(self, moment: str | None, log: Path) -> None:
        self.kind, *self.where = (moment or "never").removesuffix(":group").split(":")
        self.signal = _SIGNALS.get(self.where[-1]) if self.where else None
        self.moment = moment
        if self.signal is not None:
            self.where.pop()
        self.log = log
        self.counts: dict[str, int] = {}
        _patch(DenseModule, "training_step", self._training_step)
        _patch(DenseModule, "on_after_backward", self._on_after_backward)
        _patch(DenseModule, "on_train_batch_end", self._on_train_batch_end)
        _patch(DenseModule, "validation_step", self._validation_step)
        _patch(checkpoint_io.AtomicCheckpointIO, "save_checkpoint", self._save_checkpoint)

    def at(self, kind: str, *where: object) -> None:
        if kind != self.kind or [str(part) for part in where] != self.where:
            return
        with self.log.open("a") as stream:
            stream.write(f"{self.moment}\n")
            stream.flush()
            os.fsync(stream.fileno())
        if self.signal is not None and str(self.moment).endswith(":group"):
            subprocess.run(["sh", "-c", f"kill -{self.signal.name[3:]} 0"], check=False)
            time.sleep(0.5)  # for the workers, too, to hear it
        elif self.signal is signal.SIGINT:
            os.killpg(0, signal.SIGINT)
        else:
            os.kill(os.getpid(), self.signal or signal.SIGKILL)

    def count(self, kind: str) -> int:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return self.counts[kind]

    def _training_step(self, original: Any, module: DenseModule, batch: Any, batch_idx: int) -> Any:
        self.at("batch", module.global_step, "start")
        batch["image"] = (batch["image"] + 0.05 * torch.randn_like(batch["image"])).clamp(0, 1)
        return original(module, batch, batch_idx)

    def _on_after_backward(self, original: Any, module: DenseModule) -> None:
        self.at("batch", module.global_step, "backward")

    def _on_train_batch_end(self, original: Any, module: DenseModule, *arguments: Any) -> None:
        self.at("batch", module.global_step - 1, "end")

    def _validation_step(self, original: Any, module: DenseModule, *arguments: Any) -> Any:
        self.at("validation", self.count("validation"))
        return original(module, *arguments)

    def _save_checkpoint(self, original: Any, plugin: Any, checkpoint: Any, path: Any, **options: Any) -> None:
        number = self.count("save")
        self.at("save", number, "before")
        save, replace = torch.save, Path.replace

        def save_half(content: Any, stream: Any) -> None:
            buffer = io.BytesIO()
            save(content, buffer)
            whole = buffer.getvalue()
            stream.write(whole[: len(whole) // 2])
            stream.flush()
            self.at("save", number, "half")
            stream.write(whole[len(whole) // 2 :])

        def replace_or_die(source: Path, target: Path) -> Path:
            self.at("save", number, "written")
            return replace(source, target)

        torch.save, Path.replace = save_half, replace_or_die  # type: ignore[assignment, method-assign]
        try:
            original(plugin, checkpoint, path, **options)
        finally:
            torch.save, Path.replace = save, replace  # type: ignore[method-assign]
        self.at("save", number, "after")


def _patch(owner: Any, name: str, wrapper: Any) -> None:
    original = getattr(owner, name)
    setattr(owner, name, lambda self, *a, **k: wrapper(original, self, *a, **k))


def run_once(arguments: list[str], folder: Path, moment: str | None) -> int:
    """Runs `fit` in a child, from the run's last checkpoint if there is one; the exit code, negative for a signal."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        log = (folder / "output.txt").open("a")
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        Killer(moment, folder / "moments.txt")
        code = main([*arguments, "--run_dir", str(folder / "run"), "--resume", "auto"])
        sys.stdout.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = sorted((folder / "run" / "checkpoints").glob("*"))
    for path in left:
        if path.suffix == ".ckpt":  # what looks good is good
            checkpoint_io.check_file(path)
            torch.load(path, weights_only=True)
    for path in (folder / "run").rglob("*.json"):
        json.loads(path.read_text())
    for path in (folder / "run").rglob("*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text()), dict), path
    print(f"{folder.name} {moment or 'to the end'}: exit code {code}, left {[path.name for path in left]}", flush=True)
    return code


def run_plan(plan: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    for run in plan["runs"]:
        folder = Path(run["folder"])
        folder.mkdir(parents=True)
        codes = [run_once(plan["arguments"], folder, moment) for moment in [*run["moments"], None]]
        (folder / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    run_plan(json.loads(Path(sys.argv[1]).read_text()))
