"""A complete remote file that is read by ranges, through the block cache."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from storage.block_cache import BLOCK, BlockCache
from storage.errors import Damaged, StoreError
from storage.remote_url import file_system, redacted
from storage.retry import with_retries
from storage.settings import RemoteSettings

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_RUN = 32  # neighbouring blocks that are fetched by one request: 8 MiB
_READ_THROUGH = 8  # blocks in a file for each that was fetched
_AT_ONCE = 8  # requests under way together, which bounds the memory: 64 MiB


@dataclass
class RemoteFile:
    """`url` names it in messages, `path` in its file system; `sha256` of the content is the cache's key.

    Few rows cost a few blocks. A file of which an eighth was fetched is taken to be read through, as in training, and
    the rest follows in large requests: benchmarks/remote.py shows what either saves.
    """

    url: str
    path: str
    nbytes: int
    sha256: str
    fetched: int = field(default=0, compare=False, repr=False)  # blocks, by this process

    def __str__(self) -> str:
        return self.url

    @property
    def suffix(self) -> str:
        """Ending of the name, with its dot."""
        return PurePosixPath(self.path).suffix

    @cached_property
    def _cache(self) -> BlockCache:
        settings = RemoteSettings()
        return BlockCache(settings.cache, settings.cache_bytes)

    def read(self, start: int, nbytes: int) -> bytes:
        """These bytes, from the cache or the server; raises Damaged if the file is shorter."""
        pieces = []
        stop = start + nbytes
        while start < stop:
            number, offset = divmod(start, BLOCK)
            end = min(offset + stop - start, self._length(number))
            piece = self._cache.read(self.sha256, number, self._length(number), offset, end)
            if piece is None:
                last = (stop - 1) // BLOCK
                piece = self._get(range(number, min(last, number + _RUN - 1) + 1))[number][offset:end]
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def fetch(self, spans: Iterable[tuple[int, int]]) -> None:
        """Bring the blocks of these (start, nbytes) into the cache, several requests at a time."""
        wanted = sorted(
            {n for start, nbytes in spans for n in range(start // BLOCK, (start + nbytes - 1) // BLOCK + 1)}
        )
        missing = self._missing(wanted)
        total = -(-self.nbytes // BLOCK)
        if missing and (self.fetched + len(missing)) * _READ_THROUGH > total:
            missing = self._missing(range(total))
        runs: list[range] = []
        for n in missing:
            if runs and n == runs[-1].stop and len(runs[-1]) < _RUN:
                runs[-1] = range(runs[-1].start, n + 1)
            else:
                runs.append(range(n, n + 1))
        for first in range(0, len(runs), _AT_ONCE):
            self._get(*runs[first : first + _AT_ONCE])

    def forget(self) -> bool:
        """Drop the cached blocks."""
        return self._cache.forget(self.sha256)

    def open(self) -> BinaryIO:
        """The file as a Python file; its ends, where formats keep what they need first, come in one go."""
        last = max(0, self.nbytes - BLOCK)
        self.fetch([(0, 1), (last, self.nbytes - last)])
        return cast(BinaryIO, io.BufferedReader(_Raw(self), 64 << 10))

    source = open

    def _missing(self, numbers: Iterable[int]) -> list[int]:
        return [n for n in numbers if not self._cache.has(self.sha256, n, self._length(n))]

    def _length(self, number: int) -> int:
        return min(BLOCK, self.nbytes - number * BLOCK)

    def _get(self, *runs: range) -> dict[int, bytes]:
        """Blocks from the server, one request a run, into the cache."""
        starts = [run.start * BLOCK for run in runs]
        ends = [min(run.stop * BLOCK, self.nbytes) for run in runs]
        blocks: dict[int, bytes] = {}
        for run, start, end, data in zip(runs, starts, ends, self._ranges(starts, ends), strict=True):
            if len(data) != end - start:
                raise Damaged(f"{self}: shorter than the {self.nbytes} bytes it had; delete it, then build again")
            blocks |= {n: data[(n - run.start) * BLOCK : (n - run.start + 1) * BLOCK] for n in run}
        self._cache.add(self.sha256, blocks)
        self.fetched += len(blocks)
        return blocks

    def _ranges(self, starts: Sequence[int], ends: Sequence[int]) -> list[bytes]:
        paths = [self.path] * len(starts)
        try:
            return with_retries(
                lambda: cast(
                    list[bytes],
                    file_system(self.url).cat_ranges(paths, list(starts), list(ends), on_error="raise"),
                )
            )
        except FileNotFoundError as error:
            raise Damaged(f"{self}: gone; build again to replace it") from error
        except Exception as error:
            raise StoreError(f"{self}: cannot be read ({redacted(str(error) or type(error).__name__)})") from error


class _Raw(io.RawIOBase):
    """Position and `readinto` over a RemoteFile."""

    def __init__(self, file: RemoteFile) -> None:
        super().__init__()
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at = max(0, offset + (0, self._at, self._file.nbytes)[whence])
        return self._at

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        nbytes = max(0, min(len(view), self._file.nbytes - self._at))
        view[:nbytes] = self._file.read(self._at, nbytes)
        self._at += nbytes
        return nbytes
