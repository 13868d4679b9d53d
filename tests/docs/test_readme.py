"""The commands and the Python of the README's ten lines, run as they stand by way of a small network."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.docs.fast import FAST

Main = Callable[..., tuple[int, str]]
README = Path(__file__).parents[2] / "README.md"
SMALL = ("--model.preset=tiny", "--data.train_images=12", "--data.val_images=4", "--data.test_images=4")


def blocks(heading: str) -> list[tuple[str, str]]:
    """(language, text) of the blocks of code below a heading."""
    section = README.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_ten_lines(mtdense_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    rng = np.random.default_rng(0)
    for name, size in (("photos/a.jpg", (60, 90, 3)), ("out/edge/a.png", (40, 60)), ("data/edge/a.png", (40, 60))):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, size, dtype=np.uint8) if len(size) == 3 else 255 * np.eye(*size, dtype=np.uint8)
        Image.fromarray(pixels).save(name)
    (_, commands), (language, code) = blocks("Ten lines")
    assert language == "python"
    lines = [line for line in commands.splitlines() if line and not line.startswith("#")]
    assert len(lines) >= 8
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "mtdense"
        arguments = [word.replace("~", str(tmp_path)) for word in arguments]
        if arguments[0] == "predict":  # `out` is the reader's own; here it has the edges of another tool
            arguments[-1] = "predicted"
        done, err = mtdense_main(*arguments, *((*FAST, *SMALL) if arguments[0] == "fit" else ()))
        assert done == 0, f"{line}\n{err}"
        if arguments[0] == "test":  # what the reader has of earlier runs
            for other in ("runs/demo/mine", "runs/other"):
                shutil.copytree("runs/mine", other)
    assert Path("runs/mine/records/test.json").is_file() and Path("predicted/index.html").is_file()
    names: dict[str, Any] = {}
    exec(compile(code, str(README), "exec"), names)  # what stands in our own README
    assert names["classes"].shape == (1, 8, 10)
