"""Blocks ```console on the pages: every `$` command is run, and must print what stands below it."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

from mtdense.cli.main import main

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
# `...` stands for anything.
ALIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def steps(page: Path) -> list[tuple[str, str]]:
    """(command, output) of each step of a page, in order."""
    found = []
    for block in FENCE.findall(page.read_text(encoding="utf-8")):
        before, *rest = re.split(r"^\$ ", block, flags=re.MULTILINE)
        assert not before.strip() and rest, f"{page.name}: a block begins with output: {before!r}"
        for step in rest:
            command, _, output = step.partition("\n")
            found.append((command, output))
    return found


PAGES = [page for page in sorted(DOCS.glob("*.md")) if steps(page)]


def test_pages_show_outputs() -> None:
    assert sum(len(steps(page)) for page in PAGES) >= 8


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_command_prints_what_stands_on_the_page(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    checker = doctest.OutputChecker()
    for command, wanted in steps(page):
        program, *arguments = shlex.split(command)
        assert program == "mtdense", command
        capsys.readouterr()
        code = main(arguments)
        printed = capsys.readouterr()
        assert code == 0, printed.err
        assert checker.check_output(wanted, printed.out, ALIKE), f"{page.name}: $ {command}\n{printed.out}"


def test_another_output_is_noticed() -> None:
    assert doctest.OutputChecker().check_output("12 of ... classes\n", "12  of 13 classes\n", ALIKE)
    assert not doctest.OutputChecker().check_output("12 of ... classes\n", "11 of 13 classes\n", ALIKE)
