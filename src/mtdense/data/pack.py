"""The container of packs: one HDF5 file of named entries, each with a checksum.

```
attribute mtdense_pack   JSON: format version, codec, data set, data version, source, creation, counts, checksums
content    (bytes,) uint8       the entries one after another, contiguous
names      (n,) uint8           their names, UTF-8, joined by newlines
sizes      (entries,) int64     their lengths in bytes
sha256     (entries, 32) uint8  their checksums
catalogue  (m,) uint8           JSON, of raw packs only: what the entries are; see `mtdense.data.packed`
```

Offsets follow from the sizes. HDF5 is asked once, when a pack is opened; entries are then read from the place where
`content` lies in the file. So no handle outlives a call, and a pack may be forked, pickled and used by threads.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from mtdense.core.errors import DataError

__all__ = ["CODECS", "HEADER", "PACK_FORMAT", "PACK_SUFFIXES", "Entry", "Pack", "digest_index", "is_entry_name"]

PACK_FORMAT = 2
"""Version of the layout above that is written; 1 knows no `baseline` beside `camera`, and is read as well."""

_READABLE = (1, 2)

PACK_SUFFIXES = (".h5", ".hdf5")
"""A file with such a name is taken for a pack."""

HEADER = "mtdense_pack"
"""Name of the attribute with the header."""

CODECS = ("source", "raw")
"""What entries may be: the files of a data set, or decoded arrays."""

_AGAIN = "Copy it again, or make it anew with `mtdense data prepare`."
_DAMAGED = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError)
_INDEX = {"names": ("u1", 1), "sizes": ("i8", 1), "sha256": ("u1", 2)}


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an entry lies, in bytes from the start of `content`."""

    number: int
    offset: int
    size: int


@dataclass(frozen=True)
class _Index:
    """What is read when a pack is opened."""

    header: dict[str, Any]
    entries: dict[str, Entry]
    digests: npt.NDArray[np.uint8]
    catalogue: bytes | None
    start: int
    identity: tuple[int, int, int]


