"""A checkpoint file is whole or not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mtdense.core.errors import CheckpointError
from mtdense.training.checkpoint_io import AtomicCheckpointIO, check_file


def test_a_failed_save_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "last.ckpt"
    plugin = AtomicCheckpointIO()
    plugin.save_checkpoint({"step": 1}, path)

    def full(content: Any, stream: Any) -> None:
        stream.write(b"half")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(CheckpointError, match=r"(?s)not be saved: no space.*earlier file is there as"):
            plugin.save_checkpoint({"step": 2}, path)
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    assert plugin.load_checkpoint(path, weights_only=True) == {"step": 1}


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt.unfinished").write_bytes(b"half")
    AtomicCheckpointIO().save_checkpoint({"step": 3}, tmp_path / "last.ckpt")
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_storage_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="storage_options"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "x.ckpt", storage_options={})


@pytest.mark.parametrize("limit", ["dev_full", pytest.param("file_size", marks=pytest.mark.slow)])
def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path, limit: str) -> None:
    path, plugin = tmp_path / "last.ckpt", AtomicCheckpointIO()
    plugin.save_checkpoint({"step": 1, "weights": torch.ones(1000)}, path)
    before = path.read_bytes()
    if limit == "dev_full":
        # A device that is always full: the system's own error, in torch's own writer.
        (tmp_path / "last.ckpt.unfinished").symlink_to("/dev/full")
        with pytest.raises(CheckpointError, match=r"(?s)last.ckpt could not be saved.*three checkpoints"):
            plugin.save_checkpoint({"step": 2, "weights": torch.ones(100_000)}, path)
    else:
        code = (
            "import mtdense, resource, torch; from mtdense.training.checkpoint_io import AtomicCheckpointIO\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
            f"AtomicCheckpointIO().save_checkpoint({{'step': 2, 'weights': torch.ones(100_000)}}, {str(path)!r})"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.returncode == 1
        assert f"{path} could not be saved: [Errno 27] File too large" in done.stderr
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert plugin.load_checkpoint(path, weights_only=True)["step"] == 1


def test_damage_is_seen_wherever_it_is(tmp_path: Path) -> None:
    path, plugin = tmp_path / "last.ckpt", AtomicCheckpointIO()
    content = {"step": 7, "words": ["a", 1.5], "weights": torch.arange(600.0)}
    plugin.save_checkpoint(content, path)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged"):
            plugin.load_checkpoint(path, weights_only=True)
    seen = 0
    # A bit in every place: found out, or of no consequence (padding, dates in the archive's headers).
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            read = plugin.load_checkpoint(path, weights_only=True)
        except Exception:  # torch's own, where what is left is no archive of torch any more
            seen += 1
            continue
        assert torch.equal(read.pop("weights"), content["weights"]), place
        assert read == {"step": 7, "words": ["a", 1.5]}, place
    assert seen > 600 * 4 / 3
    path.write_bytes(whole)
    check_file(path)
