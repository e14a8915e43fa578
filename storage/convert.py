"""A committed snapshot written again in another format, shard by shard; memory is bounded by a few rows.

Bytes that need no change are passed through: a JPEG is never decoded to be encoded again.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from isal.isal_zlib import crc32

from storage.codecs import Encoded, encode_depth, encode_image
from storage.config import StoreConfig
from storage.errors import StoreError
from storage.reader import ShardReader
from storage.shard_info import ShardInfo
from storage.snapshot import Snapshot, Store, open_snapshot
from storage.writer import existing_shard, shard_writer

_ROWS = 64  # read, encoded and written at a time: about 13 MB of raw pixels


def convert(
    source: str | Path, out: str | Path, target: StoreConfig, progress: Callable[[int, int], None] | None = None
) -> Snapshot:
    """Write snapshot `source` (`store` or `store@12`) as a new store at `out`, and commit it.

    Every shard becomes one of `target.format`, row for row, with its rejects and its list of media. Without
    `target.image` the images stay encoded as they are, so nothing is lost. Lineage of the new snapshot is that of the
    source, and `converted_from`.
    Going on after an interruption keeps the shards that are complete. `progress(done, shards)` is called after each.

    Raises StoreError if there is another store at `out`, Damaged that names what cannot be read.
    """
    snapshot, store = open_snapshot(source), Store(out)
    parent = origin(snapshot)
    current = store.current()
    if current is not None and current.lineage.get("converted_from") != parent:
        raise StoreError(f"{out}: there is another store already (snapshot {current.number}); choose an empty folder")
    infos = []
    for done, shard in enumerate(snapshot.shards, 1):
        infos.append(_convert_shard(snapshot, shard, out, target))
        if progress:
            progress(done, len(snapshot.shards))
    if current is not None and current.shards == tuple(infos):
        return current
    config = {**snapshot.config, "store": target.model_dump(mode="json")}
    lineage = {**snapshot.lineage, "converted_from": parent}
    return store.commit(infos, parent=current, config=config, lineage=lineage)


def origin(snapshot: Snapshot) -> dict[str, Any]:
    """What names a snapshot for good: its number, and a hash over the checksums of its shards."""
    sums = "".join(shard.sha256 for shard in snapshot.shards)
    return {"snapshot": snapshot.number, "shards_sha256": hashlib.sha256(sums.encode()).hexdigest()}


def rows_of(reader: ShardReader) -> Iterator[tuple[range, pa.Table]]:
    """A shard in pieces: row numbers and their COLUMNS."""
    table = reader.columns()
    for start in range(0, len(reader), _ROWS):
        rows = range(start, min(start + _ROWS, len(reader)))
        yield rows, table.slice(start, len(rows))


def encoded_rows(reader: ShardReader, rows: Sequence[int], config: StoreConfig) -> list[Encoded]:
    """Rows of a shard with the codecs of `config`; what has them already is not decoded."""
    images: np.ndarray | None = None
    depths: np.ndarray | None = None
    index, same_image = reader.index, reader.index.image_codec == config.image_codec
    same_depth = index.depth_codec == config.depth_codec
    if not (same_image and same_depth):
        images, depths = reader.read(rows)
    encoded = []
    for k, i in enumerate(rows):
        image, depth, mask = (reader.stored(i, name) for name in ("image", "depth", "mask"))
        if images is not None and not same_image:
            image = encode_image(images[k], config)
        if depths is not None and depth is not None and not same_depth:
            depth = encode_depth(depths[k], config)
        # bytes of their own: the writer may keep them longer than the map lives
        own = [None if data is None else bytes(data) for data in (image, depth, mask)]
        sums = [0 if data is None else crc32(data) for data in own]
        assert own[0] is not None  # every row has an image
        encoded.append(Encoded(own[0], own[1], sums[0], sums[1], index.size, own[2], sums[2]))
    return encoded


def _convert_shard(snapshot: Snapshot, shard: ShardInfo, out: str | Path, target: StoreConfig) -> ShardInfo:
    reader = snapshot.open(shard)
    config = _shard_config(reader, target)
    content = f"{shard.sha256}{config.model_dump_json()}"
    name = hashlib.sha256(content.encode()).hexdigest()[:16]
    earlier = existing_shard(out, name)
    if earlier is not None:
        return earlier
    media = snapshot.media_of(shard).drop_columns(["samples"])
    with shard_writer(out, name, config, shard.meta, media) as writer:
        for rows, columns in rows_of(reader):
            writer.copy(encoded_rows(reader, rows, config), columns, reader.index.depth_dtype)
        for row in snapshot.rejects_of(shard).to_pylist():
            writer.reject(row)
    return writer.info


def _shard_config(reader: ShardReader, target: StoreConfig) -> StoreConfig:
    """`target` for one shard: images as they are unless it names a codec, and never a JPEG of a JPEG."""
    index = reader.index
    kept = target.image in (None, index.image_codec)
    image = {"image": index.image_codec, "jpeg_subsampling": index.image_subsampling} if kept else {}
    return StoreConfig.model_validate({**target.model_dump(), **image})
