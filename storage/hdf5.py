"""One HDF5 shard: contiguous arrays under names that explain themselves, written whole, read through a memory map.

    image        (n, H, W, 3) uint8 RGB; or packed PNG or JPEG bytes, row i = image[image_offset[i]:image_offset[i + 1]]
                 (attributes image_codec and, of a JPEG's colour, image_subsampling)
    depth        (live, H, W), near = large, only of live rows; or, with depth_offset, LZ4 blocks of such maps or packed
                 ones (storage/depth_codec.py): attribute depth_codec
    depth_row    (n,) int32: row i's depth is depth[depth_row[i]]; -1 = zero everywhere (every spoof)
    mask         where the faces of spoofs are, if the build kept that: 1-bit PNG bytes, row i = mask[mask_offset[i]:
                 mask_offset[i + 1]], empty = not kept (a live row's mask is its depth > 0)
    image_crc32, depth_crc32, mask_crc32  (n,) uint32 of the stored bytes
    columns/*    one dataset a column of storage/schema.py, like the arrays above checked by HDF5 (fletcher32)

Contiguous, because h5py's per-call cost (25 us) and chunked filters (100 us and more) dwarf the copy itself (10 us).
"""

import contextlib
import functools
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import pyarrow as pa
from h5py import h5d, h5s

from storage.codecs import MASK_CODEC, Encoded
from storage.config import StoreConfig
from storage.errors import Damaged
from storage.hdf5_disk import BUFFER, LIBVER, Disk, allot, allot_first
from storage.pixel_index import PixelIndex, Spans
from storage.place import StoredFile
from storage.schema import COLUMNS, SCHEMA_VERSION, check_version

SUFFIX = ".h5"
_PIXELS = ("image", "depth", "mask")
# deflate cannot do better, so a column that claims more is forged
_MAX_DEFLATE = 1032
_H5_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, IndexError)


class Writer:
    """Images go to where they will stand in the file as they come; the HDF5 structure is put around them in `close`.

    A contiguous array needs its length before the first row, and that is not known until the last. But its place in the
    file does not depend on its length, so it is written first. Depth and masks wait in an unnamed file of the same
    disk: memory is bounded by the batch, not the shard.
    """

    def __init__(self, path: Path, config: StoreConfig, meta: dict[str, Any]) -> None:
        self._config, self._meta = config, meta
        self._disk = Disk(path)
        self._waiting = {"depth": _unnamed(path.parent), "mask": _unnamed(path.parent)}
        self._nbytes: list[tuple[int, ...]] = []  # of each row's _PIXELS
        self._crc32: list[tuple[int, ...]] = []
        self._columns: list[pa.Table] = []

    def add(self, row: Encoded) -> None:
        """Add one row's pixels."""
        depth, mask = row.depth or b"", row.mask or b""
        self._disk.put(row.image)
        self._waiting["depth"].write(depth)
        self._waiting["mask"].write(mask)
        self._nbytes.append((len(row.image), len(depth), len(mask)))
        self._crc32.append((row.image_crc32, row.depth_crc32, row.mask_crc32))

    def add_columns(self, columns: pa.Table) -> None:
        """Add the COLUMNS table of the rows since the last call."""
        self._columns.append(columns)

    def close(self, size: tuple[int, int], depth_dtype: np.dtype) -> None:
        """Finish the file. size: (H, W) of every image, (0, 0) if there are no rows."""
        config = self._config
        image_nbytes, depth_nbytes, mask_nbytes = np.array(self._nbytes, np.int64).reshape(-1, 3).T
        stored = depth_nbytes > 0  # of live rows only
        with self._disk as disk, h5py.File(disk, "w", libver=LIBVER) as file:
            shape, dtype, offset = _layout(config.image_codec, image_nbytes, (*size, 3), np.dtype(np.uint8))
            allot_first(file, "image", shape, dtype)
            _write_offset(file, "image", offset)
            for name, codec, nbytes in (
                ("depth", config.depth_codec, depth_nbytes[stored]),
                ("mask", MASK_CODEC, mask_nbytes),
            ):
                shape, dtype, offset = _layout(codec, nbytes, size, depth_dtype)
                disk.put_all(allot(file, name, shape, dtype), self._waiting[name])
                _write_offset(file, name, offset)
            file.attrs["schema_version"] = SCHEMA_VERSION
            file.attrs["about"] = _fixed((__doc__ or "").replace("\n    ", "\n"))
            file.attrs["image_codec"] = _fixed(config.image_codec)
            file.attrs["image_subsampling"] = _fixed(config.image_subsampling)
            file.attrs["depth_codec"] = _fixed(config.depth_codec)
            file.attrs["mask_codec"] = _fixed(MASK_CODEC)
            file.attrs["image_size"] = size  # height, width
            file.attrs["depth_dtype"] = _fixed(depth_dtype.name)
            # a data set, for attributes end at 64 KB
            file["meta"] = _fixed(json.dumps(self._meta, sort_keys=True))
            _write_checked(file, "depth_row", np.where(stored, np.cumsum(stored) - 1, -1).astype(np.int32))
            for name, crc32 in zip(_PIXELS, np.array(self._crc32, np.uint32).reshape(-1, 3).T, strict=True):
                _write_checked(file, f"{name}_crc32", crc32)
            table = pa.concat_tables(self._columns) if self._columns else COLUMNS.empty_table()
            group = file.create_group("columns")
            for name in COLUMNS.names:
                _write_column(group, COLUMNS.field(name), table.column(name))
        self.abort()

    def abort(self) -> None:
        """Let go of the files."""
        for file in (self._disk, *self._waiting.values()):
            with contextlib.suppress(OSError):  # a full disk must not hide the first error
                file.close()


