"""Files of other repositories that are to be scored: which belong together, and what is stored in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import scipy.io

from mtdense.core.errors import DataError
from mtdense.data.io import EXTENSIONS, read_map
from mtdense.data.nyud.atrc import read_mat
from mtdense.tasks.base import ArrayAny

__all__ = ["FileSet", "Pair", "naming", "pair_files", "read_ids", "read_stored"]

_KNOWN = (*EXTENSIONS, ".mat")
_NAMED = 5


@dataclass(frozen=True)
class FileSet:
    """The files of one side.

    Args:
        folder: Folder that is searched, sub-folders included.
        ending: End of the stem that is not part of the id, such as "_gtFine_labelTrainIds"; files without it are left
            out.
        extension: Take only files of this type, such as ".npy"; None takes every known one.
    """

    folder: Path
    ending: str = ""
    extension: str | None = None

    def index(self) -> dict[str, Path]:
        """{id: file}; the id is the path below the folder without extension and `ending`, with "/" between its parts.

        Raises:
            DataError: No such folder, nothing in it, or two files of one id.
        """
        if not self.folder.is_dir():
            raise DataError(f"no such folder: {self.folder}", "Correct the path.")
        types = _KNOWN if self.extension is None else (self.extension.lower(),)
        found: dict[str, Path] = {}
        for path in sorted(self.folder.rglob("*")):
            stem = path.relative_to(self.folder).with_suffix("").as_posix()
            if path.suffix.lower() not in types or path.name.startswith(".") or not path.is_file():
                continue
            if not stem.endswith(self.ending) or stem == self.ending:
                continue
            image_id = stem.removesuffix(self.ending)
            if image_id in found:
                raise DataError(
                    f"two files for one image: {found[image_id]} and {path}",
                    "Keep one of them, or say by --pred-type or --target-type which to read.",
                )
            found[image_id] = path
        if not found:
            what = f"*{self.ending}{self.extension or ''}" if self.ending or self.extension else " ".join(_KNOWN)
            raise DataError(f"no file to score in {self.folder} (looked for {what})", "Correct the path.")
        return found


@dataclass(frozen=True)
class Pair:
    """What is scored as one image.

    Args:
        id: The image.
        pred: Its prediction.
        targets: Its target; one per annotator where there are several.
    """

    id: str
    pred: Path
    targets: tuple[Path, ...]


def read_ids(path: Path) -> list[str]:
    """Reads a list of ids, one a line; empty lines are skipped.

    Raises:
        DataError: Missing, no text, empty, or an id twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}", "Correct --list.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no list of ids ({error})", "Give a text file with one id a line.") from error
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise DataError(f"{path} names no image", "Give a text file with one id a line.")
    twice = sorted({image_id for image_id in ids if ids.count(image_id) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise DataError(f"{path} names {_some(twice)} more than once", "Name each image once.")
    return ids


def pair_files(
    preds: FileSet, targets: FileSet, only: Sequence[str] | None = None, several_annotators: bool = False
) -> list[Pair]:
    """Matches predictions and targets by id.

    Args:
        preds: Predictions.
        targets: Targets.
        only: Images to score, in this order; files of others are left out. None: all, sorted, and then every file must
            have its counterpart.
        several_annotators: The targets of an image are all files of its folder, `<id>/<annotator>.png`.

    Raises:
        DataError: A file is missing or left over; says how many and names the first.
    """
    pred_files, target_files = preds.index(), _by_image(targets.index(), several_annotators, targets.folder)
    wanted = list(target_files) if only is None else list(only)
    if not any(image_id in pred_files and image_id in target_files for image_id in wanted):
        raise DataError(
            f"no prediction in {preds.folder} belongs to a target in {targets.folder}: the first are called "
            f"{next(iter(pred_files))!r} and {next(iter(target_files))!r}"
            + ("" if only is None else f", the first of the list {only[0]!r}"),
            "Files match by their path below the folder without extension. Cut what follows the id by --pred-ending or "
            "--target-ending" + _several_hint(pred_files, target_files, several_annotators) + ".",
        )
    leave = "Add them, or score a part by --list FILE with one id a line."
    _complain("prediction", "missing", preds.folder, [i for i in wanted if i not in pred_files], len(wanted), leave)
    _complain("target", "missing", targets.folder, [i for i in wanted if i not in target_files], len(wanted), leave)
    if only is None:
        left = [i for i in pred_files if i not in target_files]
        mend = "Remove them, or leave them out by --list FILE with the ids to score, one a line."
        _complain("prediction", "without a target", preds.folder, left, len(pred_files), mend)
    return [Pair(image_id, pred_files[image_id], target_files[image_id]) for image_id in wanted]


def read_stored(path: Path, mat_key: str | None = None) -> ArrayAny:
    """Reads a map as stored, from a picture, an .npy or a .mat file (MATLAB 5 to 7.2).

    Args:
        path: The file.
        mat_key: Name of the array in .mat files; None takes the only one.

    Raises:
        DataError: Missing, damaged, too large, or of several arrays without a key.
    """
    if path.suffix.lower() != ".mat":
        return read_map(path)
    if mat_key is None:
        try:
            names = [name for name, _, _ in scipy.io.whosmat(str(path), appendmat=False)]
        except Exception:  # a damaged file makes the decoder raise nearly anything; `read_mat` then says what
            names = [""]
        if len(names) != 1:
            raise DataError(
                f"{path} holds {len(names)} arrays: {_some(names) or 'none'}", "Name the one to read by --mat-key."
            )
        mat_key = names[0]
    return read_mat(path, mat_key)


def _by_image(files: dict[str, Path], several: bool, folder: Path) -> dict[str, tuple[Path, ...]]:
    if not several:
        return {image_id: (path,) for image_id, path in files.items()}
    images: dict[str, list[Path]] = {}
    for name, path in files.items():
        image_id, _, _ = name.rpartition("/")
        if not image_id:
            mend = f"With --several-annotators store {folder}/ID/ANNOTATOR{path.suffix}."
            if path.suffix == ".mat":
                mend = f"Unpack it to {folder}/ID/ANNOTATOR.png if it holds several annotators, see docs/score.md."
            raise DataError(f"{path} lies in no folder of its image", mend)
        images.setdefault(image_id, []).append(path)
    return {image_id: tuple(paths) for image_id, paths in images.items()}


def _several_hint(pred_files: Iterable[str], target_files: Iterable[str], several: bool) -> str:
    folders = {image_id.rpartition("/")[0] for image_id in target_files}
    nested = not several and any(image_id in folders for image_id in pred_files)
    return ", or give --several-annotators as each image has a folder of targets" if nested else ""


def _complain(what: str, how: str, folder: Path, ids: Sequence[str], of: int, mend: str) -> None:
    if ids:
        raise DataError(f"{len(ids)} of {of} {what}s {how} in {folder}: {_some(ids)}", mend)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts a file's name before what the metrics say about its values."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error.problem}", error.mend) from error
