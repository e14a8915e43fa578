"""Reads one shard of either format: rows by number into arrays, columns into tables."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from isal.isal_zlib import crc32

from storage import hdf5, parquet
from storage.codecs import DECODERS, MASK_CODEC, Buffer
from storage.errors import Damaged, StoreError
from storage.pixel_index import PixelIndex
from storage.place import LocalFile, StoredFile
from storage.schema import COLUMNS, LIVE
from storage.shard_format import ShardFormat

T = TypeVar("T")

FORMATS: dict[str, ShardFormat] = {"hdf5": hdf5, "parquet": parquet}


class ShardReader:
    """A shard that is open for reading.

    It holds the file (a memory map, if it is local) and the row index, and no library handle: it may cross a fork, be
    pickled into a spawned worker, and be used by several threads at once.
    """

    def __init__(self, file: StoredFile) -> None:
        """Raises Damaged if it is not a shard."""
        self.file = file
        self._format = _format_of(file)
        self.index: PixelIndex = _intact(file, self._index)

    def __len__(self) -> int:
        return len(self.index)

    def __reduce__(self) -> tuple[type["ShardReader"], tuple[StoredFile]]:
        return ShardReader, (self.file,)  # the index is read again: quicker than sending it

    def columns(self, names: Sequence[str] | None = None) -> pa.Table:
        """The named columns (all of COLUMNS by default) of every row, in row order."""
        return shard_columns(self.file, names)

    def read(
        self,
        indices: Sequence[int] | np.ndarray,
        images: np.ndarray | Sequence[np.ndarray] | None = None,
        depths: np.ndarray | Sequence[np.ndarray] | None = None,
    ) -> tuple[Any, Any]:
        """Pixels of rows, each checked against its checksum (2-5 us a raw row, 0.4 us a JPEG).

        Returns images (n, H, W, 3) uint8 RGB and depths (n, H, W) uint8 or uint16, zero for a spoof; into the given
        arrays, or lists of one array a row, if there are any (reused buffers save the page faults). Raises Damaged that
        names the file and the row.
        """
        index, rows = self.index, self._rows(indices)
        self.file.fetch(self._spans(rows, ("image", "depth")))
        images = np.empty((len(rows), *index.size, 3), np.uint8) if images is None else images
        depths = np.empty((len(rows), *index.size), index.depth_dtype) if depths is None else depths
        decode_image, decode_depth = DECODERS[index.image_codec], DECODERS[index.depth_codec]
        stored = zip(rows, self._stored_rows(rows, "image"), self._stored_rows(rows, "depth"), strict=True)
        for (i, image, depth), image_out, depth_out in zip(stored, images, depths, strict=False):
            assert image is not None  # every row has one: its start is never negative
            try:
                decode_image(image, image_out)
                if depth is None:
                    depth_out.fill(0)
                else:
                    decode_depth(depth, depth_out)
            except Damaged as error:
                raise Damaged(f"{self.file}: row {i}: {error}; delete it, then build again") from error
        return images, depths

    def read_masks(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Where the face is, (n, H, W) bool: depth > 0 of a live row; of a spoof what the build kept, else False.

        Raises Damaged like `read`.
        """
        rows = self._rows(indices)
        self.file.fetch(self._spans(rows, ("depth", "mask")))
        masks = np.zeros((len(rows), *self.index.size), bool)
        depth = np.empty(self.index.size, self.index.depth_dtype)
        for k, i in enumerate(rows):
            try:
                if (data := self.stored(i, "depth")) is not None:
                    DECODERS[self.index.depth_codec](data, depth)
                    masks[k] = depth > 0
                elif (data := self.stored(i, "mask")) is not None:
                    DECODERS[MASK_CODEC](data, masks[k])
            except Damaged as error:
                raise Damaged(f"{self.file}: row {i}: {error}; delete it, then build again") from error
        return masks

    def _index(self) -> PixelIndex:
        index: PixelIndex = self._format.index(self.file)
        try:
            index.check(self.file.nbytes)
        except Damaged as error:
            raise Damaged(f"{self.file}: {error}; delete it, then build again") from error
        return index

    def _spans(self, rows: list[int], names: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Where the pixels of these rows lie: (start, nbytes)."""
        for name in names:
            spans = (getattr(self.index, f"{name}_{part}")[rows].tolist() for part in ("start", "nbytes"))
            yield from (span for span in zip(*spans, strict=True) if span[0] >= 0)

    def stored(self, i: int, name: str) -> Buffer | None:
        """The bytes of row i's `image`, `depth` or `mask` as they lie in the file, checksum checked; None: no such."""
        return next(self._stored_rows([i], name))

    def _stored_rows(self, rows: list[int], name: str) -> Iterator[Buffer | None]:
        """`stored` of several rows: one look-up a batch, for that of a row costs as much as half a picture's copy."""
        spans = (getattr(self.index, f"{name}_{part}")[rows].tolist() for part in ("start", "nbytes", "crc32"))
        for i, start, nbytes, crc in zip(rows, *spans, strict=True):
            if start < 0:
                yield None
                continue
            data = self.file.read(start, nbytes)
            intact = crc32(data) == crc
            if not intact and self.file.forget():
                data = self.file.read(start, nbytes)
                intact = crc32(data) == crc
            if not intact:
                raise Damaged(f"{self.file}: row {i}: {name} does not fit its checksum; delete it, then build again")
            yield data

    def _rows(self, indices: Sequence[int] | np.ndarray) -> list[int]:
        rows = np.asarray(indices, dtype=np.int64)
        if rows.size and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"{self.file}: rows {rows.min()} to {rows.max()} of a shard of {len(self)}")
        found: list[int] = np.where(rows < 0, rows + len(self), rows).tolist()
        return found

    def check(self, *, decode: bool = True) -> None:
        """Read everything back: raises Damaged unless every row is intact and keeps the invariants of the schema.

        Without `decode` the checksums alone vouch for the pixels, as they do right after writing.
        """
        table = self.columns()
        if len(table) != len(self) or any(table.column(f.name).null_count for f in COLUMNS if not f.nullable):
            raise Damaged(f"{self.file}: columns of {len(table)} rows (or with gaps) for {len(self)} rows of pixels")
        if len(set(table.column("sample_id").to_pylist())) != len(self):
            raise Damaged(f"{self.file}: a sample_id stands there twice")
        live = table.column("label").to_numpy() == LIVE
        if (live != (self.index.depth_start >= 0)).any():
            raise Damaged(f"{self.file}: a live row without depth or a spoof with depth")
        if (live & (self.index.mask_start >= 0)).any():
            raise Damaged(f"{self.file}: a live row with a mask of its own; its mask is where its depth is")
        if not decode:
            for name in ("image", "depth", "mask"):
                deque(self._stored_rows([*range(len(self))], name), maxlen=0)  # reading compares the checksum
            return
        for i in range(len(self)):
            if self.index.mask_start[i] >= 0:
                self.read_masks([i])
            if not self.read([i])[1].any() and live[i]:
                raise Damaged(f"{self.file}: row {i} is live and its depth is zero everywhere")


