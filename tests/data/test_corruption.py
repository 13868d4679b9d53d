"""332 random corruptions over all forms of data: no hang, one error that names the file, or values that are valid.

Structural damage shows when a data set is opened or an item is read; other values than before are found by checksums in
packs, and in folders by `data check --full` with its manifest.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mtdense.core.errors import DataError
from mtdense.core.seeds import derive_rng
from mtdense.data.pack_work import find_files
from mtdense.reports.data_check import check_manifest
from mtdense.reports.data_findings import DataCheck
from mtdense.reports.manifest import digest_files, write_manifest
from tests.data.corruption import KINDS, Damage, damage
from tests.data.corruption_forms import FORMS, Form, Reading, in_child, read

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="cases run in forked processes")

SEED = 5
SHARED = ("nyud_official", "source_pack", "raw_pack")
"""Forms in one file."""
MUST_FAIL = ("shape", "missing", "count", "folder", "names")
"""Structural damage: never without an error."""


@dataclass(frozen=True)
class Case:
    number: int
    form: str
    kind: str

    @property
    def name(self) -> str:
        return f"{self.number:03d}-{self.form}-{self.kind}"


def all_cases() -> list[Case]:
    found: list[Case] = []
    for form in FORMS.values():
        kinds = [kind for kind in KINDS if kind not in NOT_THERE.get(form.name, ())]
        found += [Case(len(found) + i, form.name, kinds[i % len(kinds)]) for i in range(form.cases)]
    return found


NOT_THERE = {
    # No list names their files, and there is no archive.
    "nyud_mtan": ("names",),
    "cityscapes": ("names",),
    "cityscapes_3d": ("names",),
    "cityscapes_mtan": ("names",),
    "packed_mtan": ("names",),
}
UNREAD = ("replica.json", "test_new.txt", "pascal_settings")
"""Files that are opened, but not for their content."""
CASES = all_cases()
assert len(CASES) == 332


@dataclass(frozen=True)
class Whole:
    """A form before it is damaged."""

    form: Form
    root: Path
    manifest: Path
    reading: Reading


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Whole]:
    top, made = tmp_path_factory.mktemp("whole"), dict[str, Whole]()

    def get(name: str) -> Whole:
        if name not in made:
            root = top / name
            root.mkdir()
            FORMS[name].write(root)
            shutil.rmtree(root / "files", ignore_errors=True)  # those of packs
            read(FORMS[name], root)  # what is compiled here is there in the children
            reading = in_child(FORMS[name], root, audit=True)
            assert not reading.errors and len(reading.items) in (4, 5)
            write_manifest(top / f"{name}.json", name, digest_files(root)[0])
            made[name] = Whole(FORMS[name], root, top / f"{name}.json", reading)
        return made[name]

    return get


def names(text: str, root: Path, file: str) -> bool:
    """Whether an error names a file; one that is not there may be named by its folder and its stem."""
    path = Path(file)
    folder, image = path.parent.as_posix(), f"{path.parent.name}/{path.stem}"
    above = any(f"/{part.as_posix()}" in text for part in path.parents if part.name)
    return str(root) in text and (
        file in text
        or (folder in text and path.name in text)
        or (above and repr(path.stem) in text)
        or repr(image) in text
    )


def optional(whole: Whole, done: Damage) -> bool:
    """Whether a form can do without a file: other values then, or the same from elsewhere."""
    # A cache, one of two files of an image, and images that are listed nowhere else.
    listed = ("ImageSets/Parts/", "semseg/VOC12/", "leftImg8bit/")
    if whole.form.name == "packed_pascal":
        listed += ("semseg/pascal-context/",)  # packed, whether it is read or not
    return not whole.form.strict or done.files[0].startswith(listed)


def outcome(whole: Whole, root: Path, done: Damage) -> str:
    """What comes of a damage: "opened", "read" (errors then), "same" or "other" values; everything else fails."""
    found = in_child(whole.form, root)
    for error in found.errors:
        assert any(names(error["text"], root, file) for file in done.files), (done, error)
        assert error["mend"] and "\n" not in error["problem"] and len(error["problem"]) < 1000, error
    of_items = [error for error in found.errors if "/" in error["where"] or whole.form.open is None]
    keys = whole.reading.items.keys() | found.items.keys()
    other = {key for key in keys if whole.reading.items.get(key) != found.items.get(key)}
    if of_items and len(of_items) == len(found.errors) and whole.form.name not in SHARED:
        # Nothing but the images that the files belong to.
        assert len(of_items) <= len(done.files) and len(other) <= len(done.files), (done, found.errors, other)
    if found.errors:
        return "read" if len(of_items) == len(found.errors) else "opened"
    return "other" if other else "same"


def assert_found_by_manifest(whole: Whole, root: Path, done: Damage) -> None:
    """What `data check --full` says of the files."""
    check = DataCheck(whole.form.name, str(root), None)
    check_manifest(check, root, whole.manifest)
    told = " ".join(finding.text for finding in check.faults)
    assert any(file in told for file in done.files), (done, told)


def judge(case: Case, whole: Whole, root: Path, seed: int = SEED) -> tuple[str, Damage]:
    """Damages a copy, and looks what comes of it."""
    files = [name for name in whole.reading.opened if not any(part in name for part in UNREAD)]
    done = damage(root, files, case.kind, derive_rng(seed, "corruption", case.number))
    result = outcome(whole, root, done)
    if case.kind in MUST_FAIL and not optional(whole, done) and "mask.pth" not in done.files:
        assert result in ("opened", "read"), (done, result)
    if case.kind == "truncated" and not done.files[0].endswith((".txt", ".jpg")):
        assert result in ("opened", "read"), (done, result)
    if case.kind == "link":
        whole_still = "opened" if whole.form.name.startswith("packed") else "same"
        assert result in ((whole_still,) if done.left_out else ("opened", "read", "other")), (done, result)
        assert_not_packed(root, done)
    if result == "other":
        assert not whole.form.checked, f"other values from a pack: {done}"
        assert_found_by_manifest(whole, root, done)
    return result, done


def assert_not_packed(root: Path, done: Damage) -> None:
    """`data prepare` refuses what is no file of the folder."""
    if Path(done.files[0]).suffix == ".h5":  # packs are left out in any case
        return
    with pytest.raises(DataError) as caught:
        find_files(root)
    assert done.files[0] in str(caught.value)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=[] if case.number % 7 == 0 else pytest.mark.slow) for case in CASES]
)
def test_corruption(case: Case, whole: Callable[[str], Whole], tmp_path: Path) -> None:
    base = whole(case.form)
    root = tmp_path / base.root.name
    shutil.copytree(base.root, root)
    judge(case, base, root)
