"""The how-to pages: what stands on them is run as it stands, by way of a small network."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtdense.tasks.label_kind import LabelKind
from tests.docs.fast import FAST

Main = Callable[..., tuple[int, str]]
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder to work in, and no trace of what the pages define."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules, registered = set(sys.modules), dict(LabelKind.registered)
    yield
    for name in set(sys.modules) - modules:
        if name.split(".")[0] in ("thermal", "gated"):
            del sys.modules[name]
    LabelKind.registered.clear()
    LabelKind.registered.update(registered)


def follow(page: str, main: Main) -> None:
    """Writes the page's files, which say their names in their first line, and runs its commands."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert sum(len(text.splitlines()) for _, text in blocks) <= 60
    for kind, text in blocks:
        if kind != "bash":
            name = re.match(r"# file: (\S+)\n", text)
            assert name is not None, text
            Path(name[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(name[1]).write_text(text, encoding="utf-8")
            continue
        for line in text.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line)
            if program == "python":
                runpy.run_path(arguments[0])
                continue
            assert program == "mtdense"
            code, err = main(*arguments, *((*FAST, "--data.batch_size=4") if arguments[0] == "fit" else ()))
            assert code == 0, f"{line}\n{err}"


@pytest.mark.slow
def test_data(mtdense_main: Main) -> None:
    follow("howto_data.md", mtdense_main)
    assert Path("labels.png").is_file() and Path("out/index.html").is_file()
    assert set(np.unique(np.load("out/semseg/00.npy"))) <= {0, 1}


def test_task(mtdense_main: Main) -> None:
    rng = np.random.default_rng(0)
    for kind in ("images", "temperature"):
        Path("plant", kind).mkdir(parents=True)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(f"plant/images/{i}.png")
        degrees = rng.uniform(10, 40, (48, 64)).astype(np.float32)
        degrees[:5] = -1000
        np.save(f"plant/temperature/{i}.npy", degrees)
    follow("howto_task.md", mtdense_main)
    found = np.load("out/temperature/0.npy")
    assert found.shape == (48, 64) and found.dtype == np.float32
    # A checkpoint that names the task is of no use to who does not allow its module.
    LabelKind.registered.pop("temperature")
    del sys.modules["thermal"]
    code, err = mtdense_main("predict", "--ckpt_path", "run/checkpoints/last.ckpt", "--images", "plant/images")
    assert code == 1 and "temperature" in err


@pytest.mark.slow
def test_architecture(mtdense_main: Main) -> None:
    follow("howto_architecture.md", mtdense_main)
    assert Path("run/records/test.json").is_file()
    code, err = mtdense_main("test", "--ckpt_path", "run/checkpoints/last.ckpt")
    assert code == 1 and "--allow_module gated" in err
    code, err = mtdense_main("fit", "--allow_module", "gatet", "--config", "gated.yaml", "--run_dir", "other")
    assert code == 1 and "--allow_module gatet" in err
