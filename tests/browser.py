"""A Chromium without a window, driven through the pipe of its debugging protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


# The pipe's ends become the descriptors 3 and 4, whatever numbers they have.
_EXEC = """import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD_CLOEXEC, 10) for end in sys.argv[1:3]]
for place, end in enumerate(ends, start=3):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])"""


class Browser:
    """One page. Skips the test where no Chromium is installed.

    Args:
        folder: For its profile.
        size: Width and height of the page.
    """

    def __init__(self, folder: Path, size: tuple[int, int] = (1200, 900)) -> None:
        program = next((found for name in NAMES if (found := shutil.which(name))), None)
        if program is None:
            pytest.skip("needs Chromium or Chrome")
        their_read, self._write = os.pipe()
        self._read, their_write = os.pipe()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
        options += [f"--user-data-dir={folder}", f"--window-size={size[0]},{size[1]}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _EXEC, str(their_read), str(their_write), program, *options],
            pass_fds=(their_read, their_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_read)
        os.close(their_write)
        self._buffer, self._number, self._session = b"", 0, ""
        self.asked_for: list[str] = []
        """Addresses that the page asked for."""
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.do("Network.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._write)  # ends it
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)

    def do(self, method: str, **arguments: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        self._number += 1
        told = {"id": self._number, "method": method, "params": arguments}
        os.write(
            self._write,
            json.dumps({**told, **({"sessionId": self._session} if self._session else {})}).encode() + b"\0",
        )
        while True:
            answer = self._next()
            if answer.get("method") == "Network.requestWillBeSent":
                self.asked_for.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._read, 1 << 16)
            assert part, "the browser ended"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def value(self, script: str) -> Any:
        """Of a JavaScript expression."""
        return self.do("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait(self, script: str, seconds: float = 90.0) -> Any:
        """Until an expression is true: its value."""
        end = time.monotonic() + seconds
        while not (found := self.value(script)):
            assert time.monotonic() < end, f"{script}\n{self.value('document.body.innerText')}"
            time.sleep(0.1)
        return found

    def open(self, address: str) -> None:
        """Goes to a page."""
        self.do("Page.navigate", url=address)

    def choose(self, selector: str, files: Sequence[Path]) -> None:
        """Gives files to an input."""
        self.wait(f"document.querySelector({selector!r}) !== null")
        root = self.do("DOM.getDocument")["root"]["nodeId"]
        node = self.do("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.do("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in files])
