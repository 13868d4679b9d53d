"""Writes exported networks."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from mtdense.core.errors import ConfigError
from mtdense.core.optional import require
from mtdense.reports.canonical import write_atomic
from mtdense.reports.export.module import ExportedModel, export_description

__all__ = ["DESCRIPTION", "FORMATS", "Dynamic", "Format", "write_export"]

Format = Literal["onnx", "torch_export"]
FORMATS: dict[Format, str] = {"onnx": ".onnx", "torch_export": ".pt2"}
Dynamic = Literal["none", "batch", "size"]

DESCRIPTION = "mtdense.json"
"""Name of the description in a torch.export file; key of ONNX's metadata: `mtdense`."""
_OPSET = 20
_LARGEST = 1_900_000_000


def write_export(
    exported: ExportedModel,
    path: Path,
    fmt: Format,
    size: Sequence[int],
    dynamic: Dynamic = "none",
    about: dict[str, Any] | None = None,
) -> None:
    """Traces the network on a grey image and writes it with its description.

    Args:
        exported: The network.
        path: File to write.
        fmt: "onnx" or "torch_export".
        size: Height and width of images.
        dynamic: What of the input's shape may vary: nothing, the "batch", or batch and "size".
        about: Further plain values for the description.

    Raises:
        ConfigError: The network cannot be traced or converted; says why.
        MissingDependencyError: ONNX without the packages of the extra `export`.
    """
    told = {**export_description(exported, size, dynamic), **(about or {})}
    text = json.dumps(told, sort_keys=True, ensure_ascii=False)
    if fmt == "onnx":
        # Before the long part.
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require(package, "export")
    exported.fix_noise(size)
    with _quiet():
        program = _traced(exported, size, dynamic)
        content = _onnx(program, exported, text) if fmt == "onnx" else _torch(program, text)
    write_atomic(path, content)


def _traced(exported: ExportedModel, size: Sequence[int], dynamic: Dynamic) -> torch.export.ExportedProgram:
    auto, static = torch.export.Dim.AUTO, torch.export.Dim.STATIC
    batch = static if dynamic == "none" else auto
    side = auto if dynamic == "size" else static
    # A batch of one would be taken for a constant.
    image = torch.full((1 if dynamic == "none" else 2, 3, *size), 0.5)
    try:
        with torch.no_grad():
            program = torch.export.export(exported, (image,), dynamic_shapes=((batch, static, side, side),))
    except Exception as error:  # the tracer raises nearly anything
        raise ConfigError(f"the network cannot be traced: {_first_line(error)}", _mend(dynamic)) from error
    shape = next(node for node in program.graph.nodes if node.name == "image").meta["val"].shape
    wanted = {"none": 0, "batch": 1, "size": 3}[dynamic]
    varying = sum(isinstance(length, torch.SymInt) for length in shape)
    if varying < wanted:
        raise ConfigError(f"the network fixes its input to {list(shape)} while it is traced", _mend(dynamic))
    return program


def _mend(dynamic: Dynamic) -> str:
    if dynamic == "none":
        return "docs/export.md lists which architectures can be exported."
    return "export it for one size: `--dynamic none`."


def _onnx(program: torch.export.ExportedProgram, exported: ExportedModel, text: str) -> bytes:
    try:
        # As it was traced: where gradients are asked for, attention lays its result out another way.
        with torch.no_grad():
            made = torch.onnx.export(
                program, (), input_names=["image"], output_names=list(exported.tasks), opset_version=_OPSET, dynamo=True
            )
    except Exception as error:  # as the tracer
        raise ConfigError(f"ONNX has no form for it: {_first_line(error)}", "use `--format torch_export`.") from error
    assert made is not None
    model = made.model_proto
    if model.ByteSize() > _LARGEST:
        raise ConfigError("the network is larger than the 2 GB of an ONNX file", "use `--format torch_export`.")
    entry = model.metadata_props.add()
    entry.key, entry.value = "mtdense", text
    content: bytes = model.SerializeToString()
    return content


def _torch(program: torch.export.ExportedProgram, text: str) -> bytes:
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files={DESCRIPTION: text})
    return stream.getvalue()


def _first_line(error: BaseException) -> str:
    """The innermost reason, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no reason given'}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporters' progress reports and advice to developers of exporters to themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
