"""Bytes that go past the page cache, or through it where they must."""

import errno
import fcntl
import mmap
import os

import numpy as np
import pytest

from storage.direct_file import BLOCK, DirectFile
from tests.fixtures.files import no_file_longer_than, pages_in_memory

RNG = np.random.default_rng(0)
CONTENT = RNG.integers(0, 256, 3 * BLOCK + 77, np.uint8)
# where the first byte goes, and how many there are
PLACES = [
    (0, 0),
    (0, 1),
    (0, BLOCK),
    (0, 3 * BLOCK),
    (195, 10),
    (195, BLOCK - 195),
    (195, BLOCK),
    (195, 3 * BLOCK + 77),
    (BLOCK - 1, 2 * BLOCK + 2),
    (BLOCK, 2 * BLOCK),
    (BLOCK + 1, BLOCK),
]


def write(path, start, data):
    """As a caller does: pieces of all sizes, each from the same memory as the one before."""
    path.write_bytes(b"h" * start)
    file, memory, rng = DirectFile(path, start), np.empty(2 * BLOCK, np.uint8), np.random.default_rng(1)
    while len(data):
        n = min(len(data), int(rng.choice([1, 5000, 150_528, BLOCK, 2 * BLOCK])))
        memory[:n] = data[:n]
        file.write(memory[:n].data)
        data = data[n:]
    file.close()
    file.close()  # harmless


def is_direct(fd):
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)


@pytest.mark.parametrize(("start", "length"), PLACES)
def test_all_bytes_arrive_and_none_else_changes(tmp_path, start, length):
    write(tmp_path / "file", start, CONTENT[:length])
    assert (tmp_path / "file").read_bytes() == b"h" * start + CONTENT[:length].tobytes()


@pytest.mark.parametrize(("start", "length"), PLACES)
def test_they_arrive_without_direct_writes_too(tmp_path, monkeypatch, start, length):
    monkeypatch.delattr(os, "O_DIRECT", raising=False)
    write(tmp_path / "file", start, CONTENT[:length])
    assert (tmp_path / "file").read_bytes() == b"h" * start + CONTENT[:length].tobytes()


def test_they_arrive_where_a_direct_write_is_refused_or_ends_early(disk, monkeypatch):
    original, asked = os.pwrite, []

    def refuse(fd, data, place):
        if not is_direct(fd):
            return original(fd, data, place)
        asked.append(place)
        if len(asked) % 2:
            raise OSError(errno.EINVAL, "as of a file system that wants other multiples")
        return original(fd, data[:8192], place)

    monkeypatch.setattr(os, "pwrite", refuse)
    write(disk / "file", 195, CONTENT)
    assert len(asked) == 2
    assert (disk / "file").read_bytes() == b"h" * 195 + CONTENT.tobytes()


def test_whole_blocks_leave_no_copy_in_memory(disk):
    write(disk / "file", 0, CONTENT)
    assert pages_in_memory(disk / "file") == mmap.PAGESIZE  # the end


def test_a_full_disk_is_an_error_and_the_files_are_closed(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    file = DirectFile(tmp_path / "file", 0)
    with no_file_longer_than(BLOCK // 2):
        with pytest.raises(OSError, match="File too large"):
            file.write(bytes(2 * BLOCK))
        with pytest.raises(OSError, match="File too large"):
            file.close()
    file.close()  # closed, so harmless
    file = DirectFile(tmp_path / "file", 0)
    file.write(b"less than a block waits until the end")
    with no_file_longer_than(10), pytest.raises(OSError, match="File too large"):
        file.close()
    with pytest.raises(ValueError, match="closed"):
        file._plain.fileno()
