"""Looks through a data set: is all there that was published, can it be decoded, and what do the labels hold?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mtdense.core.errors import DataError
from mtdense.core.progress import track
from mtdense.core.words import counted
from mtdense.data.dataset import DenseDataset
from mtdense.data.sample import RawImage
from mtdense.reports.data_findings import DataCheck, Expected, Finding, PartCheck
from mtdense.reports.label_statistics import statistics_of
from mtdense.reports.manifest import compare, digest_files, read_manifest, write_manifest
from mtdense.tasks import LabelKind

__all__ = ["OpenSplit", "check_data", "check_manifest"]

_FEW = 5

OpenSplit = Callable[[str, Sequence[str]], DenseDataset]
"""Opens a split for some tasks."""


def check_data(
    check: DataCheck, splits: Sequence[str], tasks: Mapping[str, LabelKind], open_split: OpenSplit, expected: Expected
) -> None:
    """Opens each split, counts, and decodes all of it or a sample; the results go into `check`.

    Args:
        check: An empty check.
        splits: Splits to look at.
        tasks: {name: task} to look at.
        open_split: Opens a split for some of the tasks; a `DataError` says what is missing.
        expected: What should be there.
    """
    check.where = expected.where
    for split in splits:
        dataset, errors = _open(check, split, list(tasks), open_split)
        if dataset is not None:
            if expected.genuine and dataset.version.startswith("replica-"):
                expected = Expected()  # a raw pack of a replica: nobody says how many scenes it should hold
                check.where = None
            _Split(check, split, dataset, tasks, expected, errors).run()


def _open(
    check: DataCheck, split: str, tasks: Sequence[str], open_split: OpenSplit
) -> tuple[DenseDataset | None, dict[str, DataError]]:
    """Opens a split for as many of the tasks as it can be opened for; what is wrong with the others."""
    try:
        return open_split(split, tasks), {}
    except DataError as error:
        whole = error
    errors: dict[str, DataError] = {}
    for task in tasks:
        try:
            open_split(split, [task])
        except DataError as error:
            errors[task] = error
    usable = [task for task in tasks if task not in errors]
    # An error of all tasks is one of the images or lists, and of all splits one of the whole.
    if (not usable or not errors) and all(finding.problem != whole.problem for finding in check.findings):
        check.findings.append(Finding("missing", split, whole.problem, mend=whole.mend))
    return (open_split(split, usable) if usable and errors else None), errors


class _Split:
    """One opened split."""

    def __init__(
        self,
        check: DataCheck,
        split: str,
        dataset: DenseDataset,
        tasks: Mapping[str, LabelKind],
        expected: Expected,
        errors: Mapping[str, DataError],
    ) -> None:
        self.check = check
        self.dataset = dataset
        self.errors = errors
        self.images = PartCheck(split, None, len(dataset), expected.counts.get(split))
        numbers = expected.labels.get(split, {})
        self.labels = {name: PartCheck(split, name, expected=numbers.get(name)) for name in tasks}
        self._statistics = {name: statistics_of(task) for name, task in tasks.items()}
        self._kinds = dict(tasks)
        for name, part in self.labels.items():
            part.statistics = self._statistics[name]
        self._problems: dict[str | None, list[DataError]] = {}
        check.version = check.version or dataset.version
        check.parts += [self.images, *self.labels.values()]

    def run(self) -> None:
        """Counts, then decodes."""
        self._count_images()
        self._count_labels()
        for index in track(self._chosen(), f"Decoding {self.images.split}"):
            self._decode(index)
        for task, errors in self._problems.items():
            part = self.images if task is None else self.labels[task]
            few = tuple(error.problem for error in errors[:_FEW])
            what = f"{len(errors)} of {part.decoded + part.corrupt} cannot be decoded"
            self.check.findings.append(Finding("corrupt", part.where, what, len(errors), few, errors[0].mend))

    def _chosen(self) -> list[int]:
        """All images, or some spread evenly over the split."""
        number = len(self.dataset)
        if self.check.samples is None or self.check.samples >= number:
            return list(range(number))
        return [round(place) for place in np.linspace(0, number - 1, self.check.samples)]

    # ---- counts -----------------------------------------------------------------------------------------------------
    def _count_images(self) -> None:
        found, expected = self.images.found, self.images.expected
        if expected is not None and found != expected:
            kind: Literal["missing", "notice"] = "missing" if found < expected else "notice"
            what = f"{found} found, {expected} expected"
            self.check.findings.append(Finding(kind, self.images.where, what, abs(expected - found)))

    def _count_labels(self) -> None:
        lacking: dict[str, list[str]] = {name: [] for name in self.labels}
        for index, image_id in enumerate(self.dataset.ids):
            available = self.dataset.available(index)
            for name, part in self.labels.items():
                part.found += name in available
                if name not in available:
                    lacking[name].append(image_id)
        for name, part in self.labels.items():
            finding = self._lack(part, lacking[name])
            if finding is not None:
                self.check.findings.append(finding)

    def _lack(self, part: PartCheck, names: Sequence[str]) -> Finding | None:
        """What is to be said of the images without a label."""
        error = self.errors.get(part.task or "")
        mend = None if error is None else error.mend
        # Images that are missing were named already, with all their labels.
        short = part.expected is not None and part.found < part.expected and len(names) > 0
        if error is not None and (part.found == 0 or not short):
            return Finding("missing", part.where, error.problem, mend=mend)
        if not short:
            return None
        if part.expected == self.images.expected:
            what = f"{len(names)} of {counted(len(self.dataset), 'image')} lack this label"
            return Finding("missing", part.where, what, len(names), tuple(names[:_FEW]), mend)
        # Not every image is to have this label, so that those without it are not the ones at fault.
        what = f"{part.found} found, {part.expected} expected"
        return Finding("missing", part.where, what, (part.expected or 0) - part.found, mend=mend)

    # ---- decoding ---------------------------------------------------------------------------------------------------
    def _decode(self, index: int) -> None:
        available = [name for name in self.labels if name in self.dataset.available(index)]
        try:
            raw = self.dataset.load(index, available)
        except DataError as error:
            self._decode_apart(index, available, error)
            return
        self._take_image(raw)
        for name in available:
            self._take_label(raw, name)

    def _decode_apart(self, index: int, available: Sequence[str], whole: DataError) -> None:
        """Finds out which part of an image is to blame."""
        raw = self._load(index, None)
        if raw is None:
            return  # without its image no label can be read
        good = [part for name in available if (part := self._load(index, name)) is not None]
        for part in good:
            self._take_label(part, next(iter(part.labels)))
        if len(good) == len(available):
            self._fault(None, whole)
        else:
            self._take_image(raw)

    def _load(self, index: int, task: str | None) -> RawImage | None:
        try:
            return self.dataset.load(index, [] if task is None else [task])
        except DataError as error:
            self._fault(task, error)
            return None

    def _fault(self, task: str | None, error: DataError) -> None:
        (self.images if task is None else self.labels[task]).corrupt += 1
        self._problems.setdefault(task, []).append(error)

    def _take_image(self, raw: RawImage) -> None:
        self.images.decoded += 1
        self.images.sizes[(raw.image.shape[0], raw.image.shape[1])] += 1

    def _take_label(self, raw: RawImage, name: str) -> None:
        label = raw.labels[name]
        size = self._kinds[name].label_size(label)
        if size != raw.image.shape[:2]:
            sizes = " and ".join(f"{shape[0]}x{shape[1]}" for shape in (raw.image.shape, size))
            self._fault(name, DataError(f"{raw.id}: image and {name} label have {sizes} pixels", "Restore both."))
            return
        self._statistics[name].add(label)
        self.labels[name].decoded += 1


def check_manifest(check: DataCheck, root: Path, path: Path) -> None:
    """Verifies the manifest at `path`; where there is none, writes it if no fault was found.

    Args:
        check: A check of all images; gets what differs.
        root: Folder of the data set, or the file that it is packed into.
        path: The manifest.

    Raises:
        DataError: The manifest cannot be used, or is of another data set.
        OSError: It cannot be written.
    """
    stored = read_manifest(path, check.dataset) if path.exists() else None
    found, unreadable = digest_files(root, skip=path)
    if unreadable:
        few = tuple(f"{name} ({why})" for name, why in list(unreadable.items())[:_FEW])
        _note(check, "corrupt", tuple(unreadable), f"{_files(len(unreadable))} cannot be read", None, few)
    if stored is not None:
        known = {name: entry for name, entry in stored.items() if name not in unreadable}
        differences = compare(known, found)
        mend = f"Restore what changed. If it was meant, delete {path}."
        _note(check, "corrupt", differences.changed, f"{_files(len(differences.changed))} changed", mend)
        _note(check, "missing", differences.missing, f"{_files(len(differences.missing))} missing", mend)
        _note(check, "notice", differences.new, f"{_files(len(differences.new))} new")
        same = differences == compare({}, {}) and not unreadable
        check.manifest = f"{path}: {_files(len(stored))}, {'all as they were' if same else 'with differences'}"
    elif check.faults:
        check.manifest = "not written: the data have faults"
    else:
        write_manifest(path, check.dataset, found)
        check.manifest = f"{path}: written, {_files(len(found))}"


def _note(
    check: DataCheck,
    kind: Literal["missing", "corrupt", "notice"],
    names: Sequence[str],
    problem: str,
    mend: str | None = None,
    examples: tuple[str, ...] | None = None,
) -> None:
    if names:
        shown = tuple(names[:_FEW]) if examples is None else examples
        check.findings.append(Finding(kind, "files", problem, len(names), shown, mend))


def _files(number: int) -> str:
    return f"{number} file{'' if number == 1 else 's'}"
