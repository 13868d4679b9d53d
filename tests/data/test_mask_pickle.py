"""Pickled label masks: hostile files are refused, and nothing of them runs."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import shutil
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtdense.core.errors import DataError
from mtdense.data.mask_files import read_label_mask
from mtdense.data.mask_pickle import MAX_BYTES, load_npy, load_torch

HEADER = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def npy(path: Path, content: object) -> None:
    array = np.empty((), dtype=object)
    array[()] = content
    np.save(path, array, allow_pickle=True)


def zipped(path: Path, content: object) -> None:
    torch.save(content, path)


def legacy(path: Path, content: object) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [npy, zipped, legacy])
@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: {"labels_weights": p}, lambda p: {"semseg": ["a", p]}])
def test_a_malicious_file_is_refused_and_does_not_run(
    tmp_path: Path, write: Callable[[Path, object], None], wrap: Callable[[object], object]
) -> None:
    mark, file = tmp_path / "ran", tmp_path / "mask.pth"
    write(file if write is not npy else tmp_path / "mask.npy", wrap(Payload(mark)))
    file = next(p for p in tmp_path.iterdir() if p.name.startswith("mask"))
    # The payload is a real one: careless readers run it.
    if write is npy:
        np.load(file, allow_pickle=True)
    else:
        torch.load(file, weights_only=False)
    assert mark.exists()
    mark.unlink()
    with pytest.raises(DataError, match="nothing was run") as caught:
        read_label_mask(file, ["a"], ["semseg"], columns=["semseg"])
    assert not mark.exists()
    assert str(file) in caught.value.problem
    assert "posix.system" in caught.value.problem
    assert "add_safe_globals" not in str(caught.value)


def t(text: str) -> bytes:
    """Pickled text."""
    return b"\x8c" + bytes([len(text)]) + text.encode()


def call(name: bytes, *arguments: bytes) -> bytes:
    """Pickled call of a global."""
    return b"c" + name.replace(b" ", b"\n") + b"\n(" + b"".join(arguments) + b"tR"


CORE = b"numpy.core.multiarray "
DTYPE_I8 = call(b"numpy dtype", t("i8"))
ARRAY = call(CORE + b"_reconstruct", b"cnumpy\nndarray\n", b"(K\x00t", b"C\x01b")


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (call(b"os system", t("touch {mark}")), "asks for 'os.system'"),
        (b"\x80\x04" + t("posix") + t("system") + b"\x93" + t("touch {mark}") + b"\x85R", "asks for 'posix.system'"),
        (b"(S'touch {mark}'\nios\nsystem\n", "the pickle instruction"),
        (call(b"builtins eval", t("__import__('os').system('touch {mark}')")), "asks for 'builtins.eval'"),
        (call(b"builtins getattr", b"cos\nsystem\n", t("__call__")), "asks for 'builtins.getattr'"),
        (call(b"__builtin__ eval", t("1")), "asks for '__builtin__.eval'"),
        (call(b"numpy load", t("{mark}")), "asks for 'numpy.load'"),
        (call(CORE + b"fromfile", t("{mark}")), "asks for 'numpy.core.multiarray.fromfile'"),
        (t("numpy._core.multiarray") + t("scalar.__new__") + b"\x93", "scalar.__new__"),
        (b"\x82\x01", "the pickle instruction EXT1"),
        (b"Pid\n", "the pickle instruction PERSID"),
    ],
)
def test_pickle_tricks_are_refused(tmp_path: Path, pickled: bytes, reason: str) -> None:
    # The length before a text counts the placeholder, so the mark has a short name where it is run from.
    mark = tmp_path / "ran"
    content = HEADER + pickled.replace(b"{mark}", b"ran   ") + b"."
    with contextlib.chdir(tmp_path), pytest.raises(DataError, match="nothing was run") as caught:
        load_npy(Path("m.npy"), content)
    assert reason in caught.value.problem
    assert not mark.exists()


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"c" + CORE.replace(b" ", b"\n") + b"scalar\n}b.", "__setstate__"),  # a name is no place for attributes
        (call(b"numpy dtype", t("i8")) + b"Nb.", "NoneType"),
        (DTYPE_I8 + b"(K\x03" + t("<") + t("f4") + b"NNtb.", "a structured data type"),
        (call(b"numpy dtype", t("V8")) + b".", "other than text, numbers and objects"),  # raw memory
        (call(b"numpy dtype", t("M8[ns]")) + b".", "other than text, numbers and objects"),
        (call(CORE + b"scalar", call(b"numpy dtype", t("O8")), t("x")) + b".", "neither text nor number"),
        (call(CORE + b"scalar", DTYPE_I8, b"C\x04abcd") + b".", "4 bytes for 1 values"),
        (call(CORE + b"scalar", call(b"numpy dtype", t("U1")), b"C\x04\xff\xff\xff\xff") + b".", "utf-32"),
        (call(CORE + b"_reconstruct", b"cnumpy\ndtype\n", b"(K\x00t", b"C\x01b") + b".", "unknown class"),
        (call(b"_codecs encode", t("x"), t("zlib")) + b".", "unknown encoding"),
        (ARRAY + b"(K\x01(K\x02t" + call(b"numpy dtype", t("O8")) + b"\x89]tb.", "a shape (2,), but 0 values"),
        (ARRAY + b"(K\x01(K\x02t" + DTYPE_I8 + b"\x89C\x08abcdefghtb.", "a shape (2,), but 1 values"),
        (ARRAY + b"(K\x01(K\x01t" + DTYPE_I8 + b"\x89C\x09abcdefghitb.", "9 bytes for 1 values"),
        (ARRAY + b"(K\x01]" + DTYPE_I8 + b"\x89C\x00tb.", "no tuple of sizes"),
        (ARRAY + b"(K\x01((K\x01tt" + DTYPE_I8 + b"\x89C\x00tb.", "no tuple of sizes"),
        (ARRAY + b"(K\x01(" + 33 * b"K\x01" + b"t" + DTYPE_I8 + b"\x89C\x00tb.", "no tuple of sizes"),
        # An empty text, a billion times.
        (
            ARRAY + b"(K\x01(J\x00\x00\x00\x40t" + call(b"numpy dtype", t("U0")) + b"\x89C\x00tb.",
            "a shape (1073741824,), but 0 values",
        ),
        (b"}r\xff\xff\xff\x7f.", "memo entry out of range"),
        (b"C\xffab.", "expected 255 bytes"),
        (b"h\x07.", "Memo value not found"),
        (b".", "stack"),
        (b"", "pickle exhausted"),
    ],
)
def test_malformed_pickles_end_in_one_error(pickled: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=r"m\.npy is damaged") as caught:
        load_npy(Path("m.npy"), HEADER + pickled)
    assert reason in caught.value.problem


def test_the_same_names_are_as_harmless_in_a_torch_file(tmp_path: Path) -> None:
    def x(text: str) -> bytes:
        return b"X" + bytes([len(text), 0, 0, 0]) + text.encode()

    for number, pickled in enumerate((call(b"numpy dtype", x("V8")) + b".", b"cnumpy.core.multiarray\nscalar\n}b.")):
        file = tmp_path / f"{number}.pth"
        torch.save({}, file)
        with zipfile.ZipFile(file) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, b"\x80\x02" + pickled if name.endswith("data.pkl") else data)
        with pytest.raises(DataError, match="damaged"):
            load_torch(file, file.read_bytes())


def test_bytes_of_protocol_2() -> None:
    array = np.empty((), dtype=object)
    array[()] = {"semseg": [np.str_("ü")], "w": np.eye(2, dtype=np.float32), "none": np.array([], dtype="U1")}
    found = load_npy(Path("m.npy"), HEADER + pickle.dumps(array, protocol=2))
    assert (found["semseg"], found["w"].tolist(), found["none"]) == (["ü"], [[1.0, 0.0], [0.0, 1.0]], [])


def test_other_versions_of_npy_are_refused() -> None:
    with pytest.raises(DataError, match="version"):
        load_npy(Path("m.npy"), HEADER.replace(b"\x01\x00", b"\x03\x00", 1) + b"N.")


def test_large_contents_of_small_files_are_refused(tmp_path: Path) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(MAX_BYTES + 1))
    with pytest.raises(DataError, match="unpacks to"):
        load_torch(Path("m.pth"), bomb.getvalue())
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 3)})
    with pytest.raises(DataError, match=r"a shape \(1000000000000, 3\), but 10 values"):
        load_npy(Path("m.npy"), stream.getvalue() + bytes(40))


class Call:
    """Calls a function with arguments when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def again(made: bytes, each: bytes, times: int) -> bytes:
    """Pickled list: something that is made once, put into the memo at 0, and what is made of it many times."""
    return b"](" + made + b"q\x00" + times * each + b"e"


