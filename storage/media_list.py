"""What went into a shard: a small Parquet file beside it, one row a medium, so that a refresh opens no shard.

Whoever builds may note more than MEDIA_COLUMNS there (boxes, sessions, …); all of it comes back from `read_media`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.errors import BadSample, Damaged
from storage.place import Place
from storage.shard_info import read_list

MEDIA_COLUMNS = pa.schema(
    [
        ("dataset", pa.string()),
        ("path", pa.string()),  # posix, relative to the dataset's root
        ("split", pa.string()),
        ("subject", pa.string()),
        ("label", pa.int8()),
        ("attack", pa.string()),
        ("size", pa.int64()),  # bytes
        ("mtime_ns", pa.int64()),
        ("sha256", pa.string()),  # of the file's content, hex; "" = it could not be read, or nobody said
        ("samples", pa.int32()),  # rows of the shard that come from it; 0 = rejected
    ]
)
_GIVEN = [name for name in MEDIA_COLUMNS.names if name != "samples"]
_UNIT = "\x1f"  # no file name has it: scans refuse control characters


def media_keys(table: pa.Table) -> pa.ChunkedArray:
    """Dataset and path of every row as one string: what makes a medium the same one."""
    return pc.binary_join_element_wise(table["dataset"], table["path"], _UNIT)


def media_rows(
    media: pa.Table | None, samples: Counter[tuple[str, str]], rows: Iterable[Mapping[str, Any]]
) -> pa.Table:
    """The list of a shard: `media` as its builder gave it, with the number of samples of each.

    Without `media` they are taken from the shard's own sample and reject rows. Raises BadSample if the list and the
    rows name different media: one that is in neither was lost on the way.
    """
    seen = {(row["dataset"], row["path"]): row for row in rows}
    if media is None:
        media = _of_rows(seen.values())
    missing = sorted(set(_GIVEN) - set(media.column_names))
    if missing:
        raise BadSample(f"the list of media lacks the columns {missing}; see storage/media_list.py")
    listed = list(zip(media["dataset"].to_pylist(), media["path"].to_pylist(), strict=True))
    if len(set(listed)) != len(listed) or set(listed) != seen.keys():
        odd = next((key for key, count in Counter(listed).items() if count > 1), None)
        odd = odd or min(set(listed) ^ seen.keys())
        raise BadSample(
            f"{odd[0]}:{odd[1]}: every medium of a shard stands once in its list, and ends in samples or in a reject"
        )
    counts = pa.array([samples[key] for key in listed], pa.int32())
    return media.combine_chunks().append_column("samples", counts)


def _of_rows(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    elsewhere = {"size": "source_size", "mtime_ns": "source_mtime_ns"}
    fields = [MEDIA_COLUMNS.field(name) for name in _GIVEN]
    # rejects have no subject, and no row a hash
    columns = [[row.get(elsewhere.get(field.name, field.name), "") for row in rows] for field in fields]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, fields, strict=True)], schema=pa.schema(fields))


def media_bytes(media: pa.Table) -> bytes:
    """The file; equal rows give equal bytes."""
    sink = pa.BufferOutputStream()
    plain = [name for name in media.column_names if name not in ("path", "sha256", "mtime_ns")]
    pq.write_table(media, sink, compression="zstd", use_dictionary=plain, write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def read_media(place: Place, file: str, sha256: str | None) -> pa.Table:
    """The list `file` of a store; raises Damaged that names it unless its bytes are those that were committed."""
    data = read_list(place, file, sha256)  # pyarrow aborts the process on some damaged footers
    path = place.where(file)
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as parquet:
            table = parquet.read(use_threads=False)
        for field in MEDIA_COLUMNS:
            if table.schema.field(field.name).type != field.type:
                raise Damaged(f"{path}: column {field.name} is not {field.type}")
        return table
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise Damaged(f"{path}: not a readable list of media ({error}); delete it, then build again") from error
