"""Label masks as files: our own JSON, and the published formats.

Recognised by content: our JSON (see `mtdense.data.mask_json`); `.pth` of `torch.save` and `.npy`, both holding either
`{"labels_weights": table}`, a bare table (images in published order by tasks), `{image id: row of 0 and 1}`, or
`{task: image ids}`; CSV with the header `id,task,...` and cells 0 or 1.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mtdense.core.errors import DataError
from mtdense.core.suggest import did_you_mean
from mtdense.core.words import counted
from mtdense.data.label_masks import BoolArray, LabelMask
from mtdense.data.mask_json import MASK_FORMAT, parse_mask_json, write_label_mask
from mtdense.data.mask_pickle import MAX_BYTES, load_npy, load_torch
from mtdense.tasks import label_names

__all__ = ["MASK_FORMAT", "TASK_ALIASES", "describe_label_mask", "read_label_mask", "write_label_mask"]

_TABLE_KEY = "labels_weights"

TASK_ALIASES: Mapping[str, str] = {
    "semantic": "semseg",
    "seg": "semseg",
    "segmentation": "semseg",
    "sem_seg": "semseg",
    "semantic_segmentation": "semseg",
    "parts": "human_parts",
    "part": "human_parts",
    "human_part": "human_parts",
    "humanparts": "human_parts",
    "sal": "saliency",
    "normal": "normals",
    "norm": "normals",
    "surface_normals": "normals",
    "edge": "edges",
    "boundary": "edges",
    "boundaries": "edges",
}
"""Names that other projects give our tasks, compared in lower case and with "_" for "-" and a space."""

_ANY_FORMAT = (
    "Give a file of `mtdense data mask`, a published .pth or .npy file, or a CSV file with the header `id,task,...`."
)


@dataclass(frozen=True)
class _Wanted:
    """What is read, and what the caller wants of it."""

    path: Path
    ids: tuple[str, ...]
    tasks: tuple[str, ...]
    columns: tuple[str, ...] | None

    def fail(self, problem: str, mend: str) -> NoReturn:
        raise DataError(f"label mask {self.path} {problem}", mend)


def read_label_mask(
    path: str | Path,
    ids: Sequence[str],
    tasks: Sequence[str],
    *,
    columns: Sequence[str] | None = None,
    dataset: str | None = None,
) -> LabelMask:
    """Reads a label mask of any known format. The file is not trusted: see `mtdense.data.mask_pickle`.

    Args:
        path: The file.
        ids: All training images of the data set as published, in published order (a table's rows follow it).
        tasks: Tasks asked for; the file may have more.
        columns: Our names of the columns of published tables and rows, for this data set; None: not known.
        dataset: Name of the data set; our JSON must have been made for it. None: not compared.

    Returns:
        The mask over exactly `ids` and `tasks`, in their orders.

    Raises:
        DataError: Missing, damaged, refused, of other images or another data set, with values other than 0 and 1,
            without one of the tasks, or without any label of one.
    """
    want = _Wanted(Path(path), tuple(ids), tuple(tasks), None if columns is None else tuple(columns))
    content = _read_bytes(want)
    if content.startswith(b"\x93NUMPY"):
        found, table = _from_object(want, load_npy(want.path, content))
    elif content.startswith((b"PK\x03\x04", b"\x80")):
        found, table = _from_object(want, load_torch(want.path, content))
    else:
        text = _decode(want, content)
        if text.lstrip()[:1] in ("{", "["):
            mask = parse_mask_json(want.path, text, dataset)
            _check_ids(want, mask.ids)
            found, table = list(mask.tasks), mask.select(want.ids).labelled
        elif want.path.suffix.lower() == ".csv" or text.split(",", 1)[0].strip() == "id":
            found, table = _from_csv(want, text)
        else:
            want.fail("has no known format", _ANY_FORMAT)
    return _select_tasks(want, found, table)


def _read_bytes(want: _Wanted) -> bytes:
    mend = "Correct the path (`--data.label_file`), or make a mask with `mtdense data mask`."
    try:
        if not want.path.is_file():
            want.fail("is no file" if want.path.exists() else "does not exist", mend)
        with want.path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        want.fail(f"cannot be read ({error.strerror})", "Give a readable file.")
    if not content:
        want.fail("is empty", "Copy or download it again.")
    if len(content) > MAX_BYTES:
        want.fail(f"has more than {MAX_BYTES} bytes, the limit for label masks", _ANY_FORMAT)
    return content


def _decode(want: _Wanted, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        want.fail("has no known format", _ANY_FORMAT)


def _select_tasks(want: _Wanted, found: Sequence[str], table: BoolArray) -> LabelMask:
    absent = [task for task in want.tasks if task not in found]
    if absent:
        want.fail(
            f"has no labels of {', '.join(absent)}; it has {', '.join(found)}",
            "Ask for its tasks only (`tasks`, `mask_tasks`), or use another mask.",
        )
    mask = LabelMask(want.ids, want.tasks, table[:, [found.index(task) for task in want.tasks]])
    without = [task for task, count in mask.counts().items() if count == 0]
    if without:
        want.fail(
            f"gives no image a label of {', '.join(without)}",
            "Take the task out of `tasks` (and `mask_tasks`), or use another mask.",
        )
    return mask


def _check_ids(want: _Wanted, found: Iterable[str], *, complete: bool = True) -> None:
    """Refuses ids that the data set does not have and, if `complete`, images that the file does not list."""
    listed, known = dict.fromkeys(found), dict.fromkeys(want.ids)
    unknown = [name for name in listed if name not in known]
    missing = [name for name in known if name not in listed] if complete else []
    if not unknown and not missing:
        return
    parts = [
        f"{len(names)} {what} ({_examples(names)})"
        for names, what in ((unknown, "unknown to the data set"), (missing, "missing from the file"))
        if names
    ]
    want.fail(
        f"lists {counted(len(listed), 'image')}, the data set has {len(known)}: {', '.join(parts)}",
        "Use the mask of this data set and this version of it, or restore the data set's published list of images.",
    )


def _examples(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:60]) for name in names[:3]) + (", …" if len(names) > 3 else "")


def _task(want: _Wanted, name: object) -> str:
    """Our name of a task."""
    ours = {*want.tasks, *(want.columns or ()), *label_names()}
    if not isinstance(name, str):
        want.fail(f"has a task name that is a {type(name).__name__}", _ANY_FORMAT)
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    for candidate in (name, plain):
        if candidate in ours:
            return candidate
        if candidate in TASK_ALIASES:
            return TASK_ALIASES[candidate]
    known = sorted({*ours, *TASK_ALIASES})
    want.fail(f"names an unknown task {name[:60]!r}", f"{did_you_mean(plain, known)}Known: {', '.join(known)}.")


def _tasks(want: _Wanted, names: Iterable[object]) -> list[str]:
    ours = [_task(want, name) for name in names]
    for task, count in Counter(ours).items():
        if count > 1:
            want.fail(f"has the task {task!r} {count} times, perhaps under two names", "Leave one of them.")
    return ours


def _bit(want: _Wanted, value: object, where: str) -> bool:
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    shown = repr(value[:20]) if isinstance(value, str) else type(value).__name__
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**9):
        shown = repr(value)
    want.fail(f"has {shown} for {where}", "Write 1 where the label may be used and 0 elsewhere.")


# ---- objects of .pth and .npy ----------------------------------------------------------------------------------------
def _from_object(want: _Wanted, content: object) -> tuple[list[str], BoolArray]:
    if isinstance(content, dict) and _TABLE_KEY in content:
        content = content[_TABLE_KEY]
    if isinstance(content, np.ndarray):
        return _from_table(want, content)
    if not isinstance(content, dict) or not content:
        want.fail(f"holds a {type(content).__name__} and no mask", _ANY_FORMAT)
    if any(isinstance(value, list | tuple) and value and isinstance(value[0], str) for value in content.values()):
        return _from_id_lists(want, content)
    return _from_id_rows(want, content)


def _columns(want: _Wanted, what: str) -> list[str]:
    if want.columns is None:
        want.fail(
            f"is {what} without task names, and the order of its columns is not known for this data set",
            "Write it as CSV with the header `id,task,...`, which names its columns.",
        )
    return list(want.columns)


def _from_table(want: _Wanted, array: np.ndarray[Any, Any]) -> tuple[list[str], BoolArray]:
    columns = _columns(want, "a table")
    if array.ndim != 2:
        want.fail(f"holds an array of shape {array.shape}, not images by tasks", _ANY_FORMAT)
    rows, width = array.shape
    if rows != len(want.ids):
        want.fail(
            f"has {counted(rows, 'row')}, the data set has {counted(len(want.ids), 'training image')}",
            "Use the mask of this data set and this version of it; every published training image has one row.",
        )
    if width != len(columns):
        want.fail(
            f"has {width} columns, this data set's masks have {len(columns)} ({', '.join(columns)})",
            "Use the mask of this data set, or write it as CSV with the header `id,task,...`.",
        )
    for row, column in np.argwhere((array != 0) & (array != 1))[:1]:
        _bit(want, array[row, column].item(), f"{columns[column]} in row {row}")
    return columns, np.asarray(array != 0)


def _from_id_rows(want: _Wanted, rows: Mapping[object, object]) -> tuple[list[str], BoolArray]:
    columns = _columns(want, "a list of rows")
    names = [name for name in rows if isinstance(name, str)]
    if len(names) != len(rows):
        want.fail("has keys that are no text, so they are no image ids", _ANY_FORMAT)
    _check_ids(want, names)
    table = np.zeros((len(want.ids), len(columns)), dtype=np.bool_)
    for i, name in enumerate(want.ids):
        row = rows[name]
        values = row.tolist() if isinstance(row, np.ndarray) else row
        if not isinstance(values, list | tuple) or len(values) != len(columns):
            have = f"{len(values)} values" if isinstance(values, list | tuple) else "no row"
            want.fail(
                f"has {have} for image {name!r}, not {len(columns)} ({', '.join(columns)})",
                "Use the mask of this data set, or write it as CSV with the header `id,task,...`.",
            )
        table[i] = [_bit(want, v, f"{task} of image {name!r}") for v, task in zip(values, columns, strict=True)]
    return columns, table


def _from_id_lists(want: _Wanted, lists: Mapping[object, object]) -> tuple[list[str], BoolArray]:
    tasks = _tasks(want, lists)
    index = {name: i for i, name in enumerate(want.ids)}
    table = np.zeros((len(want.ids), len(tasks)), dtype=np.bool_)
    names: dict[str, None] = {}
    for task, listed in zip(tasks, lists.values(), strict=True):
        if not isinstance(listed, list | tuple) or not all(isinstance(name, str) for name in listed):
            want.fail(f"has something else than a list of image ids for {task}", _ANY_FORMAT)
        if len(set(listed)) != len(listed):
            twice = [name for name, count in Counter(listed).items() if count > 1]
            want.fail(f"lists images twice for {task}: {_examples(twice)}", "Copy or download it again.")
        names.update(dict.fromkeys(listed))
    _check_ids(want, names, complete=False)  # an image in no list is one without labels
    for t, listed in enumerate(lists.values()):
        table[[index[name] for name in listed], t] = True  # type: ignore[attr-defined]  # lists, checked above
    return tasks, table


# ---- CSV -------------------------------------------------------------------------------------------------------------
def _from_csv(want: _Wanted, text: str) -> tuple[list[str], BoolArray]:
    reader = csv.reader(io.StringIO(text), strict=True)
    rows: dict[str, list[bool]] = {}
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if header[:1] != ["id"] or len(header) < 2:
            want.fail(f"begins with the header {','.join(header)[:60]!r}", "Begin it with `id,task,...`.")
        tasks = _tasks(want, header[1:])
        for cells in reader:
            if not cells:
                continue
            where = f"line {reader.line_num}"
            if len(cells) != len(header):
                want.fail(
                    f"has {len(cells)} cells in {where}, not {len(header)}",
                    "Give every line an id and one cell a task.",
                )
            name = cells[0].strip()
            if name in rows:
                want.fail(f"lists image {name[:60]!r} again in {where}", "Give every image one line.")
            values = [{"0": 0, "1": 1}.get(cell.strip(), cell) for cell in cells[1:]]
            rows[name] = [_bit(want, v, f"{task} in {where}") for v, task in zip(values, tasks, strict=True)]
    except csv.Error as error:
        want.fail(f"is damaged in line {reader.line_num} ({error})", "Write it again as plain comma-separated text.")
    _check_ids(want, rows)
    return tasks, np.array([rows[name] for name in want.ids], dtype=np.bool_).reshape(-1, len(tasks))


# ---- statistics ------------------------------------------------------------------------------------------------------
def describe_label_mask(mask: LabelMask) -> dict[str, Any]:
    """Statistics of a mask, as plain values.

    Returns:
        `images` and `labels` (their numbers), `tasks`, `counts` ({task: labelled images}), `labels_per_image` ({number
        of labels: images}, from 0 to all tasks), and `patterns` ({one digit 0 or 1 per task, in the order of `tasks`:
        images}, those that occur).
    """
    per_image = np.bincount(mask.labelled.sum(axis=1), minlength=len(mask.tasks) + 1)
    patterns = Counter("".join("1" if has else "0" for has in row) for row in mask.labelled)
    return {
        "images": len(mask.ids),
        "labels": int(mask.labelled.sum()),
        "tasks": list(mask.tasks),
        "counts": mask.counts(),
        "labels_per_image": {str(n): int(images) for n, images in enumerate(per_image)},
        "patterns": dict(sorted(patterns.items())),
    }
