"""Numbers with their nouns."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, noun: str) -> str:
    """Such as "1 image" and "2 test images"; of regular nouns."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
