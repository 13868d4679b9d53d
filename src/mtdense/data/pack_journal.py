"""The journal of a pack's parts: what is done survives a kill at any moment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mtdense.core.errors import DataError

__all__ = ["Journal", "PartRecord", "locked", "part_name"]

_NAME = "journal.jsonl"


@dataclass(frozen=True)
class PartRecord:
    """A part that is done.

    Args:
        part: Its number.
        entries: (name, length, SHA-256) of its entries, in order.
        facts: What the work said of it, in plain values.
    """

    part: int
    entries: list[tuple[str, int, str]]
    facts: Any


def part_name(part: int) -> str:
    """File name of a part."""
    return f"part-{part:06d}"


class Journal:
    """What is done. Made by `open`.

    Args:
        folder: Folder of the work.
        created: When the work began.
        done: {number of a part: its record}.
    """

    def __init__(self, folder: Path, created: str, done: dict[int, PartRecord]) -> None:
        self.folder = folder
        self.created = created
        self.done = done

    @classmethod
    def open(cls, folder: Path, digest: str, plan: dict[str, Any], now: str) -> Journal:
        """Reads the journal of a folder, or begins one.

        Args:
            folder: Folder of the work.
            digest: Checksum of the plan.
            plan: The plan, for the error.
            now: The time, for a new journal.

        Raises:
            DataError: The journal is of another plan.
        """
        path = folder / _NAME
        lines = _whole_lines(path)
        if not lines:
            journal = cls(folder, now, {})
            journal._write({"plan_sha256": digest, "created": now, "plan": plan})
            return journal
        head = lines[0]
        if head.get("plan_sha256") != digest:
            stored = head.get("plan", {})
            different = sorted(key for key in {*stored, *plan} if stored.get(key) != plan.get(key))
            raise DataError(
                f"{folder} holds work on other data or options (different: {', '.join(different)})",
                "Finish that with its own arguments and data, or delete the folder.",
            )
        done = {}
        for line in lines[1:]:
            record = PartRecord(line["part"], [tuple(entry) for entry in line["entries"]], line["facts"])
            if _is_there(folder / part_name(record.part), sum(size for _, size, _ in record.entries)):
                done[record.part] = record
        return cls(folder, head["created"], done)

    def append(self, record: PartRecord) -> None:
        """Writes down that a part is done, on the disk."""
        self._write(asdict(record))
        self.done[record.part] = record

    def _write(self, line: dict[str, Any]) -> None:
        with (self.folder / _NAME).open("ab") as stream:
            stream.write(json.dumps(line).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The journal's lines; one that was broken off is cut away, so that the next begins anew."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error})", f"Delete the folder {path.parent}, and start again.") from error


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out of the folder; the lock ends with the process, however that ends.

    Raises:
        DataError: Another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two runs at once then do the work twice
        yield
        return
    with (folder / "lock").open("ab") as stream:
        try:
            # Not flock: forked workers, which may outlive a killed run by seconds, would keep that.
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"another process is at work in {folder}", "Wait for it.") from error
        yield
