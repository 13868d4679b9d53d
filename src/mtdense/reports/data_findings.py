"""What a look through a data set found, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mtdense.core.errors import DataError
from mtdense.data.published import PublishedData
from mtdense.reports.label_statistics import BoxStatistics, LabelStatistics

__all__ = ["DataCheck", "Expected", "Finding", "PartCheck"]


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Args:
        kind: "missing" and "corrupt" are faults, a "notice" is none.
        where: What it is about, such as "train semseg"; "" for the whole.
        problem: What is wrong.
        count: How often.
        examples: The first few of them, by name.
        mend: What to do about it.
    """

    kind: Literal["missing", "corrupt", "notice"]
    where: str
    problem: str
    count: int = 1
    examples: tuple[str, ...] = ()
    mend: str | None = None

    @property
    def text(self) -> str:
        """One line."""
        if not self.examples:
            return self.problem
        more = f" and {self.count - len(self.examples)} more" if self.count > len(self.examples) else ""
        return f"{self.problem}: {', '.join(self.examples)}{more}"


@dataclass
class PartCheck:
    """What was found of the images of a split, or of its labels of one task.

    Args:
        split: "train", "val" or "test".
        task: Name of the task; None: the images.
        found: Number that is there.
        expected: Number that should be there; None where nobody says.
        corrupt: Number of those that were tried and cannot be decoded.
        decoded: Number of those that were decoded.
        statistics: What the decoded labels hold.
        sizes: {(height, width): number of images}.
    """

    split: str
    task: str | None
    found: int = 0
    expected: int | None = None
    corrupt: int = 0
    decoded: int = 0
    statistics: LabelStatistics | BoxStatistics | None = None
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)

    @property
    def where(self) -> str:
        """Split and task."""
        return f"{self.split} {self.task or 'images'}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        facts: dict[str, Any] = {"found": self.found, "expected": self.expected, "corrupt": self.corrupt}
        if self.statistics is None:
            return {**facts, "decoded": self.decoded, "sizes": {f"{h}x{w}": n for (h, w), n in self.sizes.items()}}
        return {**facts, **self.statistics.as_dict()}


@dataclass(frozen=True)
class Expected:
    """How many images and labels there should be.

    Args:
        counts: {split: images}; a split that is not named may have any number.
        labels: {split: {task: labels}}; a task that is not named, or None, may have any number.
        where: Where the data are published.
        genuine: Whether these are the numbers of the published data, which say nothing about a replica.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    where: str | None = None
    genuine: bool = False

    @classmethod
    def of(cls, published: PublishedData | None, mark: Mapping[str, Any] | None) -> Expected:
        """As published, or as the mark of a replica says.

        Args:
            published: What is known of the data set.
            mark: See `replica_mark`; None: no replica. In a replica every image has a label of the tasks of which every
                published image has one.

        Raises:
            DataError: The mark does not say how many scenes there are.
        """
        if mark is None:
            return cls() if published is None else cls(published.counts, published.labels, published.where, True)
        scenes = mark.get("scenes")
        if not isinstance(scenes, dict) or not all(isinstance(number, int) for number in scenes.values()):
            raise DataError("the mark of the replica does not say how many scenes it holds", "Write the replica anew.")
        labels: dict[str, dict[str, int | None]] = {}
        for split, tasks in ({} if published is None else published.labels).items():
            every = None if published is None else published.counts[split]
            labels[split] = {task: scenes.get(split) if number == every else None for task, number in tasks.items()}
        return cls(scenes, labels, "It is a replica: write it anew by `mtdense data replica`.")


@dataclass
class DataCheck:
    """Result of a check.

    Args:
        dataset: Id of the data set.
        root: Its folder or pack; None: it has no files.
        samples: Images decoded of each split; None: all.
        where: Where the data are published.
        version: Data version; None if no split could be opened.
        parts: Images and labels of each split.
        findings: What is not as it should be.
        manifest: What was done about the manifest.
    """

    dataset: str
    root: str | None
    samples: int | None
    where: str | None = None
    version: str | None = None
    parts: list[PartCheck] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    manifest: str | None = None

    @property
    def faults(self) -> list[Finding]:
        """Findings that are faults."""
        return [finding for finding in self.findings if finding.kind != "notice"]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        images: dict[str, Any] = {part.split: part.as_dict() for part in self.parts if part.task is None}
        tasks: dict[str, dict[str, Any]] = {}
        for part in self.parts:
            if part.task is not None:
                tasks.setdefault(part.task, {})[part.split] = part.as_dict()
        return {
            "dataset": self.dataset,
            "root": self.root,
            "version": self.version,
            "ok": not self.faults,
            "decoded_per_split": "all" if self.samples is None else self.samples,
            "images": images,
            "tasks": tasks,
            "findings": [vars(finding) for finding in self.findings],
            "manifest": self.manifest,
            "published": self.where,
        }
