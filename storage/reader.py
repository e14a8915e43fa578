"""Reads one shard of either format: rows by number into arrays, columns into tables."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from isal.isal_zlib import crc32

from storage import hdf5, parquet
from storage.codecs import DECODERS, MASK_CODEC, Buffer
from storage.errors import Damaged, StoreError
from storage.pixel_index import PixelIndex, Spans
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
        images: np.ndarray | None = None,
        depths: np.ndarray | None = None,
        places: Sequence[int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of n rows, each checked against its checksum (2-5 us a raw row, 0.4 us a JPEG).

        Returns images (n, H, W, 3) uint8 RGB and depths (n, H, W) uint8 or uint16, zero for a spoof. Arrays that are
        given (C-contiguous; used again they save the page faults) are filled and returned: row k of the n goes to
        `places[k]` of them. Raises IndexError, or Damaged that names the file and the row.
        """
        index, n = self.index, len(indices)
        image_spans, depth_spans = self._spans("image", indices), self._spans("depth", indices)
        self._fetch(image_spans, depth_spans)
        images = np.empty((n, *index.size, 3), np.uint8) if images is None else images
        depths = np.empty((n, *index.size), index.depth_dtype) if depths is None else depths
        decode_image, decode_depth = DECODERS[index.image_codec](images), DECODERS[index.depth_codec](depths)
        places = range(n) if places is None else places
        file_read = self.file.read
        for row, (k, image, depth) in enumerate(zip(places, image_spans, depth_spans, strict=True)):
            try:
                # `_checked`, without its call: what Python does here is a tenth of a raw row
                start, nbytes, crc = image
                data = file_read(start, nbytes)
                decode_image(k, data if crc32(data) == crc else self._again("image", image))
                start, nbytes, crc = depth
                if start < 0:
                    depths[k].fill(0)
                    continue
                data = file_read(start, nbytes)
                decode_depth(k, data if crc32(data) == crc else self._again("depth", depth))
            except Damaged as error:
                raise self._damaged(indices[row], error) from error
        return images, depths

    def read_masks(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Where the face is, (n, H, W) bool: depth > 0 of a live row; of a spoof what the build kept, else False.

        Raises IndexError, or Damaged like `read`.
        """
        depth_spans, mask_spans = self._spans("depth", indices), self._spans("mask", indices)
        self._fetch(depth_spans, mask_spans)
        masks = np.zeros((len(indices), *self.index.size), bool)
        depths = np.empty((1, *self.index.size), self.index.depth_dtype)
        decode_depth, decode_mask = DECODERS[self.index.depth_codec](depths), DECODERS[MASK_CODEC](masks)
        for k, (i, depth, mask) in enumerate(zip(indices, depth_spans, mask_spans, strict=True)):
            try:
                if depth[0] >= 0:
                    decode_depth(0, self._checked("depth", depth))
                    masks[k] = depths[0] > 0
                elif mask[0] >= 0:
                    decode_mask(k, self._checked("mask", mask))
            except Damaged as error:
                raise self._damaged(i, error) from error
        return masks

    def stored(self, i: int, name: str) -> Buffer | None:
        """The bytes of row i's `image`, `depth` or `mask` as they lie in the file, checksum checked; None: no such."""
        (span,) = self._spans(name, [i])
        try:
            return None if span[0] < 0 else self._checked(name, span)
        except Damaged as error:
            raise self._damaged(i, error) from error

    def _index(self) -> PixelIndex:
        index: PixelIndex = self._format.index(self.file)
        try:
            index.check(self.file.nbytes)
        except Damaged as error:
            raise Damaged(f"{self.file}: {error}; delete it, then build again") from error
        return index

    def _spans(self, name: str, indices: Sequence[int] | np.ndarray) -> list[list[int]]:
        """start, nbytes and crc32 of these rows' `name`, start -1 = none; raises IndexError."""
        spans: Spans = getattr(self.index, name)
        try:
            return spans.of(indices)
        except IndexError as error:
            raise IndexError(f"{self.file}: {error}; it has {len(self)} rows") from error

    def _fetch(self, *spans: list[list[int]]) -> None:
        """Get all of this ready at once, if it is not here."""
        self.file.fetch((start, nbytes) for start, nbytes, _ in itertools.chain(*spans) if start >= 0)

    def _checked(self, name: str, span: list[int]) -> Buffer:
        """Bytes of the file; raises Damaged unless they fit their checksum."""
        start, nbytes, crc = span
        data = self.file.read(start, nbytes)
        return data if crc32(data) == crc else self._again(name, span)

    def _again(self, name: str, span: list[int]) -> Buffer:
        """`_checked` of bytes that do not fit: once more, if what was read is a copy."""
        start, nbytes, crc = span
        if self.file.forget():
            data = self.file.read(start, nbytes)
            if crc32(data) == crc:
                return data
        raise Damaged(f"{name} does not fit its checksum")

    def _check_sums(self, name: str) -> None:
        rows = np.flatnonzero(getattr(self.index, name).stored).tolist()
        for i, span in zip(rows, self._spans(name, rows), strict=True):
            try:
                self._checked(name, span)
            except Damaged as error:
                raise self._damaged(i, error) from error

    def _damaged(self, i: int, error: Damaged) -> Damaged:
        return Damaged(f"{self.file}: row {i}: {error}; delete it, then build again")

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
        if (live != self.index.depth.stored).any():
            raise Damaged(f"{self.file}: a live row without depth or a spoof with depth")
        if (live & self.index.mask.stored).any():
            raise Damaged(f"{self.file}: a live row with a mask of its own; its mask is where its depth is")
        if not decode:
            for name in ("image", "depth", "mask"):
                self._check_sums(name)
            return
        for i in range(len(self)):
            if self.index.mask.stored[i]:
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
