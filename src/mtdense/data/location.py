"""Where the files of a data set lie: in a folder, or in a pack of source files; reading code need not know which."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO, Literal, Protocol, Self

from mtdense.core.errors import DataError
from mtdense.data.pack import PACK_SUFFIXES, Pack

__all__ = ["FileFacts", "Location", "PackPath", "open_root"]


class FileFacts(Protocol):
    """What `Location.stat` tells."""

    @property
    def st_size(self) -> int:
        """Length in bytes."""


class Location(Protocol):
    """A file or folder to read: the part of `pathlib.Path` that data sets use.

    `pathlib.Path` and `PackPath` are Locations. Code that keeps to these methods (and never hands `str(location)` to
    something that opens files) reads folders and packs alike.
    """

    @property
    def name(self) -> str:
        """Last part."""

    @property
    def stem(self) -> str:
        """Last part without its extension."""

    @property
    def suffix(self) -> str:
        """Extension, with its dot."""

    @property
    def parent(self) -> Self:
        """Folder in which it lies."""

    def __truediv__(self, key: str, /) -> Self: ...

    def __lt__(self, other: Any, /) -> bool: ...

    def relative_to(self, other: Self, /) -> PurePath:
        """Path from a folder above to this."""

    def exists(self) -> bool:
        """Whether there is such a file or folder."""

    def is_file(self) -> bool:
        """Whether there is such a file."""

    def is_dir(self) -> bool:
        """Whether there is such a folder."""

    def iterdir(self) -> Iterator[Self]:
        """What lies in the folder, in any order."""

    def stat(self) -> FileFacts:
        """Facts of a file."""

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """The file's bytes as a stream."""

    def read_bytes(self) -> bytes:
        """All bytes of the file."""

    def read_text(self, encoding: str) -> str:
        """The file as text, with line ends as newlines."""


@dataclass(frozen=True, slots=True)
class _Size:
    st_size: int


class PackPath:
    """A file or folder in a pack of source files.

    It behaves as a `pathlib.Path` does, its errors included (`FileNotFoundError` and the like); damage of the pack is a
    `DataError`. `str()` gives the pack's path with the path in it behind, for messages.

    Args:
        tree: The pack, with its folders.
        inner: Path in the pack; None: its root.
    """

    __slots__ = ("_inner", "_tree")

    def __init__(self, tree: PackTree, inner: PurePosixPath | None = None) -> None:
        self._tree = tree
        self._inner = PurePosixPath() if inner is None else inner

    @property
    def pack(self) -> Pack:
        """The pack in which this lies."""
        return self._tree.pack

    @property
    def name(self) -> str:
        """Last part; that of the pack's root is the name of the pack."""
        return self._inner.name or self.pack.path.name

    @property
    def stem(self) -> str:
        """Last part without its extension."""
        return self._inner.stem or self.pack.path.stem

    @property
    def suffix(self) -> str:
        """Extension, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> PackPath:
        """Folder in which it lies; the root's is the root."""
        return PackPath(self._tree, self._inner.parent)

    def __truediv__(self, key: str) -> PackPath:
        return PackPath(self._tree, self._inner / key)

    def __lt__(self, other: PackPath) -> bool:
        if not isinstance(other, PackPath):
            return NotImplemented
        return self._key < other._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PackPath) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        return str(self.pack.path / self._inner)

    def __repr__(self) -> str:
        return f"PackPath({str(self)!r})"

    def __getstate__(self) -> tuple[PackTree, PurePosixPath]:
        return self._tree, self._inner

    def __setstate__(self, state: tuple[PackTree, PurePosixPath]) -> None:
        self._tree, self._inner = state

    @property
    def _key(self) -> tuple[Path, tuple[str, ...]]:
        return self.pack.path, self._inner.parts

    def relative_to(self, other: PackPath) -> PurePosixPath:
        """Path from a folder above to this.

        Raises:
            ValueError: The other lies in another pack, or not above.
        """
        if other.pack.path != self.pack.path:
            raise ValueError(f"{self} does not lie in {other}")
        return self._inner.relative_to(other._inner)

    def exists(self) -> bool:
        """Whether there is such a file or folder."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether there is such a file."""
        return str(self._inner) in self.pack.entries

    def is_dir(self) -> bool:
        """Whether there is such a folder."""
        return str(self._inner) in self._tree.folders

    def iterdir(self) -> Iterator[PackPath]:
        """What lies in the folder, sorted."""
        self._expect_folder()
        return iter([self / name for name in self._tree.folders[str(self._inner)]])

    def stat(self) -> FileFacts:
        """Facts of a file or folder."""
        if self.is_dir():
            return _Size(0)
        self._expect_file()
        return _Size(self.pack.entries[str(self._inner)].size)

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """The file's bytes, read and checked, as a stream.

        Raises:
            ValueError: Another mode.
            OSError: No such file.
            DataError: Payload damage.
        """
        if mode != "rb":
            raise ValueError(f"files of a pack are opened with 'rb', not {mode!r}")
        self._expect_file()
        return io.BytesIO(self.pack.read(str(self._inner)))

    def read_bytes(self) -> bytes:
        """All bytes of the file. Raises as `open`."""
        self._expect_file()
        return bytes(self.pack.read(str(self._inner)))

    def read_text(self, encoding: str) -> str:
        """The file as text, with line ends as newlines. Raises as `open`, and UnicodeDecodeError."""
        with io.TextIOWrapper(self.open("rb"), encoding=encoding) as stream:
            return stream.read()

    def _expect_file(self) -> None:
        if self.is_file():
            return
        if self.is_dir():
            raise IsADirectoryError(f"{self} is a folder")
        raise FileNotFoundError(f"no such file: {self}")

    def _expect_folder(self) -> None:
        if self.is_dir():
            return
        if self.is_file():
            raise NotADirectoryError(f"{self} is a file")
        raise FileNotFoundError(f"no such folder: {self}")


class PackTree:
    """A pack and the folders that its entries make.

    Args:
        pack: The pack.
    """

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self._folders: dict[str, list[str]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"pack": self.pack, "_folders": None}

    @property
    def folders(self) -> dict[str, list[str]]:
        """{folder: names in it, sorted}; the root is "."."""
        if self._folders is None:
            found: dict[str, set[str]] = {".": set()}
            for name in self.pack.entries:
                path = PurePosixPath(name)
                while path.name:
                    siblings = found.setdefault(str(path.parent), set())
                    known = path.name in siblings
                    siblings.add(path.name)
                    if known:
                        break
                    path = path.parent
            clash = next((name for name in found if name in self.pack.entries), None)
            if clash is not None:
                raise DataError(
                    f"the pack {self.pack.path} is damaged: {clash!r} is a file and a folder",
                    "Make it anew with `mtdense data prepare`.",
                )
            self._folders = {name: sorted(names) for name, names in found.items()}
        return self._folders


def open_root(root: str | Path) -> Location:
    """The root of a data set: a folder, or a pack that is named by its file.

    Nothing is read yet: whether it is there is found out by who first looks into it.

    Args:
        root: A folder, or a file made by `mtdense data prepare` (`.h5`); "~" is the home folder.
    """
    path = Path(root).expanduser()
    if path.suffix.lower() in PACK_SUFFIXES and not path.is_dir():
        return PackPath(PackTree(Pack(path)))
    return path
