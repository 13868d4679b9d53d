"""``python -m mtdense`` is the `mtdense` program."""

from __future__ import annotations

from mtdense.cli.main import entry_point

if __name__ == "__main__":
    entry_point()
