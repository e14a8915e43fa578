"""Appending to a file past the page cache: for what is flushed and read back from the disk before anybody uses it."""

import contextlib
import io
import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

BLOCK = 1 << 21  # bytes


class DirectFile:
    """Bytes one after the other from `start` of an existing file on; whole blocks of the file are written by O_DIRECT.

    Raw pictures cost less than half of the CPU that the copy into the page cache takes. The ends, which fill no block,
    go through it; so does everything where there is no O_DIRECT (other systems than Linux, some file systems).
    """

    def __init__(self, path: Path, start: int) -> None:
        self._plain, self._direct = io.FileIO(path, "r+"), _direct(path)
        # O_DIRECT wants memory, place and length in multiples of a sector: a mapping starts on a page
        self._block = memoryview(mmap.mmap(-1, BLOCK))
        self._base = start - start % BLOCK  # of the block in the file
        self._begin = self._end = start % BLOCK  # what is in the block and not yet in the file

    def write(self, data: "ReadableBuffer") -> None:
        """Append; raises OSError."""
        rest = memoryview(data).cast("B")
        while len(rest):
            n = min(len(rest), BLOCK - self._end)
            self._block[self._end : self._end + n] = rest[:n]
            self._end += n
            rest = rest[n:]
            if self._end == BLOCK:
                self._flush()

    def close(self) -> None:
        """Write what is left and let go of the file; raises OSError. Harmless when it is closed."""
        with contextlib.closing(self._plain), contextlib.closing(self._direct or self._plain):
            if not self._plain.closed:
                self._flush()

    def _flush(self) -> None:
        if self._direct is not None and self._end - self._begin == BLOCK:
            with contextlib.suppress(OSError):  # then it goes the other way, which says what is wrong
                self._begin = os.pwrite(self._direct.fileno(), self._block, self._base)
        while self._begin < self._end:
            rest = self._block[self._begin : self._end]
            self._begin += os.pwrite(self._plain.fileno(), rest, self._base + self._begin)
        self._base, self._begin, self._end = self._base + BLOCK, 0, 0


def _direct(path: Path) -> io.FileIO | None:
    try:
        return io.FileIO(path, "r+", opener=lambda name, flags: os.open(name, flags | os.O_DIRECT))
    except (AttributeError, OSError):  # no such system, no such file system
        return None
