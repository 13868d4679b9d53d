"""Ids of people's own files: unique, and harmless as names of the files that come of them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

__all__ = ["picture_ids"]

_MOST_FOLDERS = 5
_MOST_BYTES = 180
"""Of a part of an id: file systems take 255, and ends such as `.human_parts.webp` come behind it."""
# `a_raw.png` may hold the values of `a`, or the colours of `a_raw`.
_ENDS = ("", "_raw", "_above")
_FRAME = re.compile(r"\d{6,}(_raw|_above)?")


def picture_ids(paths: Sequence[Path], videos: Sequence[bool]) -> list[str]:
    """Stems as the files are named (not what links lead to), with as many parent folders as tell them apart.

    What cannot be in a file's name everywhere, or is no UTF-8, is replaced; what is still alike gets a number behind it
    (`one-2`), and so does what would share a file with another's: `one_raw` beside `one`.

    Args:
        paths: The files, each once.
        videos: Whether each is a video; its frames are `ID/000123`.
    """
    parts = [[_clean(part) for part in (*path.absolute().parts[1:-1], path.stem)] for path in paths]
    spellings = [["/".join(part[-depth:]) for part in parts] for depth in range(1, _MOST_FOLDERS + 1)]
    names = max(spellings, key=lambda names: len({_key(name) for name in names}))  # of equal ones the shortest
    taken: set[str] = set()
    with_frames: set[str] = set()
    like_frames: set[str] = set()
    last: dict[str, int] = {}
    found = []
    for name, is_video in zip(names, videos, strict=True):
        while True:
            number = last[_key(name)] = last.get(_key(name), 0) + 1
            candidate = name if number == 1 else f"{name}-{number}"
            key = _key(candidate)
            files, frame_of = {key + end for end in _ENDS}, _frame_of(key)
            if not (files & taken or frame_of in with_frames or (is_video and key in like_frames)):
                break
        found.append(candidate)
        taken |= files
        if is_video:
            with_frames.add(key)
        if frame_of is not None:
            like_frames.add(frame_of)
    return found


def _clean(part: str) -> str:
    text = os.fsencode(part).decode("utf-8", "replace")
    text = "".join("_" if c in "/\\" or unicodedata.category(c) == "Cc" else c for c in text)
    if PureWindowsPath(text).drive:
        text = text.replace(":", "_")
    text = text.encode()[:_MOST_BYTES].decode("utf-8", "ignore")
    return "_" if text in ("", ".", "..") else text


def _key(name: str) -> str:
    """Equal for names that some file systems take for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _frame_of(key: str) -> str | None:
    """What a video would be called that had this frame, or a file of one."""
    folder, _, name = key.rpartition("/")
    return folder if _FRAME.fullmatch(name) else None