def _unnamed(folder: Path) -> IO[bytes]:
    """A file that is gone when it is closed, or when its process dies."""
    return tempfile.TemporaryFile(dir=folder, buffering=BUFFER)


def index(path: StoredFile) -> PixelIndex:
    """Where the pixels of a shard lie; raises Damaged or UnknownVersion that names it."""
    try:
        with _opened(path) as file:
            check_version(int(file.attrs["schema_version"]), path)
            array = functools.partial(_array, file, most=_MAX_DEFLATE * path.nbytes)
            row, crc32 = array("depth_row"), {name: array(f"{name}_crc32") for name in _PIXELS}
            n = len(row)
            height, width = (int(v) for v in file.attrs["image_size"])
            dtype = np.dtype({"uint8": np.uint8, "uint16": np.uint16}[_text(file.attrs["depth_dtype"])])
            image_start, image_nbytes = _spans(file, "image", height * width * 3, array)
            depth_start, depth_nbytes = _spans(file, "depth", height * width * dtype.itemsize, array)
            mask_start, mask_nbytes = _spans(file, "mask", 0, array)
            stored = row >= 0
            depth_starts, depth_sizes = np.full(n, -1, np.int64), np.zeros(n, np.int64)
            depth_starts[stored], depth_sizes[stored] = depth_start[row[stored]], depth_nbytes[row[stored]]
            return PixelIndex(
                image=Spans(image_start, image_nbytes, crc32["image"]),
                depth=Spans(depth_starts, depth_sizes, crc32["depth"]),
                mask=Spans(np.where(mask_nbytes > 0, mask_start, -1), mask_nbytes, crc32["mask"]),
                image_codec=_text(file.attrs["image_codec"]),
                image_subsampling=_text(file.attrs.get("image_subsampling", "4:4:4")),  # version 1 knew no other
                depth_codec=_text(file.attrs["depth_codec"]),
                depth_dtype=dtype,
                size=(height, width),
                meta=file["meta"].asstr()[()],
            )
    except (*_H5_ERRORS, MemoryError) as error:
        raise Damaged(f"{path}: not a readable HDF5 shard ({error}); delete it, then build again") from error


def columns(path: StoredFile, names: Sequence[str]) -> pa.Table:
    """The named columns of a shard as a table of COLUMNS types; raises Damaged or UnknownVersion."""
    try:
        with _opened(path) as file:
            check_version(int(file.attrs["schema_version"]), path)
            n, most = h5d.open(file.id, b"image_crc32").shape, _MAX_DEFLATE * path.nbytes
            arrays = {name: _array(file, f"columns/{name}", most) for name in names}
            if any(values.shape[:1] != n for values in arrays.values()):
                raise ValueError("they differ in length")
            fields = [COLUMNS.field(name) for name in names]
            return pa.table([_to_arrow(arrays[f.name], f) for f in fields], schema=pa.schema(fields))
    except (*_H5_ERRORS, MemoryError, pa.ArrowException) as error:
        raise Damaged(f"{path}: columns are not readable ({error}); delete it, then build again") from error


