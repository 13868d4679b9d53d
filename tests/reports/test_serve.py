"""The page of `mtdense serve`, by itself and in a browser."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtdense.core.errors import ConfigError, DataError
from mtdense.reports import serve
from mtdense.reports.predictor import Predictor
from tests.browser import Browser
from tests.checkpoints import SPECS, save_checkpoint, small_model
from tests.data.test_pictures import picture

Main = Callable[..., tuple[int, str]]


def test_an_uploaded_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(small_model(), tasks=["depth"])
    path = picture(tmp_path / "a.png", (200, 300))
    whole, tiled = (serve.predict_file(predictor, str(path), tile) for tile in (1, 3))
    assert len(whole.plan.tiles) == 1 and len(tiled.plan.tiles) > 4
    assert whole.values["depth"].shape == (200, 300)
    (tmp_path / "b.png").write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(DataError, match="cannot be decoded"):
        serve.predict_file(predictor, str(tmp_path / "b.png"), 1)
    monkeypatch.setattr(serve, "_MOST_PIXELS", 50_000)
    with pytest.raises(ConfigError, match="300x200 pixels"):
        serve.predict_file(predictor, str(path), 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("early", [False, True], ids=["running", "starting"])
def test_a_signal_ends_it_in_order(
    number: signal.Signals, early: bool, mtdense_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a page that, as the real one, waits for open connections unless told not to."""
    told: dict[str, Any] = {}

    class Page:
        is_running = True
        server = SimpleNamespace(force_exit=False)

        def close(self, verbose: bool) -> None:
            os.kill(os.getpid(), number)  # an impatient second one
            told.update(at_once=self.server.force_exit, folder_was=told["folder"].is_dir())

    def start(predictor: Predictor, port: int, most: float, folder: Path, *, browser: bool) -> tuple[Page, str]:
        told["folder"] = folder
        if early:
            os.kill(os.getpid(), number)
            time.sleep(0.1)
        else:
            threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
        return Page(), "http://127.0.0.1:1/"

    monkeypatch.setattr(serve, "start", start)
    before = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    checkpoint = save_checkpoint(small_model(), tmp_path / "last.ckpt")
    code, err = mtdense_main("serve", "--ckpt_path", checkpoint, "--device", "cpu")
    assert code == 0 and "Traceback" not in err, err
    assert told["at_once"] and told["folder_was"] and not told["folder"].exists()
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == before


_SWATCHES = "document.querySelectorAll('p > span > i').length"
_MAPS = """[...document.querySelectorAll('img')].filter(i => i.naturalWidth == 300 && i.naturalHeight == 200).length"""


def test_the_third_signal_ends_a_start_that_hangs() -> None:
    hangs = """
import signal
from mtdense.cli.serve import _signals_noted
with _signals_noted() as told:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.raise_signal(number)
    print(len(told), flush=True)
    signal.raise_signal(signal.SIGTERM)
    print("still there")
"""
    done = subprocess.run([sys.executable, "-c", hangs], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "2\n"), done.stderr


@pytest.mark.slow
def test_a_photograph_in_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back afterwards
    uploads = tmp_path / "uploads"
    specs = {**SPECS, "semseg": {"num_classes": 3}}
    photo = picture(tmp_path / "a.png", (200, 300))
    bad = tmp_path / "b<i>.png"
    bad.write_bytes(b"<svg onload=alert(1)>")
    with Browser(tmp_path / "profile") as browser:
        page, address = serve.start(Predictor(small_model(tasks=specs)), 0, 1.0, uploads)
        try:
            browser.open(address)
            browser.choose("input[type=file]", [photo])
            # The photograph as it was dropped, and with each of the four maps.
            browser.wait(f"{_SWATCHES} >= 8 && {_MAPS} == 9")
            said = browser.value("document.body.innerText")
            assert (
                all(name in said for name in specs)
                and re.search(r"class \d", said)
                and "classes of semseg have numbers" in said
            )
            browser.value("document.querySelector('button[aria-label=\"Remove Image\"]').click()")
            browser.wait(f"{_SWATCHES} == 0 && {_MAPS} == 0")
            browser.choose("input[type=file]", [bad])
            said = browser.wait("/cannot be decoded/.test(document.body.innerText) && document.body.innerText")
            assert "bi.png cannot be decoded" in said and str(uploads) not in said
            assert browser.value(_SWATCHES) == 0
            outside = [url for url in browser.asked_for if not url.startswith((address, "data:", "blob:", "about:"))]
            assert browser.asked_for and outside == []
        finally:
            serve.stop(page)


@pytest.mark.slow
def test_only_this_machine_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back afterwards
    predictor = Predictor(small_model())
    page, address = serve.start(predictor, 0, 1.0, tmp_path)
    try:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address) as answer:
            assert b"mtdense" in answer.read()
        port = int(address.rstrip("/").rpartition(":")[2])
        with socket.socket() as other, pytest.raises(OSError):
            other.settimeout(2)
            other.connect((socket.gethostbyname(socket.gethostname()), port))
            if other.getpeername()[0] == serve.LOOPBACK:
                raise OSError("this machine's name is the loopback address")
        large = tmp_path / "large.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8)).save(large)
        body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="l.png"\r\n\r\n' + large.read_bytes()
        request = urllib.request.Request(
            f"{address}gradio_api/upload",
            body + b"\r\n--x--\r\n",
            {"Content-Type": "multipart/form-data; boundary=x"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code == 413
        with pytest.raises(ConfigError, match="cannot be used"):
            serve.start(predictor, port, 1.0, tmp_path)
        with urllib.request.urlopen(f"{address}gradio_api/heartbeat/x") as tab:
            tab.read(1)  # as a page that is open in a browser
            serve.stop(page)
            assert not page.server.thread.is_alive()
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind((serve.LOOPBACK, port))
    finally:
        serve.stop(page)