def nested(levels: int) -> bytes:
    """Each mapping holds an array twice, and that one the mapping before: written once, walked 2**levels times."""
    cell = ARRAY + b"(K\x01)" + call(b"numpy dtype", t("O8")) + b"\x89](%betb"
    inner = b"}"
    for _ in range(levels):
        inner = b"}" + b"(K\x01" + cell % inner + b"q\x00K\x02h\x00u"
    return inner


WIDE = ARRAY + b"(K\x01(J\x80\x84\x1e\x00K\x00t%b\x89C\x00tb"  # an array of shape (2000000, 0)
MANY = ARRAY + b"(K\x01(J\x0f\x27\x00\x00t" + call(b"numpy dtype", t("U1")) + b"\x89h\x00tb"  # 9999 letters
WORD = call(CORE + b"scalar", call(b"numpy dtype", t("U9999")), b"h\x00")  # the same in one word
LETTERS = b"B" + (4 * 9999).to_bytes(4, "little") + "x".ljust(9999, "y").encode("utf-32-le")
TEXT = b"X" + (10**5).to_bytes(4, "little") + bytes(10**5)
PAD = b"B" + (4 * 10**6).to_bytes(4, "little") + bytes(4 * 10**6)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A limit of 8 MiB, and a look at the memory that was taken in fact."""
    monkeypatch.setattr("mtdense.data.mask_pickle._MEMORY", 8 * 2**20)
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        pytest.param(WIDE % call(b"numpy dtype", t("U1")), "a shape (2000000, 0), but 0 values", id="empty-texts"),
        pytest.param(WIDE % DTYPE_I8, "a shape (2000000, 0), but 0 values", id="empty-numbers"),
        pytest.param(again(LETTERS, MANY, 900), "more memory", id="letters"),
        pytest.param(again(LETTERS, WORD, 9000), "more memory", id="words"),
        pytest.param(again(TEXT, call(b"_codecs encode", b"h\x00", t("latin1")), 900), "more memory", id="bytes"),
        pytest.param(b"](" + b"}" * 10**6 + b"e", "more memory", id="empty-mappings"),
        pytest.param(b"](}r\x00\x09\x3d\x00" + PAD + b"e", "memo entry out of range", id="memo"),
        pytest.param(nested(18), "more memory", id="nested"),
    ],
)
def test_small_npy_files_take_little_memory(pickled: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=r"m\.npy is damaged") as caught:
        load_npy(Path("m.npy"), HEADER + pickled + b".")
    assert reason in caught.value.problem


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("write", [zipped, legacy])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(
            lambda: {i: torch.zeros(1).expand(4_000_000) for i in range(8)},
            "a shape (4000000,), but 1 values",
            id="expanded",
        ),
        pytest.param(
            lambda: {"labels_weights": torch.zeros(6).expand(10**9, 6)}, "a shape (1000000000, 6)", id="table"
        ),
        pytest.param(lambda: {"a": torch.zeros(2_000_000, 0)}, "a shape (2000000, 0), but 0 values", id="empty-rows"),
        pytest.param(lambda: dict(enumerate(torch.zeros(10**5).expand(900, -1))), "more memory", id="views"),
        pytest.param(
            lambda: Call(
                torch._utils._rebuild_device_tensor_from_cpu_tensor,
                torch.zeros(1).expand(10**7),
                torch.float64,
                torch.device("cpu"),
                False,
            ),
            "a tensor of an unusual kind",
            id="converted",
        ),
        pytest.param(lambda: Call(bytearray, 10**8), "bytearray", id="bytearray"),
        pytest.param(lambda: Call(torch.FloatTensor, 10**7), "asks for 'torch.FloatTensor'", id="allocated"),
        pytest.param(lambda: Call(OrderedDict, {i: i for i in range(9)}), "is damaged", id="copied"),
    ],
)
def test_small_torch_files_take_little_memory(
    tmp_path: Path, write: Callable[[Path, object], None], make: Callable[[], object], reason: str
) -> None:
    write(tmp_path / "m.pth", make())
    with pytest.raises(DataError) as caught:
        load_torch(Path("m.pth"), (tmp_path / "m.pth").read_bytes())
    assert reason in caught.value.problem


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"K\x07t", b"K\x08t", "28 bytes for 8 values"),
        (b"K\x07\x85", b"K\x08\x85", "a shape (8,), but 7 values"),
        (b"K\x07\x85", b"J\xff\xff\xff\xff\x85", "no tuple of sizes"),
        (b"QK\x00", b"QK\x01", "a tensor (7,) beyond its 7 values"),
        (b"QK\x00", b"QJ\xff\xff\xff\xff", "unusual strides"),
        (b"K\x01\x85", b"K\x02\x85", "a tensor (7,) beyond its 7 values"),
        (b"K\x01\x85", b"J\xff\xff\xff\xff\x85", "unusual strides"),
        (b"K\x01\x85", b")", "unusual strides"),
        (b"storage", b"Storage", "a storage of an unknown kind"),
        (b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n", "a storage of an unknown kind"),
    ],
)
def test_tensors_stay_within_their_storages(tmp_path: Path, old: bytes, new: bytes, reason: str) -> None:
    torch.save(torch.zeros(7), tmp_path / "m.pth")
    content = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "m.pth") as archive, zipfile.ZipFile(content, "w") as changed:
        assert archive.read("m/data.pkl").count(old) == 1
        for name in archive.namelist():
            data = archive.read(name)
            changed.writestr(name, data.replace(old, new) if name == "m/data.pkl" else data)
    with pytest.raises(DataError, match=r"m\.pth is damaged") as caught:
        load_torch(Path("m.pth"), content.getvalue())
    assert reason in caught.value.problem


@pytest.mark.parametrize("write", [zipped, legacy])
@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.half, torch.float64]
)
def test_tensors_come_as_they_were(tmp_path: Path, write: Callable[[Path, object], None], dtype: torch.dtype) -> None:
    table = torch.arange(24).reshape(4, 6).remainder(5).to(dtype)
    views = {
        "all": table,
        "turned": table.T,
        "part": table[1:, ::2],
        "row": table[2],
        "one": table[3, 4],
        "again": table,
    }
    write(tmp_path / "m.pth", views)
    found = load_torch(Path("m.pth"), (tmp_path / "m.pth").read_bytes())
    assert list(found) == list(views)
    for name, tensor in views.items():
        np.testing.assert_array_equal(found[name], tensor.double().numpy())
    write(tmp_path / "m.pth", OrderedDict(w=torch.nn.Parameter(torch.eye(2))))
    assert load_torch(Path("m.pth"), (tmp_path / "m.pth").read_bytes())["w"].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_numbers_in_another_byte_order_are_refused(tmp_path: Path) -> None:
    legacy(tmp_path / "m.pth", torch.zeros(7))
    content = (tmp_path / "m.pth").read_bytes()
    little = content.index(b"\x88", content.index(b"little_endian"))
    with pytest.raises(DataError, match="big-endian"):
        load_torch(Path("m.pth"), content[:little] + b"\x89" + content[little + 1 :])
    zipped(tmp_path / "m.pth", torch.zeros(7))
    content = (tmp_path / "m.pth").read_bytes()
    swapped = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "m.pth") as archive, zipfile.ZipFile(swapped, "w") as changed:
        for name in archive.namelist():
            changed.writestr(name, b"big" if name.endswith("byteorder") else archive.read(name))
    with pytest.raises(DataError, match="big-endian"):
        load_torch(Path("m.pth"), swapped.getvalue())


def test_archives_that_torch_did_not_write(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="none that torch wrote"):
        load_torch(Path("m.npz"), (tmp_path / "m.npz").read_bytes())
    with pytest.raises(DataError, match="damaged"):
        load_torch(Path("m.pth"), pickle.dumps({"a": 1}, protocol=2))


@pytest.mark.parametrize("tensor", [torch.eye(3).to_sparse(), torch.ones(3, 2, dtype=torch.complex64)])
def test_unusual_tensors_are_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    zipped(tmp_path / "m.pth", tensor)
    with pytest.raises(DataError, match="a tensor of an unusual kind"):
        load_torch(Path("m.pth"), (tmp_path / "m.pth").read_bytes())


def test_values_come_out_plain(tmp_path: Path) -> None:
    content: dict[str, Any] = {
        np.str_("key"): [np.str_("ü"), np.int64(-3), np.float32(0.5), np.bool_(True), "", np.str_("")],
        "text": np.array([["a", "bc"], ["", "d"]]),
        "big": np.array([1, -2], dtype=">i4"),
        "objects": np.array(["a", 1], dtype=object),
        "none": np.array([], dtype="U3"),
    }
    npy(tmp_path / "m.npy", content)
    zipped(tmp_path / "m.pth", content)
    for found in (
        load_npy(Path("m.npy"), (tmp_path / "m.npy").read_bytes()),
        load_torch(Path("m.pth"), (tmp_path / "m.pth").read_bytes()),
    ):
        assert found["key"] == ["ü", -3, 0.5, True, "", ""]
        assert [type(value) for value in found["key"]] == [str, int, float, bool, str, str]
        assert found["text"] == [["a", "bc"], ["", "d"]]
        assert found["big"].tolist() == [1, -2]
        assert found["objects"] == ["a", 1]
        assert found["none"] == []


class Copying(Payload):
    """Runs a function that torch does not forbid whatever others allow."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return shutil.copyfile, (__file__, str(self.mark))


def test_what_others_allowed_torch_to_load_is_neither_used_nor_lost(tmp_path: Path) -> None:
    mark, file = tmp_path / "ran", tmp_path / "m.pth"
    zipped(file, Copying(mark))
    before = torch.serialization.get_safe_globals()
    try:
        torch.serialization.add_safe_globals([shutil.copyfile])
        torch.load(file, weights_only=True)
        assert mark.exists()
        mark.unlink()
        with pytest.raises(DataError, match="nothing was run"):
            load_torch(file, file.read_bytes())
        assert shutil.copyfile in torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
    assert not mark.exists()
