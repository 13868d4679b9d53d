"""The page of `mtdense serve`, made with Gradio."""

from __future__ import annotations

import logging
import os
import socket
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mtdense.core.errors import ConfigError, MTDenseError
from mtdense.core.optional import require
from mtdense.data.io import read_image
from mtdense.data.sample import RawImage
from mtdense.reports.picture_sheet import shrunk
from mtdense.reports.predictor import Predicted, Predictor, numbered_classes

__all__ = ["LOOPBACK", "predict_file", "start", "stop"]

LOOPBACK = "127.0.0.1"
_MOST_PIXELS = 24_000_000
_LONGEST = 1600
Picture = npt.NDArray[np.uint8]


def predict_file(predictor: Predictor, path: str, tile: float) -> Predicted:
    """Predicts on an uploaded file, with tiles where `tile` is above 1.

    Raises:
        MTDenseError: No picture, or one of more than 24 million pixels.
    """
    image = read_image(Path(path))
    if image.shape[0] * image.shape[1] > _MOST_PIXELS:
        raise ConfigError(
            f"the picture has {image.shape[1]}x{image.shape[0]} pixels, more than {_MOST_PIXELS // 10**6} million",
            "scale it down, or use `mtdense predict --images`.",
        )
    looking = Predictor(
        predictor.model,
        tasks=list(predictor.tasks),
        size=predictor.size,
        filled=predictor.filled,
        tile=tile if tile > 1 else None,
        overlap=predictor.overlap,
        batch_size=predictor.batch_size,
        device=str(predictor.device),
    )
    return looking(RawImage("photograph", image))


def start(
    predictor: Predictor, port: int, max_megabytes: float, folder: Path, *, browser: bool = False
) -> tuple[Any, str]:
    """Starts the server on the loopback address.

    Args:
        predictor: Predicts.
        port: Port; 0: any that is free.
        max_megabytes: Largest file taken.
        folder: Where uploaded files lie while the server runs; the caller's to remove.
        browser: Open the page.

    Returns:
        The running page, to be ended by `stop`, and its address.

    Raises:
        ConfigError: The port is taken, or a proxy stands between.
        MissingDependencyError: Without the packages of the extra `serve`.
    """
    # Before the import: no figures about its use leave the machine.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    gradio = require("gradio", "serve")
    port = port or _free_port()
    page = _page(gradio, predictor)
    try:
        _, address, _ = page.queue(max_size=8, default_concurrency_limit=1).launch(
            server_name=LOOPBACK,
            server_port=port,
            share=False,
            inbrowser=browser,
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=f"{round(max_megabytes * 1024)}kb",
            allowed_paths=[],
            footer_links=["gradio", "settings"],
            show_error=True,
        )
    except ValueError as error:
        stop(page)
        raise ConfigError(
            f"the page at {LOOPBACK}:{port} does not answer this machine itself: {error}",
            f"where a proxy is set, except this machine: `export NO_PROXY={LOOPBACK},localhost`; else try again.",
        ) from error
    except OSError as error:
        raise ConfigError(f"port {port} cannot be used: {error}", "`--port 0` takes one that is free.") from error
    return page, str(address)


def stop(page: Any) -> None:
    """Ends the server and frees its port, at once: a page that is open in a browser keeps a connection to it."""
    if page.server is not None:
        page.server.force_exit = True
    log = logging.getLogger("uvicorn.error")
    level = log.level
    # It would print where it was when it was ended.
    log.setLevel(logging.CRITICAL)
    try:
        page.close(verbose=False)
    finally:
        log.setLevel(level)


def _page(gradio: Any, predictor: Predictor) -> Any:
    names = list(predictor.tasks)
    height, width = predictor.size
    nothing: list[Any] = [None] * (2 * len(names))

    def predict(path: str | None, tile: float) -> list[Any]:
        if path is None:
            return nothing
        try:
            found = predict_file(predictor, path, tile)
        except MTDenseError as error:
            # No error of Gradio's: that would be written across each of the maps.
            told = str(error).replace(path, Path(path).name)
            gradio.Warning(escape(told).replace("\n", "<br>"), duration=None)
            return nothing
        pairs = [_shown(predictor, found, name) for name in names]
        return [part for pair in pairs for part in pair]

    with gradio.Blocks(title="mtdense", analytics_enabled=False, delete_cache=(600, 600)) as page:
        gradio.Markdown(
            f"# mtdense\nDrop a photograph: `{predictor.model.method}` predicts {', '.join(names)} "
            f"(it sees {height} × {width} pixels). Nothing leaves this machine."
            + (f"\n\n({numbered_classes(predictor.tasks)})" if numbered_classes(predictor.tasks) else "")
        )
        with gradio.Row():
            photo = gradio.Image(
                type="filepath", image_mode=None, label="photograph", sources=["upload", "clipboard"], height=360
            )
            # The file comes as it is, and is read, and refused, by our own reader.
            photo.preprocess = _path_of
            with gradio.Column():
                tile = gradio.Slider(1, 6, value=1, step=0.5, label="tiles: look this many times closer (1: whole)")
                button = gradio.Button("Predict", variant="primary")
        outputs: list[Any] = []
        for start_of_row in range(0, len(names), 2):
            with gradio.Row():
                for place in (start_of_row, start_of_row + 1):
                    with gradio.Column():  # an odd number leaves the last one empty
                        if place < len(names):
                            label = names[place].replace("_", " ")
                            outputs.append(gradio.ImageSlider(label=label, type="numpy", interactive=False))
                            outputs.append(gradio.HTML(label=f"colours of {label}"))
        for happening in (button.click, photo.upload, photo.clear):
            happening(predict, [photo, tile], outputs, api_visibility="private")
    return page


def _path_of(payload: Any) -> str | None:
    """The uploaded file, which Gradio has made sure of to lie in its own folder."""
    return None if payload is None else payload.path


def _shown(predictor: Predictor, found: Predicted, name: str) -> tuple[tuple[Picture, Picture], str]:
    """Photograph and colours for the slider, and what the colours mean."""
    task, values = predictor.tasks[name], found.values[name]
    entries = "".join(
        f'<span style="margin-right:1em"><i style="display:inline-block;width:.9em;height:.9em;border:1px solid #888;'
        f'background:rgb({r} {g} {b})"></i> {escape(text)}</span>'
        for text, (r, g, b) in task.legend(values)[:24]
    )
    return (_small(found.image), _small(task.draw(values))), f"<p>{entries}</p>"


def _small(picture: Picture) -> Picture:
    image: Image.Image = shrunk(picture, _LONGEST)
    return np.asarray(image, dtype=np.uint8)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