def open_shard(path: str | Path, *, expected_bytes: int | None = None) -> ShardReader:
    """Open one local shard file of either format by its suffix; raises Damaged if it is not a whole one."""
    return ShardReader(LocalFile(Path(path), expected_bytes))


def shard_columns(file: StoredFile, names: Sequence[str] | None = None) -> pa.Table:
    """The named columns (all of COLUMNS by default) of a shard whose pixels need not be found: a fifth of the time.

    Raises Damaged or UnknownVersion that names the file.
    """
    known = known_columns(names)
    return _intact(file, lambda: _format_of(file).columns(file, known))


def known_columns(names: Sequence[str] | None) -> list[str]:
    """`names`, or all of them; raises StoreError for one that the schema does not have."""
    unknown = sorted(set(names or ()) - set(COLUMNS.names))
    if unknown:
        raise StoreError(f"no columns {unknown} in a store; it has {COLUMNS.names}")
    return list(COLUMNS.names if names is None else names)


def _format_of(file: StoredFile) -> ShardFormat:
    for module in FORMATS.values():
        if file.suffix == module.SUFFIX:
            return module
    raise StoreError(f"{file}: not a shard; expected a name that ends in {[m.SUFFIX for m in FORMATS.values()]}")


def _intact(file: StoredFile, read: Callable[[], T]) -> T:
    """What `read` gives; if that is damaged and came from a copy, once more from the original."""
    try:
        return read()
    except Damaged:
        if not file.forget():
            raise
        return read()
