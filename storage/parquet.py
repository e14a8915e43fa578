"""One Parquet shard: pictures that `load_dataset`, pandas and duckdb open as they are, and that map like an array.

    image   struct{bytes, path}: a JPEG, a PNG, or a PPM (a 15-byte header before the raw pixels) when stored raw
    depth   struct{bytes, path}: a grey PNG of 8 or 16 bits; null = zero everywhere (every spoof)
    mask    struct{bytes, path}: a PNG of 1 bit, where the face of a spoof is; null = not kept, or live: depth > 0
    {image,depth,mask}_{nbytes,crc32}   of the stored pixel bytes, for our own reader
    and one column a column of storage/schema.py

Reading one row through the Parquet machinery decodes its whole row group (440 us at 64 rows). The pixel columns are
therefore PLAIN, uncompressed and one page a row group: a row's bytes lie at (end of the page - the lengths after it),
which is computed from the footer and `image_nbytes`, and then mapped (about 10 us).
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from isal.isal_zlib import crc32

from storage.codecs import Encoded
from storage.config import StoreConfig
from storage.errors import Damaged
from storage.pixel_index import PixelIndex, Spans
from storage.place import StoredFile
from storage.schema import COLUMNS, SCHEMA_VERSION, check_version

SUFFIX = ".parquet"
# 64 pictures a group: small enough for viewers, and the footer stays small
_GROUP = 64
_PICTURE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_SUFFIXES = {"raw": "ppm", "png": "png", "jpeg": "jpg"}
_PIXELS = ("image", "depth", "mask")
_COUNTERS = {f"{name}_nbytes": pa.int32() for name in _PIXELS} | {f"{name}_crc32": pa.uint32() for name in _PIXELS}
_FIELDS = [*(pa.field(name, _PICTURE) for name in _PIXELS), *COLUMNS]
_FIELDS += [pa.field(name, kind, nullable=False) for name, kind in _COUNTERS.items()]
_PQ_ERRORS = (OSError, KeyError, ValueError, TypeError, pa.ArrowException)


class Writer:
    """Writes a row group whenever 64 rows are there, however they were handed in."""

    def __init__(self, path: Path, config: StoreConfig, meta: dict[str, Any]) -> None:
        self._path, self._config = path, config
        self._meta = json.dumps(meta, sort_keys=True)
        self._rows: list[Encoded] = []
        self._columns = COLUMNS.empty_table()
        schema = pa.schema(_FIELDS, metadata={"huggingface": json.dumps({"info": {"features": _features()}})})
        leaves = [f"{name}.{leaf}" for name in _PIXELS for leaf in ("bytes", "path")]
        others = {field.name: "zstd" for field in schema if field.type != _PICTURE}
        self._file = pq.ParquetWriter(
            path,
            schema,
            compression={**others, **dict.fromkeys(leaves, "none")},
            use_dictionary=[f.name for f in COLUMNS if pa.types.is_string(f.type) and f.name != "sample_id"],
            data_page_size=1 << 30,  # one page a row group
            write_page_checksum=True,
        )

    def add(self, row: Encoded) -> None:
        """Add one row's pixels."""
        self._rows.append(row._replace(image=bytes(row.image)))  # no copy of what is bytes already

    def add_columns(self, columns: pa.Table) -> None:
        """Add the COLUMNS table of the rows since the last call."""
        self._columns = pa.concat_tables([self._columns, columns])
        while len(self._rows) >= _GROUP:
            self._write_group()

    def close(self, size: tuple[int, int], depth_dtype: np.dtype) -> None:
        """Finish the file. size: (H, W) of every image, (0, 0) if there are no rows."""
        if self._rows:
            self._write_group()
        about = {
            "schema_version": SCHEMA_VERSION,
            "image_codec": self._config.image_codec,
            "image_subsampling": self._config.image_subsampling,
            "depth_codec": self._config.depth_codec,
            "image_size": list(size),
            "depth_dtype": depth_dtype.name,
        }
        notes = {"pseudodepth": json.dumps(about), "meta": self._meta, "footer_crc32": "0" * 8}
        self._file.add_key_value_metadata(notes)
        self._file.close()
        with self._path.open("r+b") as file:
            place, crc = _footer_seal(file, self._path)
            file.seek(place)
            file.write(crc)

    def abort(self) -> None:
        """Close the file handle; what was written is thrown away by the caller."""
        self._rows = []
        with contextlib.suppress(OSError, pa.ArrowException):  # a full disk must not hide the first error
            self._file.close()

    def _write_group(self) -> None:
        rows, self._rows = self._rows[:_GROUP], self._rows[_GROUP:]
        columns, self._columns = self._columns[: len(rows)], self._columns[len(rows) :]
        raw = self._config.image_codec == "raw"
        ids = columns.column("sample_id").to_pylist()
        suffix = _SUFFIXES[self._config.image_codec]
        images = [
            {"bytes": _ppm_header(row.size) + row.image if raw else row.image, "path": f"{i}.{suffix}"}
            for row, i in zip(rows, ids, strict=True)
        ]
        depths = [
            None if row.depth is None else {"bytes": row.depth, "path": f"{i}.depth.png"}
            for row, i in zip(rows, ids, strict=True)
        ]
        masks = [
            None if row.mask is None else {"bytes": row.mask, "path": f"{i}.mask.png"}
            for row, i in zip(rows, ids, strict=True)
        ]
        counters = [[len(getattr(row, name) or b"") for row in rows] for name in _PIXELS]
        counters += [[getattr(row, f"{name}_crc32") for row in rows] for name in _PIXELS]
        arrays = [*(pa.array(pictures, _PICTURE) for pictures in (images, depths, masks)), *columns.columns]
        arrays += [pa.array(values, kind) for values, kind in zip(counters, _COUNTERS.values(), strict=True)]
        self._file.write_table(pa.table(arrays, schema=self._file.schema), row_group_size=_GROUP)


