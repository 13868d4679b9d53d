"""Suggestions for names that were mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["close_matches", "did_you_mean"]


def close_matches(name: object, known: Iterable[str], limit: int = 3) -> list[str]:
    """Up to `limit` of the known names that look like `name`, the most similar first."""
    return difflib.get_close_matches(str(name), list(known), n=limit)


def did_you_mean(name: object, known: Iterable[str], limit: int = 1) -> str:
    """A question to put in front of the list of what is known.

    Args:
        name: What was given.
        known: What may be given.
        limit: Name at most so many.

    Returns:
        "Did you mean 'a' or 'b'? " with a space at its end; "" where nothing known looks like `name`.
    """
    close = close_matches(name, known, limit)
    return f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
