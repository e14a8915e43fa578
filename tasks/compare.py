"""The media of a scan against those that the shards of a store were made of: column by column, no row in Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import Damaged
from storage.media_list import media_keys, read_media
from storage.shard_info import ShardInfo
from storage.snapshot import Snapshot
from tasks.content import content_sha256s
from tasks.sources.media import MEDIA_SCHEMA

Flags = npt.NDArray[np.bool_]
KNOWN_SCHEMA = MEDIA_SCHEMA.append(pa.field("sha256", pa.string()))
_WHERE_AND_WHEN = ("dataset", "path", "size", "mtime_ns")
_FACTS = [name for name in MEDIA_SCHEMA.names if name not in _WHERE_AND_WHEN]


@dataclass(frozen=True)
class Known:
    """The media that `shards` were made of. media: KNOWN_SCHEMA; owner: the shard's number for each of its rows.

    damaged: by name, what is wrong with each shard that has to be replaced.
    """

    shards: list[ShardInfo]
    media: pa.Table
    keys: pa.ChunkedArray
    owner: npt.NDArray[np.int64]
    damaged: dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """Row by row of a scan. keys: of its media. found: its row in Known.media (-1: new).

    facts: labels, boxes, … are as they were. content: the file is as it was, whatever its times. touched: it is, but it
    has other times. sha256: of the content, where it had to be read, else empty.
    """

    keys: pa.ChunkedArray
    found: npt.NDArray[np.int64]
    facts: Flags
    content: Flags
    touched: Flags
    sha256: npt.NDArray[np.object_]


def read_known(snapshot: Snapshot | None, shards: Sequence[ShardInfo]) -> Known:
    """Read the lists of media of `shards` of the snapshot's store."""
    tables, counts, damaged = [KNOWN_SCHEMA.empty_table()], [], {}
    for shard in shards:
        assert snapshot is not None
        table = KNOWN_SCHEMA.empty_table()
        try:
            table = snapshot.media_of(shard)
        except Damaged as error:
            damaged[shard.name] = str(error)
            if shard.media_file is not None:
                table = _list_alone(snapshot, shard)
        # a list of another release may lack columns, which then read as null: its media have other facts
        fits = [
            f.name for f in KNOWN_SCHEMA if f.name in table.column_names and table.schema.field(f.name).type == f.type
        ]
        tables.append(table.select(fits))
        counts.append(len(table))
    media = pa.concat_tables(tables, promote_options="default").combine_chunks()
    return Known(list(shards), media, media_keys(media), np.repeat(np.arange(len(counts)), counts), damaged)


def _list_alone(snapshot: Snapshot, shard: ShardInfo) -> pa.Table:
    """What a damaged shard was made of, if that much is left."""
    assert shard.media_file is not None
    try:
        return read_media(snapshot.root, shard.media_file, shard.media_sha256)
    except Damaged:
        return KNOWN_SCHEMA.empty_table()


def compare(media: pa.Table, roots: dict[str, str], known: Known, *, checksum: bool) -> Comparison:
    """Compare by size and time of change, and by content where these differ, or everywhere with `checksum`.

    A file that could not be read when its shard was built is read again.
    """
    keys = media_keys(media)
    found = pc.fill_null(pc.index_in(keys, known.keys), -1).to_numpy().astype(np.int64)
    there = np.flatnonzero(found >= 0)
    before, now = known.media.take(pa.array(found[there])), media.take(pa.array(there))
    facts, content, touched = (np.zeros(len(media), bool) for _ in range(3))
    same_facts = np.ones(len(there), bool)
    for name in _FACTS:
        same_facts &= _equal(before[name], now[name])
    facts[there] = same_facts
    size, time = (_equal(before[name], now[name]) for name in ("size", "mtime_ns"))
    unknown = pc.equal(pc.fill_null(before["sha256"], ""), "").to_numpy()
    doubt = np.flatnonzero(same_facts & (unknown | (size & ~time) | (checksum & size)))
    content[there] = size & time
    sha256 = np.full(len(media), "", object)
    sha256[there[doubt]] = _hash(now.take(pa.array(doubt)), roots)
    stored = pc.fill_null(before["sha256"], "").take(pa.array(doubt)).to_numpy(zero_copy_only=False)
    # unreadable then and now counts as the same: nothing would come of another try
    content[there[doubt]] = sha256[there[doubt]] == stored
    touched[there] = content[there] & ~time
    return Comparison(keys, found, facts, content, touched, sha256)


def _hash(media: pa.Table, roots: dict[str, str]) -> list[str]:
    hashes = np.full(len(media), "", object)
    datasets = media["dataset"].to_numpy(zero_copy_only=False)
    for dataset in np.unique(datasets.astype(np.str_)):
        rows = np.flatnonzero(datasets == dataset)
        hashes[rows] = content_sha256s(roots[dataset], media["path"].take(pa.array(rows)).to_pylist())
    return hashes.tolist()


def _equal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> Flags:
    """Row by row; null equals null, and a NaN in a box equals itself: a bad box is no change."""
    a, b = one.combine_chunks(), other.combine_chunks()
    null_a, null_b = (array.is_null().to_numpy(zero_copy_only=False) for array in (a, b))
    if pa.types.is_fixed_size_list(a.type):
        bits = [np.asarray(array.values).view(np.int32).reshape(-1, a.type.list_size) for array in (a, b)]
        equal = (bits[0] == bits[1]).all(axis=1)
    else:
        equal = pc.fill_null(pc.equal(a, b), False).to_numpy(zero_copy_only=False)
    return (equal & ~null_a & ~null_b) | (null_a & null_b)
