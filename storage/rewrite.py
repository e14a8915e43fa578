"""A shard made of another one's rows: what stays when some of its media have gone. No pixel is decoded."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.config import StoreConfig
from storage.convert import encoded_rows
from storage.media_list import media_keys
from storage.place import Place, inside, place_of
from storage.reader import ShardReader
from storage.reject_list import read_rejects
from storage.shard_info import ShardInfo
from storage.writer import existing_shard, shard_writer

_ROWS = 64  # copied at a time: about 10 MB of raw pixels


def copy_media(store_url: str | Path | Place, origin: ShardInfo, name: str, media: pa.Table) -> ShardInfo:
    """Write shard `name` with the rows and rejects of `origin` that come from `media`, and return what was committed.

    media: rows of storage/media_list.py in the order of `origin`; their size and time of change replace those of the
    copied rows, so that the shard is byte for byte the one that building these media would give. A complete shard of
    that name is verified and returned as it is. Raises Damaged if `origin` is, StoreError if it cannot be written.
    """
    earlier = existing_shard(store_url, name)
    if earlier is not None:
        return earlier
    root = place_of(store_url)
    reader = ShardReader(root.file(inside(root, origin.file), origin.bytes, origin.sha256))
    keys = media_keys(media).combine_chunks()
    columns, rows = _of_media(reader.columns(), media, keys)
    rejects, _ = _of_media(read_rejects(root, origin), media, keys)
    given = media.drop_columns(["samples"]) if "samples" in media.column_names else media
    config = store_config(reader, origin)
    with shard_writer(store_url, name, config, origin.meta, given) as writer:
        for first in range(0, len(rows), _ROWS):
            some = rows[first : first + _ROWS].tolist()
            writer.copy(encoded_rows(reader, some, config), columns.slice(first, _ROWS), reader.index.depth_dtype)
        for row in rejects.to_pylist():
            writer.reject(row)
    return writer.info


def store_config(reader: ShardReader, origin: ShardInfo) -> StoreConfig:
    """How the shard is encoded, so that a copy is encoded alike."""
    index = reader.index
    options = {"format": origin.format, "image": index.image_codec, "jpeg_subsampling": index.image_subsampling}
    if origin.format == "hdf5":
        options["depth"] = index.depth_codec
    return StoreConfig.model_validate(options)


def _of_media(table: pa.Table, media: pa.Table, keys: pa.Array) -> tuple[pa.Table, np.ndarray]:
    """The rows that come from `media`, with its size and time of change, and their numbers in `table`."""
    found = pc.index_in(media_keys(table), keys)
    rows = np.flatnonzero(pc.is_valid(found).to_numpy())
    source = pa.array(found.to_numpy(zero_copy_only=False)[rows].astype(np.int64))
    table = table.take(pa.array(rows))
    for name in ("size", "mtime_ns"):
        place = table.column_names.index(f"source_{name}")
        table = table.set_column(place, table.schema.field(place), media[name].take(source))
    return table, rows
