"""Writing packs: what is in them, what is refused, and kills at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mtdense.core.errors import DataError
from mtdense.data import pack_work
from mtdense.data.nyud.atrc_writer import write_atrc_replica
from mtdense.data.pack import HEADER, Pack
from mtdense.data.pack_work import SourceWork, find_files
from mtdense.data.pack_writer import PackReport, parts_folder, write_pack
from mtdense.data.published import MANIFEST_NAME
from tests.data.pack_killed import moments_of, result_of, run_once


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_atrc_replica(tmp_path_factory.mktemp("atrc") / "data", train=2, test=1, size=(24, 32))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of some files, one of them empty."""
    folder = tmp_path / "data"
    for number, name in enumerate(["b/2.txt", "a/1.txt", "b/1.txt", "top", "a/empty"]):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * (100 * number if name != "a/empty" else 0))
    return folder


def source(folder: Path, **facts: Any) -> SourceWork:
    known = {"dataset": "set", "version": "set-1", "source": "here", "images": 2}
    return SourceWork(find_files(folder)[0], **{**known, **facts})


def written(folder: Path, out: Path, **options: Any) -> PackReport:
    return write_pack(source(folder), out, **options)


def content(out: Path) -> tuple[Any, ...]:
    """All that must not depend on how often the work was interrupted."""
    pack = Pack(out)
    header = {key: value for key, value in pack.header.items() if key != "created"}
    with h5py.File(out) as file:
        return (
            header,
            file["content"][...].tobytes(),
            {key: bytes(pack.read(key)) for key in pack.entries},
            file["sha256"][...].tobytes(),
        )


def test_a_pack_has_every_byte(files: Path, tmp_path: Path) -> None:
    report = written(files, tmp_path / "new" / "x.h5")
    pack = Pack(report.path)
    assert list(pack.entries) == ["a/1.txt", "b/1.txt", "b/2.txt", "a/empty", "top"]  # an image's files together
    for name in pack.entries:
        assert bytes(pack.read(name)) == (files / name).read_bytes()
    header = pack.header
    assert (header["codec"], header["dataset"], header["version"]) == ("source", "set", "set-1")
    assert header["bytes"] == header["original_bytes"] == report.original_bytes == 600 and header["entries"] == 5
    assert report.parts_before == 0 and report.images_per_second is not None
    assert [path.name for path in report.path.parent.iterdir()] == ["x.h5"]


def test_others_can_read_it_with_hdf5_alone(files: Path, tmp_path: Path) -> None:
    """As docs/packs.md says."""
    out = written(files, tmp_path / "x.h5").path
    with h5py.File(out) as file:
        names = file["names"][...].tobytes().decode().split("\n")
        stops = np.cumsum(file["sizes"])
        number = names.index("b/2.txt")
        stored = file["content"][stops[number] - file["sizes"][number] : stops[number]].tobytes()
        assert json.loads(file.attrs[HEADER])["format"] == 2
    assert stored == (files / "b" / "2.txt").read_bytes()


def test_a_finished_pack_is_left_alone(files: Path, tmp_path: Path) -> None:
    out = written(files, tmp_path / "x.h5").path
    before = out.stat()
    again = written(files, out)
    assert out.stat() == before and again.parts_before == again.parts and again.images_per_second is None
    (files / "top").write_bytes(b"other")
    with pytest.raises(DataError, match="exists, and is no pack of the same data"):
        written(files, out)
    assert written(files, out, overwrite=True).parts_before == 0
    assert bytes(Pack(out).read("top")) == b"other"
    (tmp_path / "photo.h5").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"photo\.h5 exists"):
        written(files, tmp_path / "photo.h5")
    assert (tmp_path / "photo.h5").read_bytes() == b"mine" and not parts_folder(tmp_path / "photo.h5").exists()


def test_workers_give_the_same(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_work, "_PART_FILES", 4)
    one, two = written(root, tmp_path / "1.h5").path, written(root, tmp_path / "2.h5", workers=2).path
    assert content(one) == content(two)


