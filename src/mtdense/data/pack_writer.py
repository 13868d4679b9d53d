"""Writing packs so that an interruption costs little and never leaves a file that looks finished.

Beside FILE.h5 lies a folder FILE.h5.parts while work goes on:

```
journal.jsonl     first line: the plan; then a line for each part that is done, with its entries and their checksums
part-000012       a part: its entries one after another; written under another name, then renamed
assembled         the pack, while it is put together
lock              held by the process at work
```

The journal's lines count only when they are whole. When all parts are there they are put together in their order,
every checksum is verified on the way, and the pack is flushed to the disk, opened as a reader would, and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader, Dataset

from mtdense import __version__
from mtdense.core.errors import DataError
from mtdense.core.progress import track
from mtdense.data.pack import HEADER, PACK_FORMAT, Pack, digest_index
from mtdense.data.pack_journal import Journal, PartRecord, locked, part_name
from mtdense.data.pack_work import PackWork

__all__ = ["PackReport", "parts_folder", "write_pack"]

_PIECE = 4 << 20


@dataclass(frozen=True)
class PackReport:
    """What was written, and how fast.

    Args:
        path: The pack.
        header: Its header.
        size: Its length in bytes.
        images: Number of images.
        original_bytes: Length of the files that it was made from.
        parts: Number of parts.
        parts_before: Parts that were there from an earlier, interrupted run.
        seconds: Time that this run took; 0 where there was nothing left to do.
    """

    path: Path
    header: dict[str, Any]
    size: int
    images: int
    original_bytes: int
    parts: int
    parts_before: int
    seconds: float

    @property
    def images_per_second(self) -> float | None:
        """Images that this run packed, per second; None where it packed none."""
        done = self.images * (self.parts - self.parts_before) / max(self.parts, 1)
        return done / self.seconds if done and self.seconds else None


def parts_folder(out: Path) -> Path:
    """Folder of work in progress, beside the pack."""
    return out.with_name(out.name + ".parts")


def write_pack(work: PackWork, out: Path, *, workers: int = 1, overwrite: bool = False) -> PackReport:
    """Writes a pack, or goes on where an interrupted run of the same plan stopped.

    A finished pack of the same plan is left as it is.

    Args:
        work: What goes into it.
        out: File to write.
        workers: Processes that read and decode; 1: this one.
        overwrite: Replace a file that is there; until the new one is finished it stays.

    Raises:
        DataError: There is another file or another plan's work, another process is at work, the disk is full, or the
            data cannot be read.
    """
    plan = work.plan()
    digest = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
    folder = parts_folder(out)
    started = time.perf_counter()
    try:
        if out.exists() and not overwrite:
            header = _finished(out, digest)
            if folder.is_dir():
                with locked(folder):
                    _clear(folder)
            return _report(work, out, header, work.parts, 0.0)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            journal = Journal.open(folder, digest, plan, datetime.now(UTC).isoformat(timespec="seconds"))
            before = len(journal.done)
            _make_parts(work, journal, workers)
            _assemble(work, journal, out, plan, digest)
            _clear(folder)
    except OSError as error:
        raise DataError(
            f"{out} cannot be written ({error})",
            f"Free space or correct permissions, and run the same command again: it goes on from {folder}.",
        ) from error
    return _report(work, out, Pack(out).header, before, time.perf_counter() - started)


def _report(work: PackWork, out: Path, header: dict[str, Any], before: int, seconds: float) -> PackReport:
    return PackReport(out, header, out.stat().st_size, work.images, work.original_bytes, work.parts, before, seconds)


def _finished(out: Path, digest: str) -> dict[str, Any]:
    """Header of a finished pack of the same plan."""
    try:
        header = Pack(out).header
    except DataError:
        header = {}
    if header.get("plan_sha256") != digest:
        raise DataError(
            f"{out} exists, and is no pack of the same data and options", "Choose another name, or add --overwrite."
        )
    return header


# ---- parts -----------------------------------------------------------------------------------------------------------
class _Parts(Dataset[PartRecord]):
    """Makes a part when it is asked for it."""

    def __init__(self, work: PackWork, folder: Path) -> None:
        self.work = work
        self.folder = folder

    def __getitem__(self, part: int) -> PartRecord:
        return _make_part(self.work, self.folder, part)


def _make_parts(work: PackWork, journal: Journal, workers: int) -> None:
    missing = [part for part in range(work.parts) if part not in journal.done]
    label = f"Packing ({work.codec})"
    if workers <= 1 or len(missing) <= 1:
        for part in track(missing, label):
            journal.append(_make_part(work, journal.folder, part))
        return
    # The loader sees to workers that die and to errors in them, and hands parts over in their order.
    loader = DataLoader(
        _Parts(work, journal.folder),
        sampler=missing,
        batch_size=None,
        collate_fn=_same,
        num_workers=min(workers, len(missing)),
    )
    try:
        for record in track(loader, label, total=len(missing)):
            journal.append(record)
    except RuntimeError as error:
        raise DataError(
            f"a worker process ended unexpectedly ({' '.join(str(error).split())})",
            "Run the same command again, with fewer workers if memory was short.",
        ) from error


def _same(record: Any) -> Any:
    return record


def _make_part(work: PackWork, folder: Path, part: int) -> PartRecord:
    # A name of its own: a worker of a killed run may still be writing the same part.
    path, draft = folder / part_name(part), folder / f"draft-{part:06d}-{os.getpid()}"
    writer = _PartWriter()
    with draft.open("wb") as writer.stream:
        facts = work.produce(part, writer.add)
        _sync(writer.stream)
    draft.replace(path)
    return PartRecord(part, writer.finish(), facts)


class _PartWriter:
    """Writes entries one after another and takes their checksums."""

    stream: BinaryIO

    def __init__(self) -> None:
        self.entries: list[tuple[str, int, str]] = []
        self._name: str | None = None
        self._size = 0
        self._digest = hashlib.sha256()

    def add(self, name: str, content: bytes | memoryview) -> None:
        if name != self._name:
            self.finish()
            self._name, self._size, self._digest = name, 0, hashlib.sha256()
        self._digest.update(content)
        self._size += len(content)
        self.stream.write(content)

    def finish(self) -> list[tuple[str, int, str]]:
        if self._name is not None:
            self.entries.append((self._name, self._size, self._digest.hexdigest()))
            self._name = None
        return self.entries


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


# ---- the whole -------------------------------------------------------------------------------------------------------
def _assemble(work: PackWork, journal: Journal, out: Path, plan: dict[str, Any], digest: str) -> None:
    records = [journal.done[part] for part in range(work.parts)]
    entries = [entry for record in records for entry in record.entries]
    names = "\n".join(name for name, _, _ in entries).encode()
    if len({name for name, _, _ in entries}) != len(entries):
        raise DataError("two entries would have one name", "Give each image an id of its own.")
    sizes = np.array([size for _, size, _ in entries], dtype=np.int64)
    digests = np.frombuffer(bytes.fromhex("".join(of for _, _, of in entries)), dtype=np.uint8).reshape(-1, 32)
    catalogue = work.catalogue([record.facts for record in records])
    header = {
        "format": PACK_FORMAT,
        **{key: plan[key] for key in ("codec", "dataset", "version", "source")},
        "created": journal.created,
        "made_by": f"mtdense {__version__}, h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}",
        "platform": platform.platform(terse=True),
        "images": work.images,
        "entries": len(entries),
        "bytes": int(sizes.sum()),
        "original_bytes": work.original_bytes,
        "plan_sha256": digest,
        "index_sha256": digest_index(names, sizes, digests),
        "catalogue_sha256": None if catalogue is None else hashlib.sha256(catalogue).hexdigest(),
    }
    target = journal.folder / "assembled"
    start = _write_frame(target, header, names, sizes, digests, catalogue)
    with target.open("r+b") as stream:
        stream.seek(start)
        for record in track(records, "Assembling"):
            _copy_part(journal.folder, record, stream)
        _sync(stream)
    _ = Pack(target).header  # opened as a reader would: a fault shows before the name says that it is finished
    target.replace(out)
    _sync_folder(out.parent)


def _write_frame(
    target: Path,
    header: dict[str, Any],
    names: bytes,
    sizes: npt.NDArray[np.int64],
    digests: npt.NDArray[np.uint8],
    catalogue: bytes | None,
) -> int:
    """Writes all but the content, for which it leaves space; returns where that begins."""
    # This layout has checksums over HDF5's own structures, and is read by HDF5 1.10 and later.
    with h5py.File(target, "w", libver=("v110", "v110")) as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.CONTIGUOUS)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        properties.set_obj_track_times(False)
        space = h5py.h5s.create_simple((header["bytes"],))
        content = h5py.h5d.create(file.id, b"content", h5py.h5t.STD_U8LE, space, properties)
        start = int(content.get_offset())
        arrays: dict[str, npt.NDArray[Any]] = {"names": np.frombuffer(names, dtype=np.uint8)}
        arrays |= {"sizes": sizes.astype("<i8"), "sha256": digests}
        if catalogue is not None:
            arrays["catalogue"] = np.frombuffer(catalogue, dtype=np.uint8)
        for key, array in arrays.items():
            file.create_dataset(key, data=array, track_times=False)
        file.attrs[HEADER] = json.dumps(header, ensure_ascii=False)
    return start


def _copy_part(folder: Path, record: PartRecord, target: BinaryIO) -> None:
    path = folder / part_name(record.part)
    with path.open("rb") as stream:
        for name, size, expected in record.entries:
            digest, left = hashlib.sha256(), size
            while left and (piece := stream.read(min(left, _PIECE))):
                digest.update(piece)
                target.write(piece)
                left -= len(piece)
            if left or digest.hexdigest() != expected:
                path.unlink()
                raise DataError(
                    f"{path} was damaged since it was written (entry {name!r})",
                    "Check the disk, and run the same command again: this part is made anew.",
                )


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _clear(folder: Path) -> None:
    """Removes our own files, the journal last, and the folder if nothing else is in it."""
    ours = ("part-", "draft-", "assembled", "journal", "lock")
    for prefix in ours:
        for path in list(_beginning(folder, prefix)):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _beginning(folder: Path, prefix: str) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.name.startswith(prefix))
