"""A dataset behind an fsspec URL: what adapters use of `pathlib.Path`, and a listing of all that is below a folder.

Whatever Path has and this has not is an AttributeError, never an answer about the local disk.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from storage.errors import StoreError
from storage.remote_url import checked_url, file_system, place_in, redacted
from storage.retry import with_retries
from tasks.errors import BuildError

T = TypeVar("T")

# how file systems call the time of the last change
_CHANGED = ("LastModified", "mtime", "updated", "last_modified", "modified", "created")
_MARKS = ("ETag", "etag", "content_md5", "md5Hash")
_AT_ONCE = 512  # small files that one call asks for; the file system bounds how many run at a time


@dataclass(frozen=True)
class RemoteStatus:
    """Size in bytes and time of change, named as in os.stat_result."""

    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True, slots=True)
class RemoteEntry:
    """One listed file, used like an os.DirEntry."""

    name: str
    size: int
    mtime_ns: int

    def stat(self, *, follow_symlinks: bool = True) -> RemoteStatus:
        """As listed; nothing is asked."""
        return RemoteStatus(self.size, self.mtime_ns)


@dataclass(frozen=True, order=True)
class RemotePath:
    """A file or folder behind a URL."""

    url: str

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "url", checked_url(self.url)[1])
            file_system(self.url)
        except StoreError as error:  # credentials in it, or a package that is missing
            raise BuildError(str(error)) from error

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, part: str) -> RemotePath:
        return RemotePath(f"{self.url}/{part}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def parents(self) -> tuple[RemotePath, ...]:
        """The folders above it, nearest first, up to the bucket."""
        scheme, _, path = self.url.partition("://")
        parts = path.split("/")
        return tuple(RemotePath(f"{scheme}://{'/'.join(parts[:n])}") for n in range(len(parts) - 1, 0, -1))

    def resolve(self) -> RemotePath:
        """Itself: there are no links."""
        return self

    def exists(self) -> bool:
        """Whether there is such a file, or a file below it."""
        return self._type() is not None

    def is_dir(self) -> bool:
        """Whether a file is below it."""
        return self._type() == "directory"

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self._type() == "file"

    def iterdir(self) -> Iterator[RemotePath]:
        """What lies directly in it."""
        for info in self._ask(lambda fs, path: fs.ls(path, detail=True)):
            name = str(info["name"]).rstrip("/").rpartition("/")[2]
            if name and name != self.name:
                yield self / name

    def read_bytes(self) -> bytes:
        """The content of a file that fits in memory."""
        return self._ask(lambda fs, path: bytes(fs.cat_file(path)))

    def open(self, mode: str = "rb") -> BinaryIO:
        """A file's content, read whole."""
        assert mode == "rb"
        return io.BytesIO(self.read_bytes())

    def fetch(self, local: Path) -> None:
        """Copy it to a local file. Raises FileNotFoundError if it is not there."""
        self._ask(lambda fs, path: fs.get_file(path, str(local)))

    def heads(self, paths: Sequence[str], limit: int) -> list[bytes]:
        """The first `limit` bytes of many small files below it, none of them empty, several requests at a time."""
        found: list[bytes] = []
        for first in range(0, len(paths), _AT_ONCE):
            some = [f"{place_in(self.url)}/{path}" for path in paths[first : first + _AT_ONCE]]
            found += self._ask(lambda fs, _, some=some: fs.cat_ranges(some, 0, limit, on_error="raise"))
        return found

    def files(self) -> Iterator[tuple[str, RemoteEntry]]:
        """All files below it in the order of a walk: path relative to it, and entry. One request per 1,000 or more."""
        listing = self._ask(lambda fs, path: fs.find(path, detail=True))
        start = len(place_in(self.url).strip("/")) + 1
        # compact before sorting: a million of the file system's dicts are a gigabyte
        found = []
        while listing:
            path, info = listing.popitem()
            path = path.lstrip("/")[start:]
            found.append((path.split("/"), int(info["size"] or 0), _changed(info)))
        # a folder's own files first, then its folders: as the walk of a local tree gives them
        found.sort(key=lambda file: [(True, part) for part in file[0][:-1]] + [(False, file[0][-1])])
        for parts, size, mtime_ns in found:
            yield "/".join(parts), RemoteEntry(parts[-1], size, mtime_ns)

    def _type(self) -> str | None:
        try:
            return str(self._ask(lambda fs, path: fs.info(path))["type"])
        except FileNotFoundError:
            return None

    def _ask(self, action: Callable[..., T]) -> T:
        """`action(file system, path)`, tried again where that may help; other failures than "not there" are ours."""
        try:
            return with_retries(lambda: action(file_system(self.url), place_in(self.url)))
        except FileNotFoundError:
            raise
        except Exception as error:
            raise BuildError(
                f"{self}: {redacted(str(error)) or type(error).__name__}; check the address, the credentials and the "
                "network, then run the same command again"
            ) from error


def root_of(root: str | Path) -> Path:
    """The root of a dataset: a local path, or a RemotePath, which can all that adapters ask of a Path."""
    text = str(root)
    if isinstance(root, Path) or "://" not in text:
        return Path(root)
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return cast(Path, RemotePath(text))


def is_plain(path: str) -> bool:
    """Whether the path of an object can be one of a file: no empty part, no `.` or `..`."""
    return not {"", ".", ".."} & set(path.split("/"))


def _changed(info: dict[str, Any]) -> int:
    """Time of change in ns or, where a file system has none, a number that is another one for other content."""
    for key in _CHANGED:
        value = info.get(key)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float):
            return round(value * 1_000_000) * 1_000
    mark = next((str(info[key]) for key in _MARKS if info.get(key)), "")
    return int.from_bytes(mark.encode()[-7:], "big")
