"""Manifests: name, size and checksum of every file of a data set, to notice later what changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mtdense.core.errors import DataError
from mtdense.core.progress import track
from mtdense.reports.canonical import checksum, write_atomic

__all__ = ["Differences", "Digests", "compare", "digest_files", "read_manifest", "write_manifest"]

Digests = dict[str, tuple[int, str]]
"""{path relative to the root, with "/": (size in bytes, sha256)}."""

_FORMAT, _VERSION = "mtdense-manifest", 1
_LARGEST = 1 << 28
_AGAIN = "Restore it, or delete it and run `mtdense data check --full` on data that you trust."


@dataclass(frozen=True)
class Differences:
    """How files differ from a manifest; names are sorted.

    Args:
        changed: Files of another size or content.
        missing: Files that the manifest names and that are not there.
        new: Files that it does not name.
    """

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    new: tuple[str, ...]


def digest_files(root: Path, skip: Path | None = None) -> tuple[Digests, dict[str, str]]:
    """Reads every file below a folder, links followed and each folder once; hidden files and folders do not count.

    Args:
        root: Folder of the data set, or the one file that it is packed into.
        skip: A file that does not count: the manifest itself.

    Returns:
        The digests, and {file that cannot be read: why}.
    """
    # Not `Path.resolve`, which raises for a link to itself.
    skipped = None if skip is None else os.path.realpath(skip)
    found = [(root.name, root)] if root.is_file() else _walk(root, "", set())
    files = [(name, path) for name, path in found if os.path.realpath(path) != skipped]
    digests: Digests = {}
    unreadable: dict[str, str] = {}
    for name, path in track(sorted(files), "Checksums"):
        if not path.is_file():  # reading a pipe would never end
            unreadable[name] = "no regular file, or a link to none"
            continue
        try:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            digests[name] = (path.stat().st_size, digest)
        except OSError as error:
            unreadable[name] = error.strerror or type(error).__name__
    return digests, unreadable


def write_manifest(path: Path, dataset: str, digests: Digests) -> None:
    """Writes a manifest, one file a line; whole or not at all."""
    head = {"format": _FORMAT, "version": _VERSION, "dataset": dataset, "checksum": checksum(_plain(digests))}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    rows = [f"    {json.dumps(name)}: {json.dumps(list(entry))}" for name, entry in sorted(digests.items())]
    write_atomic(path, "\n".join(["{", *lines, '  "files": {', ",\n".join(rows), "  }", "}", ""]))


def read_manifest(path: Path, dataset: str) -> Digests:
    """Reads a manifest.

    Args:
        path: The file.
        dataset: Id of the data set that it must be of.

    Raises:
        DataError: It cannot be read, is no manifest, was changed, or is of another data set.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
        stored = json.loads(content) if len(content) <= _LARGEST else None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"the manifest {path} cannot be read ({error})", _AGAIN) from error
    if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
        raise DataError(f"{path} is no manifest", "Name another file by --manifest.")
    if stored.get("version") != _VERSION:
        raise DataError(f"{path} has version {stored.get('version')!r}, not {_VERSION}", "Use a newer mtdense.")
    if stored.get("dataset") != dataset:
        raise DataError(f"{path} is of {stored.get('dataset')!r}, not {dataset!r}", "Name another by --manifest.")
    if not _is_table(stored.get("files")) or checksum(stored["files"]) != stored.get("checksum"):
        raise DataError(f"{path} was changed or is damaged: its own checksum differs", _AGAIN)
    return {name: (entry[0], entry[1]) for name, entry in stored["files"].items()}


def compare(stored: Mapping[str, tuple[int, str]], found: Mapping[str, tuple[int, str]]) -> Differences:
    """What became of the files of a manifest."""
    both = stored.keys() & found.keys()
    return Differences(
        changed=tuple(sorted(name for name in both if stored[name] != found[name])),
        missing=tuple(sorted(stored.keys() - both)),
        new=tuple(sorted(found.keys() - both)),
    )


def _walk(folder: Path, prefix: str, visited: set[str]) -> Iterator[tuple[str, Path]]:
    real = os.path.realpath(folder)
    if real in visited:  # a link back to a parent folder would otherwise never end
        return
    visited.add(real)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, f"{prefix}{path.name}/", visited)
        else:
            yield f"{prefix}{path.name}", path


def _plain(digests: Digests) -> dict[str, list[int | str]]:
    return {name: list(entry) for name, entry in digests.items()}


def _is_table(files: object) -> bool:
    return isinstance(files, dict) and all(
        isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], int) and isinstance(entry[1], str)
        for entry in files.values()
    )
