"""A store in an object store, or wherever fsspec reaches: files are written here, verified, sent, and then committed.

An object appears whole or not at all (a put, or the end of a multi-part upload), so a killed upload leaves nothing that
a reader sees. A snapshot is committed by a conditional put, which the server lets one writer win.
"""

import contextlib
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from storage.atomic import PartFile
from storage.block_cache import BlockCache
from storage.errors import Damaged, StoreError
from storage.remote_file import RemoteFile
from storage.remote_url import EXTRAS, checked_url, file_system, place_in, redacted
from storage.retry import with_retries
from storage.settings import RemoteSettings

T = TypeVar("T")

# where fsspec's mode="create" is one conditional request (If-None-Match, ifGenerationMatch=0) to the server
_CONDITIONAL = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}
_PART = 16 << 20  # of an upload to S3: four are in memory at a time, and what fails is sent again
_MEMORY_LOCK = threading.Lock()  # memory:// is this process's own
_proved: set[str] = set()  # places whose server was seen to keep the condition


class RemotePart:
    """A local file that is uploaded by `commit`. Left by a killed writer, it is swept by the next one of that name."""

    def __init__(self, place: "RemotePlace", name: str) -> None:
        self._place, self._name = place, name
        self._local = PartFile(place.scratch() / name)
        self.path = self._local.path

    def commit(self) -> None:
        """Upload, and ask the server for the size that it has."""
        try:
            self._place.upload(self.path, self._name)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove the local file."""
        self._local.discard()


@dataclass(frozen=True)
class RemotePlace:
    """The folder behind an fsspec URL; `str` is the URL."""

    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", checked_url(self.url)[1])
        file_system(self.url)  # a missing extra is told now

    def __str__(self) -> str:
        return self.url

    def where(self, name: str) -> str:
        """The file's URL."""
        return f"{self.url}/{name}"

    def contains(self, name: str) -> bool:
        """True: there are no links."""
        return True

    def sizes(self, folder: str) -> dict[str, int]:
        """Names and bytes of the files in `folder`."""
        try:
            entries = self._ask(folder, lambda fs, path: fs.ls(path, detail=True))
        except FileNotFoundError:
            return {}
        # some servers hold an empty object for the folder itself
        files = [entry for entry in entries if entry["type"] == "file" and not entry["name"].endswith(f"/{folder}")]
        return {entry["name"].rpartition("/")[2]: int(entry["size"]) for entry in files}

    def read(self, name: str, limit: int) -> bytes:
        """A small file's content, in one request."""
        data = self._ask(name, lambda fs, path: fs.cat_file(path, start=0, end=limit + 1))
        if len(data) > limit:
            raise Damaged(f"{self.where(name)}: more than the {limit} bytes that are expected of such a file")
        return bytes(data)

    def file(self, name: str, nbytes: int, sha256: str) -> RemoteFile:
        """Read by ranges; asks nothing yet."""
        return RemoteFile(self.where(name), self._path(name), nbytes, sha256)

    @contextlib.contextmanager
    def whole(self, name: str) -> Iterator[Path]:
        """Download to a temporary file."""
        part = PartFile(self.scratch() / secrets.token_hex(8) / Path(name).name)
        try:
            self._ask(name, lambda fs, path: fs.get_file(path, str(part.path)))
            yield part.path
        finally:
            part.discard()
            part.path.parent.rmdir()

    def holds(self, name: str, nbytes: int, sha256: str) -> bool:
        """Whether an object of this size is there; `verify` reads it."""
        return self._size(name) == nbytes

    def part(self, name: str) -> RemotePart:
        """A local file that is uploaded when it is whole."""
        return RemotePart(self, name)

    def upload(self, local: Path, name: str) -> None:
        """Send a file and ask for the size that arrived."""
        parts = {"chunksize": _PART} if EXTRAS.get(checked_url(self.url)[0]) == "s3" else {}
        self._send(name, lambda fs, path: fs.put_file(str(local), path, **parts))
        if (arrived := self._size(name)) != local.stat().st_size:
            raise StoreError(f"{self.where(name)}: {arrived} of {local.stat().st_size} bytes arrived; build again")

    def write(self, name: str, data: bytes) -> None:
        """One put."""
        self._send(name, lambda fs, path: fs.pipe_file(path, data))

    def create(self, name: str, data: bytes) -> None:
        """A conditional put.

        When an answer is lost on the way, the repeated request is told that the file exists: it is ours then, which its
        content proves.
        """
        self._prove()
        try:
            self._create(name, data)
        except FileExistsError:
            if self._size(name) != len(data) or self.read(name, len(data)) != data:
                raise

    def delete(self, name: str) -> None:
        """Delete the object."""
        with contextlib.suppress(FileNotFoundError):
            self._ask(name, lambda fs, path: fs.rm_file(path))

    def forget_copies(self, sha256: str) -> None:
        """Empty the block cache of it."""
        settings = RemoteSettings()
        BlockCache(settings.cache, settings.cache_bytes).forget(sha256)

    def sweep(self, folder: str) -> None:
        """Nothing: what was not finished is not listed."""

    def check_writable(self, folders: Iterable[str]) -> None:
        """Write, be refused to write again, and delete."""
        self._prove()

    def scratch(self) -> Path:
        """Where files of this store are put together."""
        return RemoteSettings().cache / "uploads" / hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def _prove(self) -> None:
        """Raise StoreError unless the server refuses to create what exists: some ignore the condition."""
        scheme = checked_url(self.url)[0]
        if self.url in _proved or RemoteSettings().single_writer:
            return
        if scheme not in _CONDITIONAL | {"memory"}:
            raise StoreError(self._unsafe(f"{scheme}:// has no conditional create"))
        probe = f"snapshots/.probe-{secrets.token_hex(8)}"
        try:
            self._create(probe, b"1")
            self._create(probe, b"2")
        except FileExistsError:
            _proved.add(self.url)
        else:
            raise StoreError(self._unsafe("its server ignores conditional puts (If-None-Match)"))
        finally:
            self.delete(probe)

    def _unsafe(self, why: str) -> str:
        return (
            f"{self}: {why}, so of two builds at once one would silently undo the other. Build to another place, or "
            "set PSEUDODEPTH_SINGLE_WRITER=1 and see to it that nobody else writes this store"
        )

    def _create(self, name: str, data: bytes) -> None:
        scheme = checked_url(self.url)[0]
        if scheme in _CONDITIONAL:
            self._send(name, lambda fs, path: fs.pipe_file(path, data, mode="create"))
            return
        with _MEMORY_LOCK:
            if self._size(name) is not None:
                raise FileExistsError(self.where(name))
            self.write(name, data)

    def _size(self, name: str) -> int | None:
        try:
            return int(self._ask(name, lambda fs, path: fs.info(path))["size"])
        except FileNotFoundError:
            return None

    def _path(self, name: str) -> str:
        return f"{place_in(self.url)}/{name}"

    def _send(self, name: str, action: Callable[..., object]) -> None:
        try:
            self._ask(name, action)
        except FileNotFoundError as error:
            raise StoreError(f"{self.where(name)}: no such bucket or container; make it first") from error

    def _ask(self, name: str, action: Callable[..., T]) -> T:
        """`action(file system, path)`, tried again where that may help; FileNotFoundError and FileExistsError pass."""
        try:
            return with_retries(lambda: action(file_system(self.url), self._path(name)))
        except (FileNotFoundError, FileExistsError, StoreError):
            raise
        except Exception as error:
            raise StoreError(
                f"{self.where(name)}: {redacted(str(error)) or type(error).__name__}. Nothing was committed by this; "
                "check the address, the credentials and the network, then run the same command again"
            ) from error
