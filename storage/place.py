"""Where a store's files are: one set of operations, for a local folder here and for object stores in remote_place.py.

File names are relative to the store, with forward slashes: `shards/a.h5`.
"""

import mmap
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlparse

from storage.atomic import PartFile, check_writable, remove_leftovers, write_file
from storage.codecs import Buffer
from storage.errors import Damaged, StoreError
from storage.location import MEDIA, NAME, REJECTS, SHARDS, sha256_of


class Part(Protocol):
    """A local file that is being written; `commit` gives it its final name, whole or not at all."""

    path: Path

    def commit(self) -> None:
        """Publish; raises OSError or StoreError, and then nothing stands under the final name."""
        ...

    def discard(self) -> None:
        """Remove the temporary file; harmless after `commit`."""
        ...


class StoredFile(Protocol):
    """A complete file, open for reading: safe under fork, pickling and threads. `str` names it in messages."""

    @property
    def nbytes(self) -> int:
        """Its size."""
        ...

    @property
    def suffix(self) -> str:
        """Ending of the name, with its dot."""
        ...

    def read(self, start: int, nbytes: int) -> Buffer:
        """`nbytes` bytes from `start`; the caller has checked that they are inside."""
        ...

    def fetch(self, spans: Iterable[tuple[int, int]]) -> None:
        """Get these (start, nbytes) ready at once, where reading them one by one would be slower."""
        ...

    def forget(self) -> bool:
        """Drop copies of it that may be bad; False if there are none, so that reading again changes nothing."""
        ...

    def open(self) -> BinaryIO:
        """The file as a Python file."""
        ...

    def source(self) -> Path | BinaryIO:
        """What to hand to a library: a path where there is one, for that is faster."""
        ...


class Place(Protocol):
    """The folder of a store. `str` is its path or URL, without credentials.

    A file that is not there is a FileNotFoundError; any other failure of a remote place is a StoreError.
    """

    def where(self, name: str) -> str:
        """Path or URL of a file, for messages."""
        ...

    def contains(self, name: str) -> bool:
        """Whether the file, if it is there, really lies in this place (False: a symbolic link leads out)."""
        ...

    def sizes(self, folder: str) -> dict[str, int]:
        """Names and bytes of the files directly in `folder`; empty if there is no such folder."""
        ...

    def read(self, name: str, limit: int) -> bytes:
        """A small file's content; raises Damaged if it has more than `limit` bytes."""
        ...

    def file(self, name: str, nbytes: int, sha256: str) -> StoredFile:
        """Open a file of known size and content for reading rows; raises Damaged if it is gone or of another size."""
        ...

    def whole(self, name: str) -> AbstractContextManager[Path]:
        """The complete file as a local path, for checking what really lies there; copies of it are not used."""
        ...

    def holds(self, name: str, nbytes: int, sha256: str) -> bool:
        """Whether a finished file is there: a local one is hashed, of a remote one the size has to fit."""
        ...

    def part(self, name: str) -> Part:
        """Begin a file."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a small file whole or not at all."""
        ...

    def create(self, name: str, data: bytes) -> None:
        """Like `write`, but of several processes only one succeeds; the others get FileExistsError."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file; harmless if there is none."""
        ...

    def forget_copies(self, sha256: str) -> None:
        """Remove what this machine has kept of a file with this content, which is not in the store any more."""
        ...

    def sweep(self, folder: str) -> None:
        """Remove what killed writers left in `folder`."""
        ...

    def check_writable(self, folders: Iterable[str]) -> None:
        """Raise StoreError, before any work, if these folders cannot be written or commits would not be safe."""
        ...