def broken_off(files: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that stopped before its second of five parts."""
    monkeypatch.setattr(pack_work, "_PART_FILES", 1)
    (files / "b" / "1.txt").rename(files / "hidden")
    with pytest.raises(DataError, match=r"1\.txt cannot be read"):
        work = source_of(files)
        write_pack(work, out)
    (files / "hidden").rename(files / "b" / "1.txt")


def source_of(files: Path) -> SourceWork:
    (files / "hidden").rename(files / "b" / "1.txt")
    work = source(files)
    (files / "b" / "1.txt").rename(files / "hidden")
    return work


def test_what_was_done_is_not_done_again(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "x.h5"
    broken_off(files, out, monkeypatch)
    assert not out.exists()
    first = parts_folder(out) / "part-000000"
    made = first.stat().st_mtime_ns
    journal = parts_folder(out) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"part": 1, "ent')  # as a kill may leave it
    seen: list[int] = []
    produce = SourceWork.produce
    monkeypatch.setattr(SourceWork, "produce", lambda self, part, add: (seen.append(part), produce(self, part, add))[1])
    assert first.stat().st_mtime_ns == made
    report = written(files, out)
    assert seen == [1, 2, 3, 4] and report.parts_before == 1 and not parts_folder(out).exists()
    assert content(out) == content(written(files, tmp_path / "y.h5").path)


def test_a_part_that_was_lost_or_damaged_is_made_again(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.h5"
    broken_off(files, out, monkeypatch)
    part = parts_folder(out) / "part-000000"
    part.write_bytes(b"?" * part.stat().st_size)
    with pytest.raises(DataError, match=r"part-000000 was damaged since it was written \(entry 'a/1\.txt'\)"):
        written(files, out)
    assert not out.exists()
    assert written(files, out).parts_before == 4
    assert bytes(Pack(out).read("a/1.txt")) == (files / "a" / "1.txt").read_bytes()


def test_work_on_other_data_is_not_mixed_in(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "x.h5"
    broken_off(files, out, monkeypatch)
    with pytest.raises(DataError, match=r"x\.h5\.parts holds work on other data or options \(different: version\)"):
        write_pack(source(files, version="set-2"), out)
    (parts_folder(out) / "journal.jsonl").write_bytes(b"{\n")
    with pytest.raises(DataError, match=r"journal\.jsonl is damaged"):
        written(files, out)


def test_one_process_at_a_time(files: Path, tmp_path: Path) -> None:
    folder = parts_folder(tmp_path / "x.h5")
    folder.mkdir()
    code = (
        "import fcntl, sys\n"
        f"lock = open({str(folder / 'lock')!r}, 'ab')\n"
        "fcntl.lockf(lock, fcntl.LOCK_EX)\nprint('ready', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"ready\n"
        with pytest.raises(DataError, match="another process is at work"):
            written(files, tmp_path / "x.h5")
        other.communicate()
    written(files, tmp_path / "x.h5")


def test_which_files_are_packed(files: Path, tmp_path: Path) -> None:
    for name in (".cache/x", ".hidden", "a/set.tgz", "old.h5", "set.zip"):
        (files / name).parent.mkdir(exist_ok=True)
        (files / name).touch()
    (files / "linked").symlink_to(files / "b")
    (files / "loop").symlink_to(files)
    found, left_out = find_files(files, leave=[files / "top"])
    assert [file.name for file in found] == ["a/1.txt", "b/1.txt", "b/2.txt", "a/empty"]
    assert left_out == ["old.h5", "set.zip", "a/set.tgz"]


@pytest.mark.parametrize("kind", ["file", "folder", "fifo", "missing", "newline", "bytes"])
def test_files_that_cannot_be_packed_are_named(files: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").touch()
    path = files / "a" / ("bad\nname" if kind == "newline" else "bad")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "newline":
        path.touch()
    elif kind == "bytes":
        os.close(os.open(os.fsencode(files / "a") + b"/bad\xff", os.O_CREAT))
    else:
        path.symlink_to({"file": tmp_path / "secret" / "key", "folder": tmp_path / "secret"}.get(kind, files / "gone"))
    with pytest.raises(DataError, match="bad"):
        find_files(files)


def test_a_file_that_changes_meanwhile_is_named(files: Path, tmp_path: Path) -> None:
    work = source(files)
    (files / "top").write_bytes(b"longer" * 100)
    with pytest.raises(DataError, match=r"top was changed meanwhile \(600 bytes, not 300\)"):
        write_pack(work, tmp_path / "x.h5")


def check_kills(root: Path, folder: Path, codec: str, shares: list[list[float]], workers: int = 1) -> list[str]:
    """Kills packings at shares of the way, and compares them with one left alone; returns the kinds of moments."""
    whole = folder / "whole.h5"
    run_once(root, whole, codec, workers, None)
    _, total = result_of(whole)
    kinds = []
    for number, some in enumerate(shares):
        out = folder / f"{number}.h5"
        for share in some:
            run_once(root, out, codec, workers, max(1, round(share * total)))
        run_once(root, out, codec, workers, None)
        log = moments_of(out)
        assert len(log) == len(some)
        assert content(out) == content(whole), log
        assert not parts_folder(out).exists()
        assert result_of(out)[0] > 0 or some[-1] < 0.5, "it began again"
        kinds += [kind for _, kind, _ in log]
    return kinds


@pytest.mark.parametrize("codec", ["source", "raw"])
def test_killed_and_resumed(root: Path, tmp_path: Path, codec: str) -> None:
    assert len(check_kills(root, tmp_path, codec, [[0.15], [0.3, 0.2, 0.5], [0.85]])) == 5


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "workers"), [("source", 1), ("raw", 1), ("raw", 2)])
def test_killed_at_twenty_moments(root: Path, tmp_path: Path, codec: str, workers: int) -> None:
    kinds = check_kills(root, tmp_path, codec, [[(i + 0.5) / 20] for i in range(20)], workers)
    # With workers only the first process is killed, and parts are renamed in the others.
    assert len(kinds) == 20 and {"write", "fsync", *(["replace"] if workers == 1 else [])} <= set(kinds)


class Fatal(SourceWork):
    """Its second part kills the process that makes it."""

    def produce(self, part: int, add: Any) -> None:
        if part == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        super().produce(part, add)


def test_a_worker_that_dies(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_work, "_PART_FILES", 1)
    out, facts = tmp_path / "x.h5", {"dataset": "set", "version": "set-1", "source": "here", "images": 2}
    with pytest.raises(DataError, match="a worker process ended unexpectedly"):
        write_pack(Fatal(find_files(files)[0], **facts), out, workers=2)  # type: ignore[arg-type]
    assert not out.exists()
    written(files, out, workers=2)
    assert content(out) == content(written(files, tmp_path / "y.h5").path)


def test_the_manifest_of_a_check_is_no_part_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"1")
    before = find_files(tmp_path)
    (tmp_path / MANIFEST_NAME).write_text("{}")
    assert find_files(tmp_path) == before
