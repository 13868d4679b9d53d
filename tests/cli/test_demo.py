"""The demo on a few tiny images: everything it promises is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.conftest import CONF


def test_demo(tmp_path: Path, mtdense_main: Callable[..., tuple[int, str]]) -> None:
    small = tmp_path / "small.yaml"
    small.write_text("data: {init_args: {train_images: 12, val_images: 4, test_images: 5}}\n")
    arguments = ("--steps", "2", "--out", tmp_path / "demo", "--images", "3")
    code, err = mtdense_main("demo", *arguments, "--config", CONF / "tiny.yaml", "--config", small)
    assert code == 0, err
    table = (tmp_path / "demo" / "table.md").read_text()
    assert all(row in table for row in ("constant", "mean_map", "single_task", "mtl_baseline", "Δm"))
    assert "not a benchmark of the literature" in table
    sheet = Image.open(tmp_path / "demo" / "contact_sheet.png")
    assert sheet.size[0] > 300
    assert sheet.getcolors(maxcolors=50) is None
    # It can be run again.
    assert mtdense_main("demo", *arguments, "--config", CONF / "tiny.yaml", "--config", small)[0] == 0


def test_no_steps(mtdense_main: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    code, err = mtdense_main("demo", "--steps", "0", "--out", tmp_path)
    assert code == 1
    assert "--steps 0" in err