@contextlib.contextmanager
def _opened(path: StoredFile) -> Iterator[h5py.File]:
    source = path.source()
    with (
        contextlib.nullcontext() if isinstance(source, Path) else source,
        h5py.File(source, "r", locking=False) as file,
    ):
        yield file


def _layout(
    codec: str, nbytes: np.ndarray, shape: tuple[int, ...], dtype: np.dtype
) -> tuple[tuple[int, ...], np.dtype, np.ndarray | None]:
    """Shape and type of an array of rows of `nbytes` each, and the offsets that packed rows need."""
    if codec == "raw":
        return (len(nbytes), *shape), dtype, None
    offset = np.cumsum([0, *nbytes], dtype=np.int64)
    return (int(offset[-1]),), np.dtype(np.uint8), offset


def _write_offset(file: h5py.File, name: str, offset: np.ndarray | None) -> None:
    if offset is not None:
        _write_checked(file, f"{name}_offset", offset)


def _write_checked(group: h5py.Group, name: str, data: np.ndarray) -> None:
    """A small array that HDF5 itself checks on every read: a flipped label is as bad as a flipped pixel."""
    if len(data):
        group.create_dataset(name, data=data, chunks=data.shape, fletcher32=True, compression="gzip", shuffle=True)
    else:
        group.create_dataset(name, data=data)
    # Allot the chunk's place in the file now. Left to h5py it happens when the data set's handle is let go, which other
    # threads can delay: about one shard in 30 of a Dask build then had the same content in another order of bytes.
    group.file.flush()


def _array(file: h5py.File, name: str, most: int) -> np.ndarray:
    """A whole array of numbers or fixed-length strings, of at most `most` bytes whatever the file claims."""
    # h5py.Dataset, which can do more, takes four times as long: 0.4 s more for a column of a store of a million samples
    data = h5d.open(file.id, name.encode())
    if data.dtype.kind not in "iufS" or math.prod(data.shape) * data.dtype.itemsize > most:
        raise ValueError(f"{name} is {data.dtype} {data.shape}")
    values = np.empty(data.shape, data.dtype)
    data.read(h5s.ALL, h5s.ALL, values)
    return values


def _fixed(text: str) -> np.ndarray:
    """Text of fixed length: one of variable length lies in HDF5's global heap, where one flipped bit hangs it."""
    data = text.encode()
    return np.array(data, h5py.string_dtype("utf-8", len(data)))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)  # version 1 stored str


def _spans(
    file: h5py.File, name: str, raw_nbytes: int, array: Callable[[str], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Start and length in the file of every stored map, (k,) int64 each."""
    data = h5d.open(file.id, name.encode())
    base = data.get_offset()
    if base is None and math.prod(data.shape):
        raise ValueError(f"{name} is not contiguous, so it was not written by pseudodepth")
    base = base or 0
    if _text(file.attrs[f"{name}_codec"]) == "raw":
        k = data.shape[0]
        return base + np.arange(k, dtype=np.int64) * raw_nbytes, np.full(k, raw_nbytes, np.int64)
    offset = array(f"{name}_offset")
    return base + offset[:-1], np.diff(offset)


def _write_column(group: h5py.Group, field: pa.Field, column: pa.ChunkedArray) -> None:
    if pa.types.is_string(field.type):
        # fixed length: one contiguous array, while variable-length strings cost a heap object each
        encoded = [value.encode() for value in column.to_pylist()]
        length = max([1, *map(len, encoded)])
        kind = h5py.string_dtype("utf-8", length)
        _write_checked(group, field.name, np.array(encoded, dtype=kind))
    elif pa.types.is_fixed_size_list(field.type):
        width, kind = field.type.list_size, field.type.value_type.to_pandas_dtype()
        rows = [[np.nan] * width if row is None else row for row in column.to_pylist()]  # a row of NaN = null
        _write_checked(group, field.name, np.array(rows, dtype=kind).reshape(len(rows), width))
    else:
        _write_checked(group, field.name, column.to_numpy())  # NaN = null


def _to_arrow(values: np.ndarray, field: pa.Field) -> pa.Array:
    """A column as it was before `_write_column`."""
    if pa.types.is_string(field.type):
        return pa.array(values, pa.binary()).cast(field.type)  # refuses what is not UTF-8
    if pa.types.is_fixed_size_list(field.type):
        mask = pa.array(np.isnan(values).all(axis=1)) if field.nullable else None
        flat = pa.array(values.reshape(-1), field.type.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, type=field.type, mask=mask)
    return pa.array(values, field.type, mask=np.isnan(values) if field.nullable else None)
