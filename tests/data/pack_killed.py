"""Packings that are killed at chosen moments, in children of this process.

Operations are: to write, to flush to the disk, to rename, to delete. A child can be killed (SIGKILL) at any of them; at
a writing half of the bytes go out first. FILE.moments gets a line for each kill: number and kind of the operation, and
its file. FILE.result: how many parts the last child found done, and its number of operations.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from mtdense.data import pack_work
from mtdense.data.nyud.atrc import LABEL_FOLDERS, NYUDAtrcDataset
from mtdense.data.pack import Pack
from mtdense.data.pack_work import PackWork, RawWork, SourceWork, find_files, fingerprint
from mtdense.data.pack_writer import write_pack


class Stream:
    """A file opened for writing whose writes are counted."""

    def __init__(self, stream: Any, killer: Killer) -> None:
        self.stream = stream
        self.killer = killer

    def write(self, content: Any) -> int:
        self.killer.at("write", self.stream.name, lambda: self.stream.write(bytes(content)[: len(content) // 2]), self)
        return int(self.stream.write(content))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()


class Killer:
    """Counts operations, and kills this process at one of them."""

    def __init__(self, moment: int | None, log: Path) -> None:
        self.moment = moment
        self.log = log
        self.count = 0
        self.process = os.getpid()
        path_open, replace, unlink, fsync = Path.open, Path.replace, Path.unlink, os.fsync

        def opened(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            stream = path_open(path, mode, *arguments, **options)
            return Stream(stream, self) if set(mode) & set("wa+") and path != log else stream

        def replaced(path: Path, target: Path) -> Path:
            self.at("replace", path)
            return replace(path, target)

        def unlinked(path: Path, *arguments: Any, **options: Any) -> None:
            self.at("unlink", path)
            unlink(path, *arguments, **options)

        def synced(handle: int) -> None:
            self.at("fsync", handle)
            fsync(handle)

        Path.open, Path.replace, Path.unlink, os.fsync = opened, replaced, unlinked, synced  # type: ignore[method-assign, assignment]

    def at(self, kind: str, what: object, half: Any = None, stream: Any = None) -> None:
        if os.getpid() != self.process:  # a worker
            return
        self.count += 1
        if self.count != self.moment:
            return
        if half is not None:
            half()
            stream.flush()
        with open(self.log, "a") as log:  # noqa: PTH123 - Path.open is replaced
            log.write(f"{self.count} {kind} {what}\n")
        os.kill(self.process, signal.SIGKILL)


def work_of(root: Path, codec: str) -> PackWork:
    datasets = {split: NYUDAtrcDataset(root, split) for split in ("train", "test")}
    files, _ = find_files(root)
    if codec == "source":
        return SourceWork(files, dataset="nyud_atrc", version=datasets["train"].version, source="here", images=3)
    facts: dict[str, Any] = {"dataset": "nyud_atrc", "source": "here", "sources": fingerprint(root)}
    return RawWork(datasets, list(LABEL_FOLDERS), {}, original_bytes=1, **facts)


def run_once(root: Path, out: Path, codec: str, workers: int, moment: int | None) -> None:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # Small parts, so that a small data set has several.
            pack_work._PART_FILES, pack_work._PART_IMAGES = 5, 1
            killer = Killer(moment, out.with_name(out.name + ".moments"))
            report = write_pack(work_of(root, codec), out, workers=workers)
            with open(f"{out}.result", "w") as result:  # noqa: PTH123
                result.write(f"{report.parts_before} {killer.count}")
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == (0 if moment is None else -signal.SIGKILL), (out, moment, status)
    if moment is not None and out.exists():  # then it must be whole
        pack = Pack(out)
        for name in pack.entries:
            pack.read(name)


def result_of(out: Path) -> tuple[int, int]:
    """Parts found done by the last child, and its number of operations."""
    before, count = Path(f"{out}.result").read_text().split()
    return int(before), int(count)


def moments_of(out: Path) -> list[list[str]]:
    """Number, kind and file of the operations at which children were killed."""
    return [line.split(maxsplit=2) for line in Path(f"{out}.moments").read_text().splitlines()]
