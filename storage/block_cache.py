"""Blocks of remote files on the local disk: bounded, least recently used out first, shared by all processes.

    <folder>/blocks/<sha256 of the whole file>/<number of the block>

A block is there whole or not at all (renamed into place), and its file's name is the content's own, so that nothing has
to be invalidated and two stores that share a shard share its blocks. The bound holds at every moment and over all
processes: a block is added under a lock, which costs 20 us against the transfer of the block.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

BLOCK = 256 << 10  # bytes
_KEEP = 0.9  # of the limit after an eviction, so that the folder is not listed for every block


class BlockCache:
    """Blocks by (key, number)."""

    def __init__(self, folder: Path, limit: int) -> None:
        """At most `limit` bytes in `folder`, which is made with the first block."""
        self._folder, self._limit = folder / "blocks", limit

    def read(self, key: str, number: int, nbytes: int, start: int, stop: int) -> bytes | None:
        """Bytes start:stop of a block of `nbytes` bytes; None if it is not here."""
        try:
            fd = os.open(self._folder / key / str(number), os.O_RDONLY)
        except OSError:
            return None
        try:
            if os.fstat(fd).st_size != nbytes:  # a power cut can leave a file without its content
                return None
            with contextlib.suppress(OSError):  # somebody else's file may be read only
                os.utime(fd)  # the time of last use: what is mounted with noatime would not keep it
            data = os.pread(fd, stop - start, start)
            return data if len(data) == stop - start else None
        finally:
            os.close(fd)

    def has(self, key: str, number: int, nbytes: int) -> bool:
        """Whether the block is here."""
        try:
            return os.stat(self._folder / key / str(number)).st_size == nbytes
        except OSError:
            return False

    def add(self, key: str, blocks: dict[int, bytes]) -> None:
        """Keep blocks, for which older ones go; a disk that is full or read only keeps none, and reading goes on."""
        with contextlib.suppress(OSError), self._locked() as counter:
            total = int(os.pread(counter, 32, 0) or b"0")
            (self._folder / key).mkdir(exist_ok=True)
            for number, data in blocks.items():
                if total + len(data) > self._limit:
                    total = self._evict(int(self._limit * _KEEP) - len(data))
                    (self._folder / key).mkdir(exist_ok=True)
                path = self._folder / key / str(number)
                if path.exists():  # another process was quicker
                    total -= path.stat().st_size
                part = self._folder / f"{secrets.token_hex(8)}.part"
                try:
                    part.write_bytes(data)
                    part.rename(path)
                finally:
                    part.unlink(missing_ok=True)
                total += len(data)
                os.pwrite(counter, b"%-32d" % total, 0)  # after every block: a kill in between counts at most one less

    def forget(self, key: str) -> bool:
        """Remove all blocks of a file; False if there are none. What they counted is found by the next eviction."""
        try:
            shutil.rmtree(self._folder / key)
        except OSError:
            return False
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        self._folder.mkdir(parents=True, exist_ok=True)
        counter = os.open(self._folder / "total", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(counter, fcntl.LOCK_EX)
            yield counter
        finally:
            os.close(counter)

    def _evict(self, target: int) -> int:
        """Remove blocks, those not used for longest first, until at most `target` bytes are left; what is left."""
        blocks, total = [], 0
        for folder in os.scandir(self._folder):
            if folder.name.endswith(".part"):  # of a killed process: whoever writes holds the lock
                os.unlink(folder)
            elif folder.is_dir(follow_symlinks=False):
                for entry in os.scandir(folder):
                    status = entry.stat(follow_symlinks=False)
                    blocks.append((status.st_mtime_ns, entry.path, status.st_size))
                    total += status.st_size
        for _, path, size in sorted(blocks):
            if total <= target:
                break
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            total -= size
        for folder in os.scandir(self._folder):
            if folder.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):  # not empty
                    os.rmdir(folder)
        return total
