from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from mtdense.core.progress import track


def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=80)


def written(console):
    return console.file.getvalue()


def test_items_come_unchanged_and_silently_when_there_is_no_terminal(capsys):
    assert not sys.stderr.isatty()
    assert list(track([3, 1, 2], "Counting")) == [3, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_sees_description_and_count():
    console = terminal()
    assert list(track(range(4), "Counting", console=console)) == [0, 1, 2, 3]
    assert "Counting" in written(console)
    assert "4/4" in written(console)


def test_a_generator_takes_its_total_from_the_caller():
    console = terminal()
    assert sum(track((i for i in range(3)), total=3, console=console)) == 3
    assert "3/3" in written(console)


def test_only_the_outer_of_two_loops_draws():
    outer, inner = terminal(), terminal()
    pairs = [(a, b) for a in track(range(2), "outer", console=outer) for b in track(range(2), "inner", console=inner)]
    assert pairs == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert "2/2" in written(outer)
    assert written(inner) == ""


def test_leaving_early_frees_the_display():
    for _ in track(range(5), console=terminal()):
        break
    with pytest.raises(ZeroDivisionError):
        for i in track(range(5), console=terminal()):
            1 / i
    console = terminal()
    assert list(track(range(2), console=console)) == [0, 1]
    assert "2/2" in written(console)
