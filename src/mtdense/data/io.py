"""Reading and writing of single files: photographs, label pictures and arrays.

Nothing here trusts a file: pictures have a size limit, arrays are read without pickle, and every failure is one
`DataError` that names the file.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import scipy.io
from PIL import Image, ImageOps, UnidentifiedImageError

from mtdense.core.errors import DataError
from mtdense.data.location import Location
from mtdense.tasks.base import ArrayAny

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "index_folder",
    "read_array",
    "read_bytes",
    "read_image",
    "read_map",
    "read_mat",
    "write_array",
    "write_image",
    "write_map",
]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".npy", ".webp", ".bmp", ".tif", ".tiff")
"""File types that are recognised, compared in lower case."""

MAX_PIXELS = 100_000_000
"""Largest picture or map that is decoded; more is taken for an image bomb."""

_PNG_END = b"IEND\xaeB`\x82"

# By content, whatever a file is called. Among Pillow's other decoders is one that starts a program (PostScript).
# Pictures of two lenses (MPO) go with JPEG; Pillow knows no name for opening them.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM")


def index_folder(folder: Path) -> dict[str, Path]:
    """Finds the data files below a folder, sub-folders and links included.

    Args:
        folder: An existing folder.

    Returns:
        {stem: path}; the stem is the path relative to `folder` without extension, with "/" between its parts, and keys
        are sorted.

    Raises:
        DataError: The folder is missing, or two files share a stem.
    """
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}", "Create it, or correct the path in the configuration.")
    found: dict[str, Path] = {}
    visited: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:  # a link back to a parent folder would otherwise never end
            folders.clear()
            continue
        visited.add(real)
        for name in files:
            path = Path(place, name)
            if path.suffix.lower() not in EXTENSIONS or name.startswith("."):
                continue
            stem = path.relative_to(folder).with_suffix("").as_posix()
            if stem in found:
                raise DataError(
                    f"two files for one image: {found[stem]} and {path}", "Keep one of them; files match by stem."
                )
            found[stem] = path
    return dict(sorted(found.items()))


@contextmanager
def _reading(path: Location) -> Iterator[None]:
    """Turns whatever a decoder throws into one error that names the file."""
    try:
        _check_regular(path)
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}", "Restore it, or take the image out of the data set.") from error
    except PermissionError as error:
        raise DataError(f"no permission to read {path}", "Correct the file's permissions.") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise DataError(f"{path} is too large: {error}", "Scale it down before use.") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} cannot be decoded (it is none of {', '.join(_FORMATS)})", "Convert it, or copy it again."
        ) from error
    except Exception as error:  # a damaged file makes a decoder raise nearly anything
        detail = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} cannot be decoded ({detail[:300]})", "The file is damaged or cut short: copy or download it again."
        ) from error


def _check_regular(path: Location) -> None:
    """Refuses what is there and no file: to open a pipe may wait for ever, and a device may have no end."""
    if not path.is_file() and path.exists():
        raise IsADirectoryError("it is a folder") if path.is_dir() else OSError("it is no regular file")


def read_bytes(path: Location, limit: int = 1 << 26) -> bytes:
    """Reads a file that should be small: a list, or JSON.

    Args:
        path: The file.
        limit: Bytes that it may have.

    Raises:
        OSError: Missing, not readable, or no regular file.
        ValueError: It has more bytes.
    """
    _check_regular(path)
    if path.stat().st_size > limit:
        raise ValueError(f"it has more than {limit} bytes")
    return path.read_bytes()


def _check_size(path: Location, pixels: int) -> None:
    if pixels > MAX_PIXELS:
        raise DataError(f"{path} has {pixels} pixels, more than the limit of {MAX_PIXELS}", "Scale it down before use.")
    if pixels == 0:
        raise DataError(f"{path} is empty", "Copy or download it again.")


@contextmanager
def _open(path: Location) -> Iterator[Image.Image]:
    with _reading(path), path.open("rb") as stream, Image.open(stream, formats=_FORMATS) as picture:
        _check_size(path, picture.width * picture.height)
        picture.load()
        # Pillow forgives a PNG that ends too early as long as the last row came out, checked or not.
        if picture.format == "PNG" and _PNG_END not in _content(stream):
            raise DataError(f"{path} cannot be decoded (its end is missing)", "Copy or download it again.")
        yield picture


def _content(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read()


def read_image(path: Location) -> npt.NDArray[np.uint8]:
    """Reads a photograph.

    The EXIF orientation is applied: the array is upright as viewers show it, and labels are expected to fit that.
    Grey, palette and CMYK pictures become RGB, an alpha channel is dropped, 16-bit grey keeps its upper eight bits.
    An .npy array is (H, W, 3) or (H, W): uint8, or floating point in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: Missing, damaged, too large, or no picture.
    """
    if path.suffix.lower() == ".npy":
        return _image_from_array(read_array(path), path)
    with _open(path) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I"):
            grey = np.clip(np.asarray(upright).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=-1)
        if upright.mode == "F":
            raise DataError(f"{path} holds floating-point values, not a photograph", "Store it with 8 bits a channel.")
        return np.array(upright.convert("RGB"), dtype=np.uint8)


def _image_from_array(array: ArrayAny, path: Location) -> npt.NDArray[np.uint8]:
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=-1)
    if array.ndim != 3 or array.shape[-1] != 3:
        raise DataError(f"{path} has shape {array.shape}, not (H, W, 3)", "Store photographs as (H, W, 3) arrays.")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if low >= 0.0 and high <= 1.0:  # NaN fails both
            return np.asarray(np.rint(array * 255.0), dtype=np.uint8)
        raise DataError(
            f"{path} has values from {low:g} to {high:g}, outside [0, 1]", "Scale to [0, 1], or store uint8."
        )
    raise DataError(f"{path} has data type {array.dtype}", "Store photographs as uint8, or as floats in [0, 1].")


def read_map(path: Location) -> ArrayAny:
    """Reads a label file as stored: (H, W) or (H, W, C), whatever its data type.

    Palette pictures give their indices, not their colours. Nothing is rotated.

    Raises:
        DataError: Missing, damaged or too large.
    """
    if path.suffix.lower() == ".npy":
        return read_array(path)
    with _open(path) as picture:
        return np.array(picture)


def read_array(path: Location) -> ArrayAny:
    """Reads an .npy array of numbers; pickled objects are refused. A trailing axis of length 1 is dropped.

    Raises:
        DataError: Missing, damaged, too large, or not an array of two or three axes.
    """
    with _reading(path):
        mapped = np.load(path, mmap_mode="r", allow_pickle=False) if isinstance(path, Path) else _viewed(path)
        if not isinstance(mapped, np.ndarray) or mapped.ndim not in (2, 3) or mapped.dtype.kind not in "biuf":
            what = f"shape {mapped.shape}, {mapped.dtype}" if isinstance(mapped, np.ndarray) else "no .npy array"
            raise DataError(f"{path} is no map ({what})", "Store a numeric array (H, W) or (H, W, C).")
        _check_size(path, int(np.prod(mapped.shape[:2])))
        array = np.array(mapped)
    return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array


def _viewed(path: Location) -> ArrayAny:
    """An .npy array in a pack; nothing is allocated for what its header claims."""
    content = path.read_bytes()
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"version {version[0]}.{version[1]} of .npy files is not read")
    if dtype.hasobject:
        raise ValueError("it holds pickled objects")
    if len(content) - stream.tell() < math.prod(shape) * dtype.itemsize:
        raise ValueError(f"it is too short for {shape} of {dtype}")
    return np.ndarray(shape, dtype, content, stream.tell(), order="F" if by_columns else "C")


def read_mat(path: Location, key: str) -> ArrayAny:
    """Reads an (H, W) array of numbers from a .mat file of MATLAB 5 to 7.2.

    Raises:
        DataError: Missing, damaged, too large, of a newer format, or without the array.
    """
    if not path.is_file():
        raise DataError(f"no such file: {path}", "Restore it, or take the image out of the data set.")
    try:
        with path.open("rb") as stream:
            shapes = {name: shape for name, shape, _ in scipy.io.whosmat(stream)}  # type: ignore[arg-type]  # its stubs know no streams
            # Looked at before anything is unpacked.
            if len(shapes.get(key, (1, 1))) != 2 or np.prod(shapes.get(key, (1, 1)), dtype=float) > MAX_PIXELS:
                raise DataError(
                    f"{path}: {key!r} has shape {shapes[key]}", "Store a map (H, W), scaled down if need be."
                )
            stream.seek(0)
            array = scipy.io.loadmat(stream, variable_names=[key]).get(key)  # type: ignore[arg-type]
    except DataError:
        raise
    except NotImplementedError as error:
        raise DataError(f"{path} is of MATLAB 7.3", "Store it with `save -v7`.") from error
    except Exception as error:  # a damaged file makes the decoder raise nearly anything
        detail = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} cannot be decoded ({detail})", "The file is damaged or cut short: copy or download it again."
        ) from error
    if array is None:
        raise DataError(f"{path} has no {key!r}, but {', '.join(sorted(shapes)) or 'nothing'}", "Copy it again.")
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or 0 in array.shape:
        raise DataError(f"{path}: {key!r} is no map of numbers", "Copy or download it again.")
    return array


def write_image(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Writes an RGB picture (H, W, 3); the extension says how. Parent folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def write_map(path: Path, values: ArrayAny, palette: Sequence[Sequence[int]] | None = None) -> None:
    """Writes a map of small numbers as PNG.

    Args:
        path: File to write; parent folders are made.
        values: (H, W) uint8 or uint16, or (H, W, 3) uint8.
        palette: Colours for 8-bit class maps, 0 to 255; the stored values stay class ids.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.ascontiguousarray(values))
    if palette is not None:
        picture.putpalette([int(value) for colour in palette for value in colour])
    picture.save(path)


def write_array(path: Path, values: ArrayAny) -> None:
    """Writes an .npy array. Parent folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values, allow_pickle=False)
