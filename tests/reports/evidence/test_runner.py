"""Programs side by side: how they are started, and how they end when something goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import mtdense.reports.evidence.runner as runner
from mtdense.core.errors import ConfigError
from mtdense.reports.evidence import sole_use
from mtdense.reports.evidence.runner import Job, run_jobs

# A training as the runner sees it: says that it has begun, and saves when it is interrupted.
TRAINING = """
import pathlib, sys, time
place = pathlib.Path({!r})
try:
    (place / "{name}.begun").touch()
    time.sleep(60)
except KeyboardInterrupt:
    (place / "{name}.saved").touch()
    sys.exit(1)
"""
STUBBORN = """
import pathlib, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
(pathlib.Path({!r}) / "{name}.begun").touch()
time.sleep(60)
"""


def job(place: Path, name: str, code: str = TRAINING, **options: Any) -> Job:
    text = code.format(str(place), name=name)
    return Job(name, [("fit", lambda: [sys.executable, "-S", "-c", text])], place / f"{name}.log", **options)


def failing(place: Path, name: str, error: BaseException, after: Sequence[str] = ()) -> Job:
    """A job whose command cannot be made, once the named others have begun."""

    def command() -> list[str]:
        wait_for(*(place / f"{each}.begun" for each in after))
        raise error

    return Job(name, [("fit", command)], place / f"{name}.log")


def wait_for(*paths: Path) -> None:
    end = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert time.monotonic() < end, f"never came: {paths}"
        time.sleep(0.02)


def later(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def is_free(folder: Path) -> bool:
    """Whether no program that inherited the lock lives."""
    try:
        with sole_use(folder):
            return True
    except ConfigError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_program_starts_leaves_none_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    start, started = runner._start, list[subprocess.Popen[bytes]]()

    def interrupted_start(*arguments: Any) -> subprocess.Popen[bytes]:
        started.append(start(*arguments))
        if len(started) == 2:
            os.kill(os.getpid(), number)  # the program lives, and nobody has been told of it
            time.sleep(0.01)
        return started[-1]

    monkeypatch.setattr(runner, "_start", interrupted_start)
    jobs = [job(tmp_path, name) for name in ("one", "two", "three")]
    try:
        with sole_use(tmp_path) as lock, pytest.raises(KeyboardInterrupt):
            run_jobs(jobs, 2, dict(os.environ), lambda line: None, lock)
        assert [process.poll() is None for process in started] == [False, False]
        assert is_free(tmp_path)
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_signal_after_the_last_program_is_not_lost(tmp_path: Path) -> None:
    last = Job(
        "last",
        [("fit", lambda: [sys.executable, "-S", "-c", ""])],
        tmp_path / "log",
        done=lambda what: os.kill(os.getpid(), signal.SIGTERM),
    )
    with pytest.raises(KeyboardInterrupt):
        run_jobs([last], 1, dict(os.environ), lambda line: None)


def test_a_second_signal_kills_at_once(tmp_path: Path) -> None:
    lines: list[str] = []

    def interrupt() -> None:
        wait_for(tmp_path / "one.begun")
        os.kill(os.getpid(), signal.SIGINT)
        while not lines:
            time.sleep(0.02)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = later(interrupt)
    clock = time.monotonic()
    with sole_use(tmp_path) as lock, pytest.raises(KeyboardInterrupt):
        run_jobs([job(tmp_path, "one", STUBBORN)], 1, dict(os.environ), lines.append, lock)
    thread.join()
    assert time.monotonic() - clock < 40 and is_free(tmp_path)
    # What is waited for is said.
    assert lines == ["Interrupted: waiting up to 120 s for one to save; Ctrl-C (again) kills ..."]


def test_the_grace_is_limited(tmp_path: Path) -> None:
    lines: list[str] = []
    jobs = [job(tmp_path, "one", STUBBORN), job(tmp_path, "two")]

    def interrupt() -> None:
        wait_for(tmp_path / "one.begun", tmp_path / "two.begun")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = later(interrupt)
    with sole_use(tmp_path) as lock, pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, 2, dict(os.environ), lines.append, lock, grace=3)
    thread.join()
    assert (tmp_path / "two.saved").exists() and is_free(tmp_path)
    assert lines == [
        "Interrupted: waiting up to 3 s for one, two to save; Ctrl-C (again) kills ...",
        "Killed, for still at work after 3 s (`--grace`): one.",
    ]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ConfigError("trial.json is damaged", "remove it.")]
)
def test_a_jobs_own_error_is_its_failure_alone(tmp_path: Path, error: Exception) -> None:
    lines: list[str] = []
    good = job(tmp_path, "good", "import time; time.sleep(1)  # {!r:.0} {name}")
    bad = failing(tmp_path, "bad", error)

    def done(what: str) -> None:
        raise error

    judged = job(tmp_path, "judged", "# {!r:.0} {name}", done=done)
    assert sorted(run_jobs([good, bad, judged], 3, dict(os.environ), lines.append)) == ["bad", "judged"]
    assert f"bad: fit could not be started: {error}" in lines
    assert f"judged: fit has ended, but: {error}" in lines
    assert any(line.startswith("good: fit, ") for line in lines)


@pytest.mark.parametrize("silent", [False, True])
def test_an_unknown_error_lets_the_others_save(tmp_path: Path, silent: bool) -> None:
    lines: list[str] = []

    def say(line: str) -> None:
        if silent:
            raise BrokenPipeError(32, "Broken pipe")
        lines.append(line)

    jobs = [job(tmp_path, "one"), failing(tmp_path, "bad", ZeroDivisionError("by zero"), after=["one"])]
    with sole_use(tmp_path) as lock, pytest.raises(ZeroDivisionError):
        run_jobs(jobs, 2, dict(os.environ), say, lock)
    assert (tmp_path / "one.saved").exists() and is_free(tmp_path)
    assert silent or lines == [
        "ZeroDivisionError: by zero: waiting up to 120 s for one to save; Ctrl-C (again) kills ..."
    ]


def test_an_ending_may_be_a_result(tmp_path: Path) -> None:
    lines, seen = list[str](), list[tuple[str, int]]()

    def lost(what: str, code: int) -> str | None:
        seen.append((what, code))
        return "diverged" if code == 3 else None

    jobs = [
        job(tmp_path, f"code{code}", f"raise SystemExit({code})  # {{!r:.0}} {{name}}", lost=lost) for code in (3, 4, 0)
    ]
    assert run_jobs(jobs, 1, dict(os.environ), lines.append) == ["code4"]
    assert seen == [("fit", 3), ("fit", 4)]
    assert lines[0].startswith("code3: fit, ") and lines[0].endswith(": diverged")


def test_one_session_at_a_time(tmp_path: Path) -> None:
    with sole_use(tmp_path) as lock:
        assert lock is not None
        with pytest.raises(ConfigError, match="is at work in"), sole_use(tmp_path):
            pass
        # A run that outlives its session holds the lock as well.
        orphan = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    try:
        with pytest.raises(ConfigError, match="is at work in"), sole_use(tmp_path):
            pass
    finally:
        orphan.communicate(b"\n")
    with sole_use(tmp_path):
        pass


def test_jobs_run_side_by_side(tmp_path: Path) -> None:
    def job(name: str, *codes: str) -> Job:
        steps = [(f"step {i}", lambda code=code: [sys.executable, "-S", "-c", code]) for i, code in enumerate(codes)]
        return Job(name, steps, tmp_path / name, lambda what: ended.append(f"{name} {what}"))

    ended: list[str] = []
    lines: list[str] = []
    # Each waits for the other's file.
    meet = (
        "import pathlib as p, time; a, b = p.Path({!r}), p.Path({!r}); a.touch()\nwhile not b.exists(): time.sleep(.01)"
    )
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    jobs = [
        job("one", meet.format(here, there), "print('second')"),
        job("two", meet.format(there, here), "import os; os.kill(os.getpid(), 9)", "print('never')"),
        job("three", "pass"),
    ]
    assert run_jobs(jobs, 2, dict(os.environ), lines.append) == ["two"]
    assert ended.count("two step 0") == 1 and "two step 2" not in ended
    assert {"one step 0", "one step 1", "three step 0"} <= set(ended)
    assert "second" in (tmp_path / "one").read_text()
    assert any(line.startswith("two: step 1 FAILED (signal 9)") for line in lines)
