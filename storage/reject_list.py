"""What was skipped and why: a small Parquet file beside a shard, REJECT_COLUMNS of storage/schema.py."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import Damaged
from storage.place import Place
from storage.schema import REJECT_COLUMNS, rows_table
from storage.shard_info import ShardInfo, read_list


def rejects_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The file; equal rows give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows_table(rows, REJECT_COLUMNS), sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def read_rejects(place: Place, shard: ShardInfo) -> pa.Table:
    """The reject list of a shard, empty if it has none; raises Damaged if it is gone or not what was committed."""
    if shard.rejects_file is None:
        return REJECT_COLUMNS.empty_table()
    # pyarrow aborts the process on some damaged footers: only intact bytes may reach it
    data = read_list(place, shard.rejects_file, shard.rejects_sha256)
    path = place.where(shard.rejects_file)
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False, page_checksum_verification=True)
        return table.select(REJECT_COLUMNS.names).cast(REJECT_COLUMNS)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise Damaged(f"{path}: not a readable reject list ({error}); delete it, then build again") from error
