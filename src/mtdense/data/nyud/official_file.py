"""The file `nyu_depth_v2_labeled.mat`: checked when it is opened, and read frame by frame."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from mtdense.core.errors import DataError
from mtdense.data.io import MAX_PIXELS
from mtdense.data.nyud import facts
from mtdense.geometry import camera_matrix
from mtdense.tasks.base import ArrayAny

__all__ = ["DOWNLOAD_AGAIN", "OFFICIAL_FILE", "REPLICA_ATTRIBUTE", "REPLICA_CAMERAS", "OfficialFile"]

OFFICIAL_FILE = "nyu_depth_v2_labeled.mat"
"""Name of the published file."""

REPLICA_ATTRIBUTE = "mtdense_replica"
"""HDF5 attribute of a replica: JSON with its world, sizes and split."""

REPLICA_CAMERAS = "mtdense_cameras"
"""Key of a replica's cameras, (frames, 3, 3): each scene has its own."""

_PAGE = "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html"

DOWNLOAD_AGAIN = f"Download {OFFICIAL_FILE} (2.8 GB) again from the NYU Depth Dataset V2 page, {_PAGE}."
"""How to mend a damaged file."""

_KINDS = {"images": "u", "depths": "f", "rawDepths": "f", "labels": "iu", "instances": "iu"}
_DAMAGED = (OSError, RuntimeError, LookupError, ValueError, TypeError)


