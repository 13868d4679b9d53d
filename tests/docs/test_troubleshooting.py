"""Every message on the troubleshooting page is one that the program gives, and every one tried here is on the page."""

from __future__ import annotations

import errno
import os
import re
import signal
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import get_worker_info

from mtdense.cli import failures
from mtdense.core.errors import LostRankError
from mtdense.data import RawImage
from mtdense.data.folder import FolderDataset
from mtdense.models import DenseModule
from tests.cli.test_lightning import MULTI, SMALL, trained

__all__ = ["trained"]

Main = Callable[..., tuple[int, str]]
PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
HEADINGS = re.findall(r"^### `(.+)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def folder(root: Path, *, classes: int = 2) -> tuple[str, ...]:
    """Options for a data set of six pictures with classes."""
    for name in ("images", "semseg"):
        (root / name).mkdir(parents=True)
    for number in range(6):
        Image.fromarray(np.full((32, 40, 3), 40 * number, np.uint8)).save(root / "images" / f"p{number}.png")
        Image.fromarray(np.full((32, 40), number % classes, np.uint8)).save(root / "semseg" / f"p{number}.png")
    options = ("--data.root", root, "--data.tasks", "[semseg]", "--data.num_classes", "{semseg: 2}")
    small = (
        "--data.size",
        "[32, 40]",
        "--data.batch_size",
        "2",
        "--model.backbone",
        "tiny",
        "--trainer.max_steps",
        "1",
    )
    return ("fit", "--config", "folder/mtl_baseline-resnet18.yaml", *map(str, options), *small)


def no_folder(main: Main, tmp: Path, trained: Path) -> str:
    options = folder(tmp / "data")
    return main(*options, "--data.root", tmp / "none", "--run_dir", tmp / "run")[1]


def damaged_picture(main: Main, tmp: Path, trained: Path) -> str:
    options = folder(tmp / "data")
    for path in (tmp / "data" / "images").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    return main(*options, "--run_dir", tmp / "run")[1]


def class_out_of_range(main: Main, tmp: Path, trained: Path) -> str:
    return main(*folder(tmp / "data", classes=5), "--run_dir", tmp / "run")[1]


def unknown_task(main: Main, tmp: Path, trained: Path) -> str:
    return main("fit", *MULTI, *SMALL, "--run_dir", tmp / "run", "--data.tasks", "[semseg, dept]")[1]


def unknown_option(main: Main, tmp: Path, trained: Path) -> str:
    return main("fit", *MULTI, *SMALL, "--run_dir", tmp / "run", "--model.learning_rate", "1")[1]


def no_experiment(main: Main, tmp: Path, trained: Path) -> str:
    return main("fit", "--config", "pascal_context/full/tif-swin.yaml")[1]


def folder_in_use(main: Main, tmp: Path, trained: Path) -> str:
    return main("fit", *MULTI, *SMALL, "--run_dir", trained.parent.parent)[1]


def model_options(main: Main, tmp: Path, trained: Path) -> str:
    return main("test", "--ckpt_path", trained, "--model.lr", "1")[1]


def no_checkpoint(main: Main, tmp: Path, trained: Path) -> str:
    return main("test", "--ckpt_path", tmp / "last.ckpt")[1]


def foreign_class(main: Main, tmp: Path, trained: Path) -> str:
    content = torch.load(trained, weights_only=True)
    content["mtdense"]["model_class"] = "elsewhere.Model"
    torch.save(content, tmp / "theirs.ckpt")
    return main("test", "--ckpt_path", tmp / "theirs.ckpt")[1]


def other_mask(main: Main, tmp: Path, trained: Path) -> str:
    options = ("--data.label_seed", "7", "--trainer.max_steps", "5", "--run_dir", tmp / "run")
    return main("fit", *MULTI, *SMALL, "--ckpt_path", trained, *options)[1]


def loss_not_finite(main: Main, tmp: Path, trained: Path) -> str:
    return main("fit", *MULTI, *SMALL, "--run_dir", tmp / "run", "--model.lr", "1e30")[1]


def unreadable_weights(main: Main, tmp: Path, trained: Path) -> str:
    (tmp / "resnet.pth").write_bytes(b"not weights")
    options = ("--model.backbone", "resnet18", "--model.backbone_checkpoint", tmp / "resnet.pth")
    return main("fit", *MULTI, *SMALL, "--run_dir", tmp / "run", *options)[1]


def other_weights(main: Main, tmp: Path, trained: Path) -> str:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp / "resnet.pth")
    options = ("--model.backbone", "resnet18", "--model.backbone_checkpoint", tmp / "resnet.pth")
    return main("fit", *MULTI, *SMALL, "--run_dir", tmp / "run", *options)[1]


