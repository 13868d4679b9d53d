"""Small data sets in every published form, and what reading one of them gives: values, or errors.

Reading is done in a child process with limits on time and memory, so that a hang, a crash or a bomb is a result, too.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtdense.core.errors import MTDenseError
from mtdense.data import DenseDataset, FolderDataset, FolderIndex, LabelCoding, LabelMask, RawImage, io
from mtdense.data.cityscapes.mtan import CityscapesMtanDataset
from mtdense.data.cityscapes.official import CityscapesDataset
from mtdense.data.cityscapes.vehicles import Cityscapes3DDataset
from mtdense.data.location import open_root
from mtdense.data.mask_files import read_label_mask, write_label_mask
from mtdense.data.nyud.atrc import NYUDAtrcDataset
from mtdense.data.nyud.mtan import NYUDMtanDataset
from mtdense.data.nyud.official import NYUDOfficialDataset
from mtdense.data.pack_work import RawWork, SourceWork, find_files
from mtdense.data.pack_writer import write_pack
from mtdense.data.packed import open_dataset
from mtdense.data.pascal.context import PASCALContextDataset
from mtdense.data.procedural import ProceduralScenes
from mtdense.data.replicas import write_replica
from mtdense.data.splits import SplitRule
from mtdense.tasks import build_label_kinds

__all__ = ["FORMS", "MASK_IDS", "MASK_TASKS", "PACK", "Form", "Reading", "in_child", "read"]

SIZE = (32, 40)
TRAIN, TEST = 3, 2
PACK = "data.h5"
MASK_IDS = tuple(f"image-{i:02d}" for i in range(12))
MASK_TASKS = ("semseg", "depth", "normals")
SECONDS = 20.0
ROOM = 1 << 30  # bytes of address space that a child may take beyond what it begins with


@dataclass(frozen=True)
class Form:
    """A form in which data are published or stored.

    Args:
        name: Its name.
        cases: Number of corruptions that it gets.
        write: Writes it into an empty folder.
        open: Opens a split; None: these are label masks.
        strict: Every file is needed; otherwise an image may lack a label.
        checked: Checksums lie within, so that damage never gives other values.
    """

    name: str
    cases: int
    write: Callable[[Path], object]
    open: Callable[[Path, str], DenseDataset] | None
    strict: bool = True
    checked: bool = False


@dataclass
class Reading:
    """What came of reading: {split/id: checksum}, errors, and files that were opened, relative to the root."""

    items: dict[str, str] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)


# ---- forms -----------------------------------------------------------------------------------------------------------
def _replica(name: str, **options: Any) -> Callable[[Path], object]:
    return lambda root: write_replica(name, root, TRAIN, TEST, size=SIZE, **options)


_FOLDER_SPECS: Mapping[str, dict[str, Any]] = {
    "semseg": {"num_classes": 13},
    "human_parts": {},
    "saliency": {},
    "normals": {},
    "edges": {},
    "depth": {},
}
_CODING = LabelCoding(positive_above={"saliency": 0.5, "edges": 0})


def _write_folder(root: Path) -> None:
    scenes = ProceduralScenes(size=SIZE, seed=0)
    for split, indices in (("train", range(TRAIN)), ("test", range(TRAIN, TRAIN + TEST))):
        for i in indices:
            scene = scenes.render(i)
            io.write_image(root / "images" / f"room/{i}{('.png', '.jpg')[i % 2]}", scene.image)
            for task in ("semseg", "human_parts"):
                io.write_map(root / task / f"room/{i}.png", getattr(scene, task).astype(np.uint8))
            for task in ("saliency", "edges"):
                io.write_map(root / task / f"room/{i}.png", (getattr(scene, task) > 0).astype(np.uint8))
            for task in ("depth", "normals"):
                io.write_array(root / task / f"room/{i}.npy", getattr(scene, task))
        (root / f"{split}.txt").write_text("".join(f"room/{i}\n" for i in indices))


def _open_folder(root: Path, split: str) -> DenseDataset:
    index = FolderIndex(root, list(_FOLDER_SPECS))
    stems = SplitRule(files={"train": "train.txt", "test": "test.txt"}).select(split, index.stems, root, "images")
    return FolderDataset(index, stems, _FOLDER_SPECS, _CODING)


def _write_source_pack(root: Path) -> None:
    files = root / "files"
    write_replica("nyud_atrc", files, TRAIN, TEST, size=SIZE)
    _pack(files, root / PACK)


def _pack(files: Path, out: Path) -> None:
    found, _ = find_files(files)
    write_pack(SourceWork(found, dataset="set", version="set-1", source="here", images=TRAIN + TEST), out)


def _write_raw_pack(root: Path) -> None:
    files = root / "files"
    write_replica("nyud_mtan", files, TRAIN, TEST, size=SIZE)
    splits: dict[str, DenseDataset] = {split: NYUDMtanDataset(files, split) for split in ("train", "test")}
    facts: dict[str, Any] = {"dataset": "nyud_mtan", "source": "here", "sources": "x", "original_bytes": 1}
    write_pack(RawWork(splits, ["semseg", "depth", "normals"], {}, **facts), root / PACK)


def _open_raw_pack(root: Path, split: str) -> DenseDataset:
    tasks = ["semseg", "depth", "normals"]
    return open_dataset(NYUDMtanDataset, open_root(root / PACK), split, name="nyud_mtan", tasks=tasks, reading={})


def _packed_first(kind: type[Any]) -> Callable[[Path, str], DenseDataset]:
    """Packs the files, damaged as they may be, and reads the pack."""

    def open_split(root: Path, split: str) -> DenseDataset:
        out = root.with_name(f"{root.name}-{split}.h5")
        out.unlink(missing_ok=True)
        _pack(root, out)
        return kind(open_root(out), split)  # type: ignore[no-any-return]

    return open_split


def _write_masks(root: Path) -> None:
    mask = LabelMask.draw("random-label", MASK_IDS, MASK_TASKS, seed=3)
    table = mask.labelled.astype(np.float32)
    write_label_mask(root / "mask.json", mask, dataset="set", setting="random-label", seed=3)
    torch.save({"labels_weights": torch.from_numpy(table)}, root / "mask.pth")
    content = np.empty((), dtype=object)
    content[()] = {name: [str(i) for i in np.array(MASK_IDS)[mask.labelled[:, t]]] for t, name in enumerate(MASK_TASKS)}
    np.save(root / "mask.npy", content, allow_pickle=True)
    rows = [f"{name},{','.join('01'[int(bit)] for bit in row)}" for name, row in zip(MASK_IDS, table, strict=True)]
    (root / "mask.csv").write_text("\n".join([f"id,{','.join(MASK_TASKS)}", *rows, ""]))


FORMS: Mapping[str, Form] = {
    form.name: form
    for form in (
        Form(
            "nyud_official",
            34,
            _replica("nyud_official"),
            lambda root, split: NYUDOfficialDataset(root, split, derive_normals=split == "test"),  # type: ignore[arg-type]
        ),
        Form("nyud_mtan", 26, _replica("nyud_mtan"), NYUDMtanDataset),
        Form("nyud_atrc-invpt", 26, _replica("nyud_atrc", variant="invpt"), NYUDAtrcDataset),
        Form("nyud_atrc-astmt", 26, _replica("nyud_atrc", variant="astmt"), NYUDAtrcDataset),
        Form("pascal_context", 34, _replica("pascal_context"), PASCALContextDataset),
        Form(
            "cityscapes",
            28,
            _replica("cityscapes"),
            lambda root, split: CityscapesDataset(root, split, protocol="metres" if split == "train" else "mtmamba"),
        ),
        Form("cityscapes_mtan", 22, _replica("cityscapes_mtan"), CityscapesMtanDataset),
        Form("folder", 26, _write_folder, _open_folder, strict=False),
        Form(
            "source_pack",
            22,
            _write_source_pack,
            lambda root, split: NYUDAtrcDataset(open_root(root / PACK), split),
            checked=True,
        ),
        Form("raw_pack", 22, _write_raw_pack, _open_raw_pack, checked=True),
        Form("packed_mtan", 8, _replica("nyud_mtan"), _packed_first(NYUDMtanDataset)),
        Form("packed_pascal", 10, _replica("pascal_context"), _packed_first(PASCALContextDataset)),
        Form("masks", 16, _write_masks, None),
        Form(
            "cityscapes_3d",
            32,
            _replica("cityscapes_3d"),
            lambda root, split: Cityscapes3DDataset(
                root, split, protocol="metres" if split == "train" else "disparity"
            ),
        ),
    )
}


# ---- reading ---------------------------------------------------------------------------------------------------------
def read(form: Form, root: Path) -> Reading:
    """Opens both splits and reads all that is there; every error but ours is a failure of the code."""
    found = Reading()
    if form.open is None:
        for path in sorted(root.glob("mask.*")):
            _guarded(found, path.name, lambda path=path: found.items.update({path.name: _mask(path)}))
        return found
    for split in ("train", "test"):
        opened: list[DenseDataset] = []
        _guarded(found, split, lambda split=split, opened=opened: opened.append(form.open(root, split)))
        for data in opened:
            _guarded(found, split, lambda data=data: _ask_eligible(data))
            for i, image_id in enumerate(data.ids):
                key = f"{split}/{image_id}"
                _guarded(found, key, lambda data=data, i=i, key=key: found.items.update({key: _item(data, i)}))
    return found


def _guarded(found: Reading, where: str, action: Callable[[], None]) -> None:
    try:
        action()
    except MTDenseError as error:
        found.errors.append({"where": where, "problem": error.problem, "mend": error.mend, "text": str(error)})


def _ask_eligible(data: DenseDataset) -> None:
    for index in range(len(data)):
        for task in data.available(index):
            data.eligible(index, task)


def _item(data: DenseDataset, index: int) -> str:
    tasks = sorted(data.available(index))
    raw = data.load(index, tasks)
    _check_valid(data, raw, tasks)
    digest = hashlib.sha256(",".join(tasks).encode())
    for array in (raw.image, *(raw.labels[task] for task in tasks), *([] if raw.camera is None else [raw.camera])):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _check_valid(data: DenseDataset, raw: RawImage, tasks: list[str]) -> None:
    """What is handed out is valid, whatever the files hold; not an error of ours if it is not."""
    assert raw.image.dtype == np.uint8 and raw.image.ndim == 3 and raw.image.shape[2] == 3 and raw.image.size
    built = build_label_kinds(data.task_specs())
    for task in tasks:
        label = raw.labels[task]
        assert built[task].label_size(label) == raw.image.shape[:2], (task, label.shape, raw.image.shape)
        try:
            again = built[task].check_label(label, task)
        except MTDenseError as error:
            raise AssertionError(f"a label that is not valid was handed out: {error}") from error
        assert np.isfinite(again).all(), task
        if task == "normals":
            length = np.linalg.norm(label.astype(np.float64), axis=-1)
            assert ((np.abs(length - 1) < 1e-3) | (length == 0)).all()
    assert raw.camera is None or np.isfinite(raw.camera).all()


def _mask(path: Path) -> str:
    mask = read_label_mask(path, MASK_IDS, MASK_TASKS, columns=MASK_TASKS, dataset="set")
    assert mask.ids == MASK_IDS and mask.tasks == MASK_TASKS and mask.labelled.any(axis=0).all()
    return mask.checksum()


# ---- child processes -------------------------------------------------------------------------------------------------
def in_child(form: Form, root: Path, *, audit: bool = False) -> Reading:
    """Reads in a child process.

    Args:
        form: What to read.
        root: Where it lies.
        audit: Also note which files are opened.

    Raises:
        AssertionError: The child took too long, died, or met an error that is none of ours.
    """
    here, there = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_child, args=(there, form, root, audit), daemon=True)
    child.start()
    there.close()
    try:
        try:
            answer = here.recv() if here.poll(SECONDS) else {"raw": f"no end within {SECONDS:g} s"}
        except EOFError:
            child.join(SECONDS)
            answer = {"raw": f"the child ended with {child.exitcode}"}
    finally:
        if child.is_alive() and not here.closed:
            child.join(1)
        if child.is_alive():
            child.kill()
        child.join()
        here.close()
    assert "raw" not in answer, answer["raw"]
    return Reading(**answer)


def _child(pipe: Any, form: Form, root: Path, audit: bool) -> None:
    try:
        _limit_memory()
        # One error is to be all that people see.
        warnings.simplefilter("error", RuntimeWarning)
        opened: set[str] = set()
        if audit:
            sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == "open" else None)
        found = read(form, root)
        found.opened = sorted(p.relative_to(root).as_posix() for p in map(Path, opened) if p.is_relative_to(root))
        pipe.send(vars(found))
    except BaseException:
        pipe.send({"raw": traceback.format_exc()})


def _limit_memory() -> None:
    if sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
