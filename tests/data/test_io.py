"""Files: what is read right, and what is refused with the file's name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtdense.core.errors import DataError
from mtdense.data import io

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_png_and_jpeg(tmp_path: Path) -> None:
    io.write_image(tmp_path / "a.png", PICTURE)
    np.testing.assert_array_equal(io.read_image(tmp_path / "a.png"), PICTURE)
    smooth = np.repeat(np.linspace(0, 255, 30).astype(np.uint8)[None, :, None], 20, 0).repeat(3, 2)
    io.write_image(tmp_path / "a.jpg", smooth)
    assert np.abs(io.read_image(tmp_path / "a.jpg").astype(int) - smooth).max() < 12


@pytest.mark.parametrize("extension", [*io.EXTENSIONS, ".mpo.jpg"])
def test_every_file_type_is_read(tmp_path: Path, extension: str) -> None:
    """Of two lenses (MPO), the first picture."""
    path = tmp_path / f"a{extension}"
    grey = np.full_like(PICTURE, 90)
    if extension == ".npy":
        io.write_array(path, grey)
    elif extension == ".mpo.jpg":
        two = [Image.fromarray(grey), Image.fromarray(PICTURE)]
        two[0].save(path, format="MPO", save_all=True, append_images=two[1:])
    else:
        io.write_image(path, grey)
    np.testing.assert_allclose(io.read_image(path).astype(int), grey, atol=3)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.fromarray(PICTURE).convert(mode).save(path)
    image = io.read_image(path)
    assert image.shape == (20, 30, 3) and image.dtype == np.uint8


def test_sixteen_bit_grey_keeps_its_upper_bits(tmp_path: Path) -> None:
    Image.fromarray((np.arange(600, dtype=np.uint16) * 100).reshape(20, 30)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        io.read_image(tmp_path / "a.png")[..., 1], (np.arange(600) * 100 >> 8).reshape(20, 30)
    )


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees to the right to view"
    Image.fromarray(PICTURE).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(io.read_image(tmp_path / "a.png"), np.rot90(PICTURE, -1))


def test_arrays_as_photographs(tmp_path: Path) -> None:
    io.write_array(tmp_path / "a.npy", PICTURE / 255)
    np.testing.assert_array_equal(io.read_image(tmp_path / "a.npy"), PICTURE)
    for number, bad in enumerate([PICTURE.astype(float), PICTURE[..., :2], PICTURE.astype(np.int32)]):
        io.write_array(path := tmp_path / f"{number}.npy", bad)
        with pytest.raises(DataError, match=f"{number}.npy"):
            io.read_image(path)


def test_maps_are_read_as_stored(tmp_path: Path) -> None:
    classes = RNG.integers(0, 11, (20, 30), dtype=np.uint8)
    io.write_map(tmp_path / "p.png", classes, palette=[[i, 7 * i % 256, 255 - i] for i in range(256)])
    np.testing.assert_array_equal(io.read_map(tmp_path / "p.png"), classes)
    depth = RNG.integers(0, 65536, (20, 30)).astype(np.uint16)
    io.write_map(tmp_path / "d.png", depth)
    read = io.read_map(tmp_path / "d.png")
    np.testing.assert_array_equal(read, depth)
    io.write_array(tmp_path / "n.npy", depth[..., None].astype(np.float32))
    assert io.read_map(tmp_path / "n.npy").shape == (20, 30)


def test_truncated_png_names_the_file(tmp_path: Path) -> None:
    io.write_image(path := tmp_path / "cut.png", PICTURE)
    path.write_bytes(path.read_bytes()[:-400])
    for read in (io.read_image, io.read_map):
        with pytest.raises(DataError, match=r"cut\.png cannot be decoded") as caught:
            read(path)
        assert caught.value.mend is not None


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"not a picture", b"\xff\xd8\xff\xe0 half"])
@pytest.mark.parametrize("name", ["bad.png", "bad.jpg", "bad.npy"])
def test_rubbish_names_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        io.read_image(tmp_path / name)


def test_cut_array_and_pickles_are_refused(tmp_path: Path) -> None:
    io.write_array(path := tmp_path / "cut.npy", PICTURE)
    path.write_bytes(path.read_bytes()[:-9])
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    io.write_array(tmp_path / "vector.npy", np.zeros(3))
    io.write_array(tmp_path / "empty.npy", np.zeros((0, 3)))
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    for name in ("cut", "pickle", "vector", "empty", "text"):
        with pytest.raises(DataError, match=rf"{name}\.npy"):
            io.read_array(tmp_path / f"{name}.npy")


def test_image_bombs_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io.write_image(tmp_path / "bomb.png", PICTURE)
    io.write_array(tmp_path / "bomb.npy", PICTURE)
    monkeypatch.setattr(io, "MAX_PIXELS", 599)
    for name in ("bomb.png", "bomb.npy"):
        with pytest.raises(DataError, match=rf"{name} has 600 pixels"):
            io.read_image(tmp_path / name)


def test_missing_file(tmp_path: Path) -> None:
    for name in ("a.png", "a.npy"):
        with pytest.raises(DataError, match="no such file"):
            io.read_map(tmp_path / name)


def test_index_of_a_folder(tmp_path: Path) -> None:
    for name in ("b/c.PNG", "a.jpg", "b/d.x.npy", "notes.txt", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    assert list(io.index_folder(tmp_path)) == ["a", "b/c", "b/d.x"]
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.(jpg|png) and .*a\.(jpg|png)"):
        io.index_folder(tmp_path)
    with pytest.raises(DataError, match="nowhere"):
        io.index_folder(tmp_path / "nowhere")


def test_linked_folders_and_files_are_followed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "x.png").touch()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "set").symlink_to(tmp_path / "store")
    (tmp_path / "images" / "y.png").symlink_to(tmp_path / "store" / "x.png")
    assert list(io.index_folder(tmp_path / "images")) == ["set/x", "y"]
