"""The file under an HDF5 shard while it is written: pixels are put where their array will be, HDF5 writes the rest."""

import functools
import io
import os
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

from storage.direct_file import DirectFile
from storage.errors import StoreError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LIBVER = ("v110", "v110")
BUFFER = 1 << 20  # bytes a write


class Disk(io.FileIO):
    """A file object for `h5py.File(disk, "w")` that has bytes of ours in it already, and keeps HDF5's write errors.

    HDF5 is told that the file ends where its own last byte is, so that it begins a new one. And HDF5 2.0 crashes the
    process (segmentation fault in `H5Fclose`) when a flush fails, which is what a full disk does: its first write error
    is kept until `close`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r+")
        self._error: OSError | None = None
        self._end = 0  # of what HDF5 has written
        self._first = DirectFile(path, first_array_start())

    def put(self, data: "ReadableBuffer") -> None:
        """Append to the first array of the file, which is there when this is closed; raises OSError."""
        self._first.write(data)

    def put_all(self, start: int, source: IO[bytes]) -> None:
        """Copy a whole file to `start`, the place of an array; raises OSError at once."""
        source.seek(0)
        with open(os.dup(self.fileno()), "r+b", buffering=0) as target:
            target.seek(start)
            shutil.copyfileobj(source, target, BUFFER)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """As of any file, with the end where HDF5's own last byte is."""
        return self._end if whence == os.SEEK_END else super().seek(offset, whence)

    def write(self, data: "ReadableBuffer", /) -> int:
        """HDF5's own bytes; an error is kept."""
        view = memoryview(data).cast("B")
        length = len(view)
        try:
            while self._error is None and len(view):
                view = view[super().write(view) :]
            self._end = max(self._end, self.tell())
        except OSError as error:
            self._error = error
        return length

    def truncate(self, size: int | None = None, /) -> int:
        """The length that HDF5 wants; an error is kept."""
        try:
            self._end = super().truncate(size)
        except OSError as error:
            self._error = self._error or error
        return size or 0

    def close(self) -> None:
        """Raises the first OSError that `put` or HDF5 met."""
        try:
            self._first.close()
        finally:
            super().close()
        if self._error is not None:
            error, self._error = self._error, None
            raise error


def allot(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Make a contiguous array whose place in the file is taken at once and not written to; that place in bytes."""
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_obj_track_times(False)  # equal samples give equal bytes
    plist.set_layout(h5d.CONTIGUOUS)
    plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5d.FILL_TIME_NEVER)
    data = h5d.create(file.id, name.encode(), h5t.py_create(dtype.newbyteorder("<")), h5s.create_simple(shape), plist)
    return int(data.get_offset() or 0)  # None: an empty one has no place


def allot_first(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """`allot` the array that `Disk.put` has filled."""
    start = allot(file, name, shape, dtype)
    if start not in (0, first_array_start()):
        raise StoreError(f"HDF5 {h5py.version.hdf5_version} put {name} at byte {start}; report this, or use Parquet")


@functools.cache
def first_array_start() -> int:
    """Where the first array of a new file lies: after the superblock, whatever its length."""
    with h5py.File(io.BytesIO(), "w", libver=LIBVER) as file:
        return allot(file, "probe", (1, 1, 1, 3), np.dtype(np.uint8))