class Pack:
    """A pack, opened and checked when it is first asked for something.

    Opening checks the whole structure. An entry's checksum is verified when a process reads it for the first time; that
    the file has not been written to since is checked at every reading.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: _Index | None = None
        self._verified: npt.NDArray[np.bool_] | None = None
        self._expected: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A process that gets this pack reads the index for itself: cheaper than to send it, and checked.
        return {"path": self.path, "_opened": None, "_verified": None, "_expected": self._expected}

    @property
    def header(self) -> dict[str, Any]:
        """What the pack says of itself; a copy.

        Raises:
            DataError: The file is missing, no pack, damaged, cut short, or of a newer format.
        """
        return dict(self._index.header)

    @property
    def codec(self) -> str:
        """One of `CODECS`; raises as `header`."""
        return str(self._index.header["codec"])

    @property
    def entries(self) -> dict[str, Entry]:
        """{name: entry} in their order; not to be changed. Raises as `header`."""
        return self._index.entries

    @property
    def catalogue(self) -> bytes:
        """JSON of a raw pack.

        Raises:
            DataError: The pack is none, or as `header`.
        """
        found = self._index.catalogue
        if found is None:
            raise DataError(f"{self.path} is a pack of source files", "Prepare one with `--codec raw`.")
        return found

    def read(self, name: str) -> bytearray:
        """The bytes of an entry.

        Raises:
            FileNotFoundError: There is no such entry.
            DataError: Payload damage: the bytes are not those of the checksum; or the file was changed or cannot be
                read.
        """
        if name not in self.entries:
            raise FileNotFoundError(f"{self.path} has no entry {name!r}")
        content = bytearray(self.entries[name].size)
        self.read_into([(name, memoryview(content))])
        return content

    def read_into(self, wanted: Iterable[tuple[str, memoryview]]) -> None:
        """Reads entries into buffers of their length; the file is opened once. Raises as `read`."""
        index = self._index
        try:
            with self.path.open("rb", buffering=0) as stream:
                if _identity(stream) != index.identity:
                    raise DataError(f"{self.path} was changed while in use", "Start again.")
                for name, buffer in wanted:
                    entry = index.entries[name]
                    self._fill(stream, buffer, index.start + entry.offset, name)
                    self._verify(entry, buffer, name)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({_detail(error)})", "Restore the file.") from error

    # ---- inside -----------------------------------------------------------------------------------------------------
    @property
    def _index(self) -> _Index:
        if self._opened is None:
            opened = _open(self.path)
            if self._expected not in (None, opened.header["index_sha256"]):
                raise DataError(f"{self.path} was changed while in use", "Start again.")
            self._expected = opened.header["index_sha256"]
            self._verified = np.zeros(len(opened.entries), dtype=np.bool_)
            self._opened = opened
        return self._opened

    def _fill(self, stream: Any, buffer: memoryview, place: int, name: str) -> None:
        stream.seek(place)
        filled = 0
        while filled < len(buffer):
            read = stream.readinto(buffer[filled:])
            if not read:
                raise DataError(f"{self.path} ends within its entry {name!r}", _AGAIN)
            filled += read

    def _verify(self, entry: Entry, buffer: memoryview, name: str) -> None:
        assert self._opened is not None and self._verified is not None
        if self._verified[entry.number]:
            return
        if hashlib.sha256(buffer).digest() != self._opened.digests[entry.number].tobytes():
            raise DataError(f"payload damage: the entry {name!r} of {self.path} does not have its checksum", _AGAIN)
        self._verified[entry.number] = True


def digest_index(names: bytes, sizes: npt.NDArray[np.int64], digests: npt.NDArray[np.uint8]) -> str:
    """Checksum of an index, and so of all content: SHA-256 over names, sizes (little endian) and checksums."""
    whole = hashlib.sha256(names)
    whole.update(np.ascontiguousarray(sizes, dtype="<i8").tobytes())
    whole.update(np.ascontiguousarray(digests).tobytes())
    return whole.hexdigest()


def is_entry_name(name: str) -> bool:
    """Whether a name is a relative path in plain form: no "..", no empty part, no line break."""
    pure = PurePosixPath(name)
    return bool(
        name and not pure.is_absolute() and ".." not in pure.parts and str(pure) == name and name != "."
    ) and not any(character in name for character in "\n\r\0")


def _open(path: Path) -> _Index:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise OSError("it is no regular file")  # to open a pipe may wait for ever
        with path.open("rb") as stream:
            identity = _identity(stream)
        if not h5py.is_hdf5(path):
            raise DataError(f"{path} is no pack: it is damaged, or no HDF5 file", _AGAIN)
        with _structure(path), h5py.File(path, "r", locking="best-effort") as file:
            return _read_index(path, file, identity)
    except FileNotFoundError as error:
        raise DataError(
            f"no such pack: {path}", "Correct `data.root`, or make it with `mtdense data prepare`."
        ) from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder, not a pack", "Correct the path.") from error
    except PermissionError as error:
        raise DataError(f"no permission to read {path}", "Correct the file's permissions.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({_detail(error)})", "Restore the file.") from error


@contextmanager
def _structure(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise DataError(f"the pack {path} is damaged or cut short ({_detail(error)})", _AGAIN) from error


def _read_index(path: Path, file: Any, identity: tuple[int, int, int]) -> _Index:
    header = _read_header(path, file)
    catalogued = header["codec"] == "raw"
    for key in ("content", *_INDEX, *(["catalogue"] if catalogued else [])):
        _check_stored(path, file, key)
    content = file["content"]
    start, total = content.id.get_offset(), int(header["bytes"])
    if content.dtype != np.uint8 or content.ndim != 1 or content.chunks is not None or start is None:
        raise DataError(f"the pack {path} is damaged: 'content' is no plain sequence of bytes", _AGAIN)
    if content.shape[0] != total or start < 0 or start + total > identity[2]:
        raise DataError(f"the pack {path} is damaged: 'content' has {content.shape[0]} bytes, not {total}", _AGAIN)
    arrays = {}
    for key, (kind, axes) in _INDEX.items():
        if file[key].dtype != np.dtype(kind) or file[key].ndim != axes or file[key].nbytes > identity[2]:
            raise DataError(f"the pack {path} is damaged: {key!r} is {file[key].dtype} {file[key].shape}", _AGAIN)
        arrays[key] = np.asarray(file[key][...])
    names, sizes, digests = arrays["names"].tobytes(), arrays["sizes"], arrays["sha256"]
    if digest_index(names, sizes, digests) != header["index_sha256"]:
        raise DataError(f"the pack {path} is damaged: its index does not have its checksum", _AGAIN)
    catalogue = None
    if catalogued:
        if file["catalogue"].nbytes > identity[2]:
            raise DataError(f"the pack {path} is damaged: 'catalogue' is longer than the file", _AGAIN)
        catalogue = np.asarray(file["catalogue"][...]).tobytes()
        if hashlib.sha256(catalogue).hexdigest() != header["catalogue_sha256"]:
            raise DataError(f"the pack {path} is damaged: its catalogue does not have its checksum", _AGAIN)
    entries = _entries(path, names, sizes, digests, header)
    return _Index(header, entries, digests, catalogue, int(start), identity)


def _read_header(path: Path, file: Any) -> dict[str, Any]:
    if HEADER not in file.attrs:
        raise DataError(f"{path} is an HDF5 file, but no pack", "Give a file made by `mtdense data prepare`.")
    try:
        header = json.loads(file.attrs[HEADER])
    except RecursionError as error:
        raise DataError(f"the pack {path} has a damaged header", _AGAIN) from error
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise DataError(f"the pack {path} has a damaged header", _AGAIN)
    if header["format"] not in _READABLE:
        raise DataError(
            f"the pack {path} is of format {header['format']}, this version reads {_READABLE[0]} to {PACK_FORMAT}",
            "Prepare it anew, or use the version of mtdense that wrote it.",
        )
    kinds = {"codec": str, "dataset": str, "version": str, "bytes": int, "entries": int, "index_sha256": str}
    wrong = [key for key, kind in kinds.items() if not isinstance(header.get(key), kind)]
    if wrong or header["codec"] not in CODECS:
        raise DataError(f"the pack {path} has a damaged header ({', '.join(wrong) or 'codec'})", _AGAIN)
    return header


def _check_stored(path: Path, file: Any, key: str) -> None:
    if key not in file:
        raise DataError(f"the pack {path} has no {key!r}", _AGAIN)
    link, found = file.get(key, getlink=True), file[key]
    # A link or an external part would make us read some other file.
    if not isinstance(link, h5py.HardLink) or not isinstance(found, h5py.Dataset):
        raise DataError(f"the pack {path} is damaged: {key!r} is no array of this file", _AGAIN)
    if found.external or found.is_virtual:
        raise DataError(f"the pack {path} is damaged: {key!r} lies in another file", _AGAIN)


def _entries(
    path: Path, names: bytes, sizes: npt.NDArray[np.int64], digests: npt.NDArray[np.uint8], header: dict[str, Any]
) -> dict[str, Entry]:
    listed = names.decode("utf-8").split("\n") if names else []
    counts = {len(listed), len(sizes), len(digests), header["entries"]}
    if len(counts) > 1 or digests.shape[1:] != (32,):
        raise DataError(f"the pack {path} is damaged: names, sizes and checksums differ in number", _AGAIN)
    if (sizes < 0).any() or sum(sizes.tolist()) != header["bytes"]:
        raise DataError(f"the pack {path} is damaged: sizes do not add up to its content", _AGAIN)
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist() if len(sizes) else []
    entries = {
        name: Entry(number, offset, size)
        for number, (name, offset, size) in enumerate(zip(listed, offsets, sizes.tolist(), strict=True))
    }
    if len(entries) != len(listed):
        raise DataError(f"the pack {path} is damaged: it names an entry twice", _AGAIN)
    unsafe = next((name for name in listed if not is_entry_name(name)), None)
    if unsafe is not None:
        raise DataError(f"the pack {path} is damaged: {unsafe!r} is no relative path", _AGAIN)
    return entries


def _identity(stream: BinaryIO | Any) -> tuple[int, int, int]:
    """File number, time of change and size."""
    facts = os.fstat(stream.fileno())
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def _detail(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