class OfficialFile:
    """`nyu_depth_v2_labeled.mat`, checked when made and read frame by frame.

    Each process opens the file for itself when it reads its first frame, so that workers, forked or spawned, never
    share a handle.

    Args:
        root: Folder of the file.
        depth_key: Key of the depth that will be read.

    Raises:
        DataError: The file is missing, damaged, cut short, or of another layout.
    """

    def __init__(self, root: Path, depth_key: str = "depths") -> None:
        self.path = _find(root)
        self.size: tuple[int, int]
        """Height and width of the frames."""
        self.frames: int
        """Number of frames."""
        self.replica: bool
        """Whether these are procedural scenes."""
        self.splits: dict[str, tuple[int, ...]]
        """{split: its frames, from 1}."""
        self._handle: tuple[int, Any] | None = None
        with self._open() as file, self._damaged("cannot be read"):
            self._check(file, depth_key)
            self.fingerprint = self._fingerprint(file)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def read(self, key: str, frame: int) -> ArrayAny:
        """One frame of a key, as stored: (W, H) or (3, W, H).

        Args:
            key: For example "labels".
            frame: Official number, from 1.

        Raises:
            DataError: It cannot be read.
        """
        file = self._file()
        with self._damaged(f"frame {frame} ({key!r}) cannot be read"):
            return np.asarray(file[key][frame - 1])

    def camera(self, frame: int) -> npt.NDArray[np.float64]:
        """(3, 3) intrinsics of a frame."""
        if not self.replica:
            return camera_matrix(*facts.CAMERA)
        return self.read(REPLICA_CAMERAS, frame).astype(np.float64)

    # ---- handles ----------------------------------------------------------------------------------------------------
    def _file(self) -> Any:
        if self._handle is None or self._handle[0] != os.getpid():
            # A handle that came through a fork is closed first: HDF5 would share its file with the new one.
            inherited, self._handle = self._handle, None
            if inherited is not None:
                inherited[1].close()
            self._handle = (os.getpid(), self._open())
        return self._handle[1]

    def _open(self) -> Any:
        try:
            with self.path.open("rb"):
                pass
            if not h5py.is_hdf5(self.path):
                raise DataError(f"{self.path} is no MATLAB 7.3 file (HDF5)", DOWNLOAD_AGAIN)
            return h5py.File(self.path, "r")
        except FileNotFoundError as error:
            raise DataError(f"no such file: {self.path}", "Put it back.") from error
        except PermissionError as error:
            raise DataError(f"no permission to read {self.path}", "Correct the file's permissions.") from error
        except _DAMAGED as error:
            raise DataError(f"{self.path} is damaged or cut short ({_detail(error)})", DOWNLOAD_AGAIN) from error

    @contextmanager
    def _damaged(self, what: str) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            raise DataError(
                f"{self.path}: {what} ({_detail(error)})", f"The file is damaged. {DOWNLOAD_AGAIN}"
            ) from error

    # ---- checks -----------------------------------------------------------------------------------------------------
    def _check(self, file: Any, depth_key: str) -> None:
        keys = ["images", "labels", "instances", depth_key]
        for key in keys:
            self._check_stored(file, key)
        mark = self._mark(file)
        shape = file["images"].shape
        self.replica = mark is not None
        if mark is None:
            if len(shape) == 4 and shape[0] != facts.FRAMES:
                raise DataError(f"{self.path} has {shape[0]} frames, the official file {facts.FRAMES}", DOWNLOAD_AGAIN)
            self.frames, self.size = facts.FRAMES, facts.SIZE
            self.splits = {"train": facts.TRAIN_FRAMES, "test": facts.TEST_FRAMES}
        else:
            self.frames, self.size, self.splits = self._marked(mark)
            self._check_stored(file, REPLICA_CAMERAS)
            self._check_shape(file, REPLICA_CAMERAS, (self.frames, 3, 3), "f")
        height, width = self.size
        for key in keys:
            middle = (3,) if key == "images" else ()
            self._check_shape(file, key, (self.frames, *middle, width, height), _KINDS[key])
        if file["images"].dtype != np.uint8:
            raise DataError(f"{self.path}: 'images' is {file['images'].dtype}, not uint8", DOWNLOAD_AGAIN)

    def _check_stored(self, file: Any, key: str) -> None:
        if key not in file:
            raise DataError(f"{self.path} has no {key!r} (it has: {', '.join(file) or 'nothing'})", DOWNLOAD_AGAIN)
        link, found = file.get(key, getlink=True), file[key]
        # A link or an external part would make us read some other file.
        if not isinstance(link, h5py.HardLink) or not isinstance(found, h5py.Dataset):
            raise DataError(f"{self.path}: {key!r} is no array of this file", DOWNLOAD_AGAIN)
        if found.external or found.is_virtual:
            raise DataError(f"{self.path}: {key!r} lies in another file", DOWNLOAD_AGAIN)

    def _check_shape(self, file: Any, key: str, shape: tuple[int, ...], kinds: str) -> None:
        found = file[key]
        if found.shape != shape or found.dtype.kind not in kinds:
            raise DataError(
                f"{self.path}: {key!r} has shape {found.shape} of {found.dtype}, expected {shape} of "
                f"{'floating point' if kinds == 'f' else 'whole numbers'}",
                DOWNLOAD_AGAIN,
            )

    def _mark(self, file: Any) -> Any:
        text = file.attrs.get(REPLICA_ATTRIBUTE)
        if text is None:
            return None
        try:
            return json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(
                f"{self.path}: the mark of a replica cannot be read ({_detail(error)})", "Write it anew."
            ) from error

    def _marked(self, mark: Any) -> tuple[int, tuple[int, int], dict[str, tuple[int, ...]]]:
        try:
            height, width = (int(length) for length in mark["size"])
            splits = {split: tuple(int(frame) for frame in mark["split"][split]) for split in ("train", "test")}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{self.path}: the mark of a replica lacks its size or split", "Write it anew.") from error
        listed = sorted([*splits["train"], *splits["test"]])
        sensible = min(height, width) > 0 and height * width <= MAX_PIXELS
        if not sensible or not listed or listed != [*range(1, len(listed) + 1)]:
            raise DataError(f"{self.path}: the mark of a replica makes no sense", "Write it anew.")
        return len(listed), (height, width), splits

    def _fingerprint(self, file: Any) -> str:
        """Cheap, for 2.8 GB: the sizes of the file and of its parts, and the labels of three frames."""
        digest = hashlib.sha256(f"{self.path.stat().st_size}\n".encode())
        for key in sorted(_KINDS):
            if isinstance(file.get(key, getlink=True), h5py.HardLink) and isinstance(file[key], h5py.Dataset):
                found = file[key]
                digest.update(f"{key} {found.shape} {found.dtype} {found.id.get_storage_size()}\n".encode())
        for index in sorted({0, self.frames // 2, self.frames - 1}):
            digest.update(np.ascontiguousarray(file["labels"][index]).tobytes())
        return digest.hexdigest()[:16]


def _find(root: Path) -> Path:
    if root.is_file():
        raise DataError(f"{root} is a file", f"Give the folder that holds {OFFICIAL_FILE}.")
    get = f"Download {OFFICIAL_FILE} (2.8 GB) from the NYU Depth Dataset V2 page, {_PAGE}, into it"
    if not root.is_dir():
        raise DataError(f"no such folder: {root}", f"{get}, or correct `data.root`.")
    if not (root / OFFICIAL_FILE).is_file():
        raise DataError(f"no such file: {root / OFFICIAL_FILE}", f"{get}, or correct `data.root`.")
    return root / OFFICIAL_FILE


def _detail(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
