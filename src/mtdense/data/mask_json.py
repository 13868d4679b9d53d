"""Our own file format of label masks: JSON with a header that proves it, one image a line."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mtdense.core.errors import DataError
from mtdense.data.label_masks import LabelMask

__all__ = ["MASK_FORMAT", "parse_mask_json", "write_label_mask"]

MASK_FORMAT = "mtdense-label-mask"
"""Value of `format` in the header."""

_VERSION = 1

_AGAIN = "Copy it again, or make it again with `mtdense data mask`."


def write_label_mask(
    path: str | Path, mask: LabelMask, *, dataset: str, setting: str, seed: int | None, overwrite: bool = False
) -> None:
    """Writes a label mask as JSON, whole or not at all.

    Header: `format`, `version`, `dataset`, `tasks` (in order), `setting`, `seed`, `counts` ({task: labelled images}),
    `images` (their number), `ids_sha256` (of the ids in order, joined by line feeds) and `checksum`
    (`LabelMask.checksum`). Then `labels`: {image id: tasks whose label may be used}.

    Args:
        path: File to write, ending in .json; parent folders are made.
        mask: The mask.
        dataset: Name of the data set it is of.
        setting: Label setting it was drawn by.
        seed: Seed it was drawn with, if any.
        overwrite: Replace an existing file.

    Raises:
        DataError: The file exists, does not end in .json, or cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise DataError(f"label mask {path} would be JSON under another name", "Let the file's name end in .json.")
    header = {
        "format": MASK_FORMAT,
        "version": _VERSION,
        "dataset": dataset,
        "tasks": list(mask.tasks),
        "setting": setting,
        "seed": None if seed is None else int(seed),
        **_proofs(mask),
    }
    rows = ((name, mask.tasks_of(i)) for i, name in enumerate(mask.ids))
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in header.items()]
    labels = [f"    {json.dumps(name)}: {json.dumps([t for t in mask.tasks if t in row])}" for name, row in rows]
    text = "\n".join(["{", *lines, '  "labels": {', ",\n".join(labels), "  }", "}", ""])
    try:
        if path.exists() and not overwrite:
            raise DataError(
                f"label mask {path} exists",
                "Choose another name, or say `--overwrite` (from Python: `overwrite=True`).",
            )
        _replace(path, text)
    except OSError as error:
        problem = f"label mask {path} cannot be written ({error.strerror})"
        raise DataError(problem, "Choose a place where files may be written.") from error


def _replace(path: Path, text: str) -> None:
    """Writes under another name in the same folder and renames, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("x", encoding="ascii", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _proofs(mask: LabelMask) -> dict[str, Any]:
    """The part of the header that follows from the mask."""
    ids = "\n".join(mask.ids).encode("utf-8", "surrogatepass")
    return {
        "counts": mask.counts(),
        "images": len(mask.ids),
        "ids_sha256": hashlib.sha256(ids).hexdigest(),
        "checksum": mask.checksum(),
    }


def parse_mask_json(path: Path, text: str, dataset: str | None) -> LabelMask:
    """Parses our JSON and holds its labels against its header.

    Args:
        path: The file, for errors.
        text: Its content.
        dataset: Name of the data set it must have been made for; None: any.

    Returns:
        The mask over all images and tasks of the file.

    Raises:
        DataError: Damaged, changed, of another format, version or data set.
    """
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        _fail(path, f"is damaged ({str(error)[:120]})", _AGAIN)
    if not isinstance(content, dict) or content.get("format") != MASK_FORMAT:
        _fail(path, f'is JSON, but not of the format "{MASK_FORMAT}"', "Use a file of `mtdense data mask`.")
    if content.get("version") != _VERSION:
        found = _short(content.get("version"))
        _fail(path, f"has version {found}, this mtdense reads version {_VERSION}", "Update mtdense.")
    if dataset is not None and content.get("dataset") != dataset:
        _fail(
            path,
            f"was made for the data set {_short(content.get('dataset'))}, not for {json.dumps(dataset)}",
            f"Use a mask of {dataset}, or make one with `mtdense data mask`.",
        )
    mask = _mask(path, content)
    differs = [
        f"{key} ({_short(content.get(key))} in the header, {_short(value)} by the labels)"
        for key, value in _proofs(mask).items()
        if content.get(key) != value
    ]
    if differs:
        _fail(path, f"was changed or damaged: header and labels differ in {', '.join(differs)}", _AGAIN)
    return mask


def _fail(path: Path, problem: str, mend: str) -> NoReturn:
    raise DataError(f"label mask {path} {problem}", mend)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise ValueError(f"{key[:60]!r} occurs {count} times")
    return dict(pairs)


def _short(value: object) -> str:
    """A value of the file, if it is one that a message can show."""
    flat = value is None or isinstance(value, str | int | float)
    if isinstance(value, dict | list):
        flat = all(isinstance(item, str | int) for item in (value.values() if isinstance(value, dict) else value))
    text = json.dumps(value) if flat else f"a {type(value).__name__}"
    return text if len(text) <= 120 else text[:120] + "…"


def _mask(path: Path, content: Mapping[str, Any]) -> LabelMask:
    tasks, labels = content.get("tasks"), content.get("labels")
    if not isinstance(tasks, list) or not _are_names(tasks) or not isinstance(labels, dict):
        _fail(path, "lacks its list of tasks or its labels", _AGAIN)
    for name, row in labels.items():
        if not isinstance(row, list) or not _are_names(row) or not set(row) <= set(tasks):
            _fail(
                path,
                f"has {_short(row)} for image {name[:60]!r}, which is no list of its tasks ({', '.join(tasks)})",
                "Give every image a list of the tasks whose label it may show.",
            )
    table = np.array([[task in row for task in tasks] for row in labels.values()], dtype=np.bool_)
    return LabelMask(tuple(labels), tuple(tasks), table.reshape(len(labels), len(tasks)))


def _are_names(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values) and len(set(values)) == len(values)