class LocalFile:
    """A file behind a read-only memory map."""

    def __init__(self, path: Path, expected_bytes: int | None = None) -> None:
        """Raises Damaged if it is not there or not of `expected_bytes` bytes."""
        self._path, self._expected_bytes = path, expected_bytes
        try:
            with path.open("rb") as file:
                self.nbytes = file.seek(0, 2)
                # mapping a cut file would end in SIGBUS
                if self.nbytes == 0 or expected_bytes not in (None, self.nbytes):
                    found = f"{self.nbytes} bytes, expected {expected_bytes}"
                    raise Damaged(f"{path}: {found}; delete it, then build again")
                self._map = memoryview(mmap.mmap(file.fileno(), self.nbytes, access=mmap.ACCESS_READ))
        except OSError as error:
            raise Damaged(f"{path}: cannot be opened ({error}); delete it, then build again") from error

    def __str__(self) -> str:
        return str(self._path)

    def __reduce__(self) -> tuple[type["LocalFile"], tuple[Path, int | None]]:
        return LocalFile, (self._path, self._expected_bytes)  # a map cannot travel

    @property
    def suffix(self) -> str:
        """Ending of the name, with its dot."""
        return self._path.suffix

    def read(self, start: int, nbytes: int) -> Buffer:
        """A view into the map."""
        return self._map[start : start + nbytes]

    def fetch(self, spans: Iterable[tuple[int, int]]) -> None:
        """Nothing to do: it is here."""

    def forget(self) -> bool:
        """There are no copies."""
        return False

    def open(self) -> BinaryIO:
        """The file as a Python file."""
        return self._path.open("rb")

    def source(self) -> Path:
        """Its path."""
        return self._path


@dataclass(frozen=True)
class LocalPlace:
    """A folder of this machine, or one that is mounted."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def where(self, name: str) -> str:
        """The file's path."""
        return str(self.root / name)

    def contains(self, name: str) -> bool:
        """False if a symbolic link leads out of the store."""
        path = self.root / name
        return path.resolve().parent == self.root.resolve() / path.parent.name

    def sizes(self, folder: str) -> dict[str, int]:
        """Names and bytes of the files in `folder`."""
        try:
            with os.scandir(self.root / folder) as entries:
                return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def read(self, name: str, limit: int) -> bytes:
        """A small file's content."""
        path = self.root / name
        if (nbytes := path.stat().st_size) > limit:
            raise Damaged(f"{path}: {nbytes} bytes, but at most {limit} are expected of such a file")
        return path.read_bytes()

    def file(self, name: str, nbytes: int, sha256: str) -> LocalFile:
        """Map a file."""
        return LocalFile(self.root / name, nbytes)

    @contextmanager
    def whole(self, name: str) -> Iterator[Path]:
        """The file itself."""
        yield self.root / name

    def holds(self, name: str, nbytes: int, sha256: str) -> bool:
        """Whether the file is there with exactly these bytes."""
        try:
            return sha256_of(self.root / name) == sha256
        except OSError:
            return False

    def part(self, name: str) -> PartFile:
        """A temporary file beside the final name."""
        return PartFile(self.root / name)

    def write(self, name: str, data: bytes) -> None:
        """Temporary file, fsync, rename."""
        write_file(self.root / name, data)

    def create(self, name: str, data: bytes) -> None:
        """Temporary file, fsync, hard link: the file system lets one process win."""
        write_file(self.root / name, data, exclusive=True)

    def delete(self, name: str) -> None:
        """Unlink."""
        (self.root / name).unlink(missing_ok=True)

    def forget_copies(self, sha256: str) -> None:
        """Nothing: there are none."""

    def sweep(self, folder: str) -> None:
        """Remove temporary files whose writer is dead."""
        remove_leftovers(self.root / folder)

    def check_writable(self, folders: Iterable[str]) -> None:
        """Make the folders and write a file into each that is gone at once."""
        for folder in folders:
            check_writable(self.root / folder)


def place_of(url: "str | Path | Place") -> Place:
    """The place behind a path or URL, made absolute so that workers in any folder find it; StoreError for a bad URL."""
    if not isinstance(url, str | os.PathLike):
        return url
    text = os.fspath(url)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text)
    if scheme is None:
        return LocalPlace(Path(os.path.abspath(text)))
    if scheme[1].lower() == "file":
        return LocalPlace(Path(os.path.abspath(unquote(urlparse(text).path))))
    from storage.remote_place import RemotePlace  # fsspec takes 0.1 s to import

    return RemotePlace(text)


def inside(place: Place, name: str) -> str:
    """`name`, refused if it leads out of the store (`..`, absolute, or through a symbolic link).

    Snapshot files may have been tampered with, so no path in them is trusted.
    """
    folder, _, file = name.partition("/")
    if not (folder in (SHARDS, REJECTS, MEDIA) and NAME.fullmatch(file) and place.contains(name)):
        raise StoreError(
            f"{place}: the file name {name!r} leads out of the store; expected {SHARDS}/, {REJECTS}/ or {MEDIA}/. "
            "The snapshot file was changed by hand or damaged: restore it, or run `pseudodepth verify`."
        )
    return name
