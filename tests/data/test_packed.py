"""Packs give what files give, bit for bit, in this process and in workers."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from mtdense.core.errors import ConfigError, DataError
from mtdense.data import DenseDataset, RawImage
from mtdense.data.location import PackPath, open_root
from mtdense.data.nyud.atrc import NYUDAtrcDataset
from mtdense.data.nyud.atrc_writer import write_atrc_replica
from mtdense.data.nyud.mtan import NYUDMtanDataset
from mtdense.data.nyud.mtan_writer import write_mtan_replica
from mtdense.data.pack import HEADER, Pack
from mtdense.data.pack_work import RawWork, SourceWork, compact, find_files, fingerprint
from mtdense.data.pack_writer import write_pack
from mtdense.data.packed import PackedDataset, open_dataset

SIZE = (24, 32)
KINDS = ["atrc-invpt", "atrc-atrc", "atrc-astmt", "mtan"]


def open_files(kind: str, root: Any, split: str, **options: Any) -> DenseDataset:
    return (NYUDMtanDataset if kind == "mtan" else NYUDAtrcDataset)(root, split, **options)


def pack_source(root: Path, out: Path, name: str, version: str = "set-1") -> Pack:
    work = SourceWork(find_files(root)[0], dataset=name, version=version, source="here", images=4)
    return Pack(write_pack(work, out).path)


def pack_raw(datasets: dict[str, DenseDataset], out: Path, name: str, tasks: list[str], **reading: Any) -> Pack:
    facts = {"dataset": name, "source": "here", "sources": "x", "original_bytes": 1}
    return Pack(write_pack(RawWork(datasets, tasks, reading, **facts), out).path)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """{kind: {folder, source, raw}} of replicas."""
    top = tmp_path_factory.mktemp("packs")
    found = {}
    for kind in KINDS:
        if kind == "mtan":
            root = write_mtan_replica(top / kind, train=3, test=2, size=SIZE)
        else:
            root = write_atrc_replica(top / kind, train=3, test=2, size=SIZE, variant=kind.rpartition("-")[2])  # type: ignore[arg-type]
        name = f"nyud_{kind.partition('-')[0]}"
        datasets = {split: open_files(kind, root, split) for split in ("train", "test")}
        tasks = list(datasets["train"].task_specs())
        source = pack_source(root, top / f"{kind}-source.h5", name, datasets["train"].version).path
        raw = pack_raw(datasets, top / f"{kind}-raw.h5", name, tasks).path
        found[kind] = {"folder": root, "source": source, "raw": raw}
    return found


def assert_same(one: RawImage, other: RawImage) -> None:
    assert one.id == other.id and list(one.labels) == list(other.labels)
    pairs = [(one.image, other.image), *((one.labels[task], other.labels[task]) for task in one.labels)]
    for a, b in pairs:
        assert a.dtype == b.dtype and a.shape == b.shape and a.flags.c_contiguous and a.flags.writeable
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codec", ["source", "raw"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_bit_identical(places: dict[str, dict[str, Path]], kind: str, codec: str, split: str) -> None:
    files = open_files(kind, places[kind]["folder"], split)
    root = open_root(places[kind][codec])
    assert isinstance(root, PackPath)
    packed = PackedDataset(root.pack, split) if codec == "raw" else open_files(kind, root, split)
    assert list(packed.ids) == list(files.ids) and packed.version == files.version
    assert packed.task_specs() == files.task_specs() and packed.derived == files.derived
    assert isinstance(packed, PackedDataset) == (codec == "raw")
    for index in range(len(files)):
        tasks = sorted(files.available(index))
        assert packed.available(index) == files.available(index)
        assert [packed.eligible(index, t) for t in tasks] == [files.eligible(index, t) for t in tasks]
        assert_same(packed.load(index, tasks), files.load(index, tasks))
        assert_same(packed.load(index, tasks[:1]), files.load(index, tasks[:1]))
    assert packed.load(0, []).labels == {}


def test_a_source_pack_is_hardly_larger_than_its_files(tmp_path: Path) -> None:
    root = write_atrc_replica(tmp_path / "data", train=3, test=1, size=(120, 160))
    size = pack_source(root, tmp_path / "x.h5", "nyud_atrc").path.stat().st_size
    files = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert files < size <= 1.05 * files


class Loaded(Dataset[Any]):
    def __init__(self, dataset: DenseDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> RawImage:
        return self.dataset.load(index, ["depth", "semseg"])


def same(batch: Any) -> Any:
    return batch


@pytest.mark.parametrize("codec", ["source", "raw"])
@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_read_packs(places: dict[str, dict[str, Path]], codec: str, context: str) -> None:
    root = open_root(places["atrc-invpt"][codec])
    assert isinstance(root, PackPath)
    packed = PackedDataset(root.pack, "train") if codec == "raw" else NYUDAtrcDataset(root, "train")
    expected = [packed.load(index, ["depth", "semseg"]) for index in range(3)]  # opened and read before it is forked
    loader = DataLoader(
        Loaded(packed), batch_size=None, collate_fn=same, num_workers=2, multiprocessing_context=context
    )
    for _ in range(2):
        for found, wanted in zip(loader, expected, strict=True):
            assert_same(found, wanted)
    assert_same(pickle.loads(pickle.dumps(packed)).load(1, ["depth", "semseg"]), expected[1])


def test_only_what_is_asked_for_is_read(places: dict[str, dict[str, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    packed = PackedDataset(Pack(places["mtan"]["raw"]), "test")
    seen: list[str] = []
    read = Pack.read_into
    monkeypatch.setattr(Pack, "read_into", lambda self, wanted: (seen.extend(n for n, _ in wanted), read(self, wanted)))
    packed.load(1, ["depth"])
    assert seen == ["test/val-1/image", "test/val-1/depth"]


def test_payload_damage_in_a_label(places: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(places["mtan"]["raw"].read_bytes())
    entry = Pack(path).entries["train/train-1/depth"]
    with h5py.File(path, "a") as file:
        file["content"][entry.offset + 5] ^= 1
    packed = PackedDataset(Pack(path), "train")
    packed.load(0, ["depth"])
    packed.load(1, ["semseg"])
    with pytest.raises(DataError, match=r"payload damage: the entry 'train/train-1/depth' of .*x\.h5"):
        packed.load(1, ["depth"])


class Odd(DenseDataset):
    """Labels that not every image has, a camera, images of several sizes, values that are hard to store."""

    ids = ("a", "town/b", "c")
    version = "odd-1"
    derived = frozenset({"edges", "depth"})
    size = ((4, 5), (6, 7), (4, 5))

    def task_specs(self) -> dict[str, dict[str, Any]]:
        return {"depth": {"unit": "metres"}, "edges": {}, "normals": {}}

    def available(self, index: int) -> frozenset[str]:
        return frozenset([{"depth", "edges"}, {"edges"}, {"depth", "edges", "normals"}][index])

    def eligible(self, index: int, task: str) -> bool:
        return task in self.available(index) and not (index == 0 and task == "depth")

    def load(self, index: int, tasks: Collection[str]) -> RawImage:
        rng = np.random.default_rng(index)
        shape = self.size[index]
        edges = np.where(rng.random(shape) < 0.5, 255, 1).astype(np.float32)
        depth = rng.random(shape).astype(np.float32)
        depth[0, 0], depth[0, 1], depth[0, 2] = -0.0, np.nan, np.inf
        labels = {"edges": edges, "depth": depth, "normals": np.zeros((*shape, 3), np.float32)}
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        return RawImage(self.ids[index], image, {task: labels[task] for task in tasks}, np.eye(3) * index, 0.1 * index)


def test_whatever_a_data_set_gives(tmp_path: Path) -> None:
    odd = Odd()
    pack = pack_raw({"train": odd}, tmp_path / "x.h5", "odd", ["edges", "depth", "normals"])
    packed = PackedDataset(pack, "train", tasks=["edges"])
    assert packed.derived == odd.derived and packed.task_specs() == odd.task_specs()
    for index in range(3):
        assert packed.available(index) == odd.available(index)
        for task in odd.task_specs():
            assert packed.eligible(index, task) == odd.eligible(index, task)
        one, other = (data.load(index, sorted(odd.available(index))) for data in (packed, odd))
        assert_same(one, other)
        assert one.camera is not None and other.camera is not None
        np.testing.assert_array_equal(one.camera, other.camera)
        assert one.baseline == other.baseline == 0.1 * index
    assert pack.entries["train/town/b/edges"].size == 42  # 8 bits hold 1 and 255
    assert pack.entries["train/a/depth"].size == 80
    with pytest.raises(DataError, match=r"'town/b' of .* has no depth label"):
        PackedDataset(pack, "train", tasks=["depth"])
    with pytest.raises(DataError, match=r"'town/b' of .* has no depth label"):
        packed.load(1, ["depth"])
    some = pack_raw({"train": odd}, tmp_path / "some.h5", "odd", ["edges"])
    assert PackedDataset(some, "train").available(2) == {"edges"} and PackedDataset(some, "train").derived == {"edges"}


@pytest.mark.parametrize(
    ("array", "stored"),
    [
        (np.array([[0, 255]]), np.uint8),
        (np.array([[0, 256]]), np.uint16),
        (np.array([[0, 65536]]), np.int64),
        (np.array([[-1, 0]]), np.int64),
        (np.array([[0, 255]], np.float32), np.uint8),
        (np.array([[-0.0, 1]], np.float32), np.float32),
        (np.array([[0.5, 1]], np.float32), np.float32),
        (np.array([[np.nan, 1]], np.float32), np.float32),
        (np.array([[np.inf, 1]], np.float32), np.float32),
        (np.array([[0, 300]], np.uint16), np.uint16),
        (np.zeros((0, 3)), np.float64),
        (np.array([[True]]), np.bool_),
    ],
)
def test_smaller_types_lose_nothing(array: np.ndarray, stored: Any) -> None:
    small = compact(array)
    assert small.dtype == stored
    assert small.astype(array.dtype).tobytes() == array.tobytes()


def test_a_raw_image_has_no_parts_that_packs_do_not_know() -> None:
    """A new field of RawImage needs a place in raw packs, and a new format version."""
    assert [field.name for field in dataclasses.fields(RawImage)] == ["id", "image", "labels", "camera", "baseline"]


def test_options_must_be_those_of_the_pack(places: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    folder = places["atrc-invpt"]["folder"]
    reading = {"void_zero": False, "crop_size": (20, 30)}
    datasets: dict[str, DenseDataset] = {"train": NYUDAtrcDataset(folder, "train", **reading)}
    pack = pack_raw(datasets, tmp_path / "x.h5", "nyud_atrc", ["semseg"], **reading)

    def opened(root: Any, **options: Any) -> DenseDataset:
        return open_dataset(NYUDAtrcDataset, root, "train", name="nyud_atrc", tasks=["semseg"], reading=options)

    found = opened(open_root(pack.path), **reading)
    assert isinstance(found, PackedDataset) and found.load(0, ["semseg"]).image.shape == (20, 30, 3)
    with pytest.raises(ConfigError, match="was made with void_zero False, not True"):
        opened(open_root(pack.path), **{**reading, "void_zero": True})
    with pytest.raises(ConfigError, match="was made with crop_size"):
        opened(open_root(pack.path), void_zero=False)
    source = opened(open_root(places["atrc-invpt"]["source"]), **reading)
    assert isinstance(source, NYUDAtrcDataset)
    assert_same(found.load(1, ["semseg"]), source.load(1, ["semseg"]))
    assert isinstance(opened(folder), NYUDAtrcDataset)
    with pytest.raises(DataError, match="is a pack of nyud_mtan, not of nyud_atrc"):
        opened(open_root(places["mtan"]["raw"]))
    with pytest.raises(DataError, match="is a raw pack, and files are needed"):
        NYUDAtrcDataset(open_root(pack.path), "train")
    with pytest.raises(ConfigError, match=r"has no split 'test'(.|\n)*It has: train"):
        PackedDataset(pack, "test")
    with pytest.raises(DataError, match="is a pack of source files"):
        PackedDataset(Pack(places["mtan"]["source"]), "train")


def test_a_raw_pack_of_a_source_pack(places: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    root = open_root(places["mtan"]["source"])
    pack = pack_raw({"test": NYUDMtanDataset(root, "test")}, tmp_path / "x.h5", "nyud_mtan", ["semseg"])
    files = NYUDMtanDataset(places["mtan"]["folder"], "test")
    assert_same(PackedDataset(pack, "test").load(1, ["semseg"]), files.load(1, ["semseg"]))
    assert fingerprint(root) == fingerprint(root) != fingerprint(places["mtan"]["folder"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c.pop("forms"),
        lambda c: c["splits"]["train"]["ids"].pop(),
        lambda c: c["splits"]["train"]["forms"].__setitem__(0, 7),
        lambda c: c["splits"]["train"]["forms"].__setitem__(0, -1),
        lambda c: c["forms"][0]["arrays"]["depth"].__setitem__(0, "object"),
        lambda c: c["forms"][0]["arrays"]["depth"][2].__setitem__(0, 10**9),
        lambda c: c["forms"][0]["arrays"]["image"].__setitem__(2, [24, 32]),
        lambda c: c["forms"][0]["arrays"].pop("image"),
        lambda c: c["splits"].__setitem__("train", []),
    ],
)
def test_a_catalogue_that_makes_no_sense(places: dict[str, dict[str, Path]], tmp_path: Path, spoil: Any) -> None:
    import hashlib

    path = tmp_path / "x.h5"
    path.write_bytes(places["mtan"]["raw"].read_bytes())
    catalogue = json.loads(Pack(path).catalogue)
    spoil(catalogue)
    content = json.dumps(catalogue).encode()
    with h5py.File(path, "a") as file:
        del file["catalogue"]
        file["catalogue"] = np.frombuffer(content, np.uint8)
    with pytest.raises(DataError, match="its catalogue does not have its checksum"):
        PackedDataset(Pack(path), "train")
    with h5py.File(path, "a") as file:  # by whoever writes checksums, too
        header = json.loads(file.attrs[HEADER])
        header["catalogue_sha256"] = hashlib.sha256(content).hexdigest()
        file.attrs[HEADER] = json.dumps(header)
    with pytest.raises(DataError, match=r"the catalogue of .*x\.h5 makes no sense"):
        PackedDataset(Pack(path), "train")