def index(path: StoredFile) -> PixelIndex:
    """Where the pixels of a shard lie; raises Damaged or UnknownVersion that names it."""
    try:
        with _opened(path) as file:
            about = _about(file)
            check_version(about["schema_version"], path)
            counters = file.read(columns=list(_COUNTERS), use_threads=False)
            count = {name: counters.column(name).to_numpy() for name in _COUNTERS}
            header = len(_ppm_header(tuple(about["image_size"]))) if about["image_codec"] == "raw" else 0
            height, width = (int(v) for v in about["image_size"])

            def spans(name: str, header: int = 0) -> Spans:
                nbytes = count[f"{name}_nbytes"].astype(np.int64)
                start = _starts(file.metadata, f"{name}.bytes", nbytes + header) + header
                return Spans(start, nbytes, count[f"{name}_crc32"])

            return PixelIndex(
                image=spans("image", header),
                depth=spans("depth"),
                mask=spans("mask"),
                image_codec=about["image_codec"],
                image_subsampling=about.get("image_subsampling", "4:4:4"),  # version 1 knew no other
                depth_codec=about["depth_codec"],
                depth_dtype=np.dtype({"uint8": np.uint8, "uint16": np.uint16}[about["depth_dtype"]]),
                size=(height, width),
                meta=file.metadata.metadata[b"meta"].decode(),
            )
    except _PQ_ERRORS as error:
        raise Damaged(f"{path}: not a readable Parquet shard ({error}); delete it, then build again") from error


def columns(path: StoredFile, names: Sequence[str]) -> pa.Table:
    """The named columns of a shard as a table of COLUMNS types; raises Damaged or UnknownVersion."""
    try:
        with _opened(path) as file:
            check_version(_about(file)["schema_version"], path)
            table = file.read(columns=list(names), use_threads=False)  # threads would not survive a fork
            return table.select(names).cast(pa.schema([COLUMNS.field(name) for name in names]))
    except _PQ_ERRORS as error:
        raise Damaged(f"{path}: columns are not readable ({error}); delete it, then build again") from error


def _about(file: pq.ParquetFile) -> dict[str, Any]:
    """What the writer noted of the shard: version, codecs, size."""
    return dict(json.loads((file.metadata.metadata or {})[b"pseudodepth"]))


@contextlib.contextmanager
def _opened(path: StoredFile) -> Iterator[pq.ParquetFile]:
    """Open the file, its footer checked first: pyarrow aborts the whole process on some damaged ones."""
    with path.open() as file:
        place, crc = _footer_seal(file, path)
        file.seek(place)
        if file.read(8) != crc:
            raise Damaged(f"{path}: the footer does not fit its checksum")
        file.seek(0)
        with pq.ParquetFile(file, page_checksum_verification=True) as shard:
            yield shard


def _footer_seal(file: BinaryIO, path: object) -> tuple[int, bytes]:
    """Where the footer keeps its checksum, and what it should be: 8 hex digits, counted with zeros in their place.

    Parquet checks its pages only, so the footer vouches for itself through a note in it.
    """
    end = file.seek(0, 2)
    file.seek(max(0, end - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length + 12 > end:
        raise Damaged(f"{path}: not a whole Parquet file")
    file.seek(end - 8 - length)
    footer = file.read(length)
    mark = b"footer_crc32\x18\x08"  # the key, then a string of 8 bytes in Thrift's compact protocol
    place = footer.rfind(mark) + len(mark)
    if place < len(mark):
        raise Damaged(f"{path}: the footer has no checksum; it was not written by pseudodepth")
    crc = crc32(footer[:place] + b"0" * 8 + footer[place + 8 :])
    return end - 8 - length + place, f"{crc:08x}".encode()


def _starts(metadata: pq.FileMetaData, leaf: str, nbytes: np.ndarray) -> np.ndarray:
    """Offset in the file of each row's payload, (n,) int64; -1 where a null is stored (0 bytes)."""
    starts, row = np.full(len(nbytes), -1, np.int64), 0
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        chunk = next((c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == leaf), None)
        if chunk is None or chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
            raise ValueError(f"{leaf} is missing, compressed or in a dictionary, so it was not written by pseudodepth")
        rows = np.arange(row, row + group.num_rows)
        rows = rows[nbytes[rows] > 0]
        end = chunk.data_page_offset + chunk.total_compressed_size
        after = np.cumsum((nbytes[rows] + 4)[::-1])[::-1]  # a PLAIN value is 4 bytes of length, then the bytes
        starts[rows] = end - after + 4
        row += group.num_rows
    return starts


def _ppm_header(size: tuple[int, ...]) -> bytes:
    height, width = size
    return f"P6 {width} {height} 255\n".encode()


def _features() -> dict[str, Any]:
    """How Hugging Face `datasets` is to show each column: the pictures as pictures."""
    features: dict[str, Any] = {}
    for field in _FIELDS:
        kind = field.type
        if kind == _PICTURE:
            features[field.name] = {"_type": "Image"}
        elif pa.types.is_fixed_size_list(kind):
            item = {"dtype": _dtype(kind.value_type), "_type": "Value"}
            features[field.name] = {"feature": item, "length": kind.list_size, "_type": "Sequence"}
        else:
            features[field.name] = {"dtype": _dtype(kind), "_type": "Value"}
    return features


def _dtype(kind: pa.DataType) -> str:
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