def damaged_checkpoint(main: Main, tmp: Path, trained: Path) -> str:
    (tmp / "last.ckpt").write_bytes(trained.read_bytes()[:1000])
    return main("test", "--ckpt_path", tmp / "last.ckpt")[1]


def infinite_gradient(main: Main, tmp: Path, trained: Path) -> str:
    def spoil(self: DenseModule) -> None:
        next(p.grad for p in self.parameters() if p.grad is not None).fill_(float("inf"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DenseModule, "on_after_backward", spoil)
        return main("fit", *MULTI, *SMALL, "--run_dir", tmp / "run")[1]


def dead_worker(main: Main, tmp: Path, trained: Path) -> str:
    load = FolderDataset.load

    def die(self: FolderDataset, index: int, tasks: Collection[str]) -> RawImage:
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, index, tasks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderDataset, "load", die)
        return main(*folder(tmp / "data"), "--data.num_workers", "1", "--run_dir", tmp / "run")[1]


def no_memory(main: Main, tmp: Path, trained: Path) -> str:
    def fail(self: DenseModule, *arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DenseModule, "training_step", fail)
        with pytest.raises(torch.OutOfMemoryError) as caught:
            main("fit", *MULTI, *SMALL, "--run_dir", tmp / "run")
    return "".join(traceback.format_exception_only(caught.value))  # what Python prints at the end


def full_disk(main: Main, tmp: Path, trained: Path) -> str:
    def fail(content: object, stream: IO[bytes]) -> None:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "save", fail)
        return main("fit", *MULTI, *SMALL, "--run_dir", tmp / "run")[1]


def lost_rank(main: Main, tmp: Path, trained: Path) -> str:
    """Of a whole run see `tests/cli/test_lost_rank.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failures, "world_size", lambda: 2)
        patch.setattr(torch.distributed, "get_rank", lambda: 0)
        with pytest.raises(LostRankError) as caught, failures.explained():
            raise RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection closed by peer [127.0.0.1]:1")
    return str(caught.value)


PRODUCERS = [
    no_folder,
    damaged_picture,
    class_out_of_range,
    unknown_task,
    unknown_option,
    no_experiment,
    folder_in_use,
    model_options,
    no_checkpoint,
    foreign_class,
    other_mask,
    loss_not_finite,
    unreadable_weights,
    other_weights,
    damaged_checkpoint,
    infinite_gradient,
    dead_worker,
    no_memory,
    full_disk,
    lost_rank,
]


def pattern(heading: str) -> re.Pattern[str]:
    """A heading as an expression: its dots stand for anything."""
    return re.compile(".+".join(re.escape(part) for part in heading.split("…")))


@pytest.mark.parametrize("produce", PRODUCERS, ids=lambda produce: produce.__name__)
def test_the_message_is_on_the_page(
    produce: Callable[[Main, Path, Path], str], mtdense_main: Main, tmp_path: Path, trained: Path
) -> None:
    message = " ".join(produce(mtdense_main, tmp_path, trained).split())
    found = [heading for heading in HEADINGS if pattern(heading).search(message)]
    assert len(found) == 1, f"{found} of {message}"


def test_the_page_promises_nothing_else() -> None:
    assert len(HEADINGS) == len(set(HEADINGS)) == len(PRODUCERS)
