"""What there is to do: the media of a scan, less those that the current snapshot holds already, cut into shards.

The same media and config give the same plans and the same names: that is how a killed build finds its shards again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import Damaged
from storage.shard_info import ShardInfo
from storage.snapshot import MEDIA_COLUMNS, Snapshot
from tasks.config import BuildConfig
from tasks.errors import BuildError
from tasks.frames import guess_frames
from tasks.sources.media import MEDIA_SCHEMA, Scan

_UNIT, _RECORD = "\x1f", "\x1e"  # separators: `walk` refuses file names that have them
_PASSING = pa.array(["unreadable", "missing"])  # rejects by the machine's state that day, not by the file's content


@dataclass(frozen=True)
class ShardPlan:
    """One shard to build: `media` (MEDIA_SCHEMA, by path) of one dataset and split, below `root`.

    `media_digest` is the hash of those rows, `config_digest` that of the config; the name is a hash of both.
    """

    name: str
    dataset: str
    split: str
    root: str
    media: pa.Table
    media_digest: str
    config_digest: str


@dataclass(frozen=True)
class Plan:
    """Shards to build, shards of the snapshot to keep, and how the media compare with the snapshot.

    unchanged: media in kept shards. again: unchanged media that are built again, because a neighbour in their shard
    changed, their labels did or the config, because the shard was damaged, or because it has a reject whose cause may
    have passed. new, changed, removed: media. damaged: what is wrong with each shard that has to be replaced.
    """

    shards: list[ShardPlan]
    keep: list[ShardInfo]
    unchanged: int
    again: int
    new: int
    changed: int
    removed: int
    damaged: list[str]

    @property
    def nothing_to_do(self) -> bool:
        """The snapshot holds exactly these media, built with this config."""
        return not self.shards and not self.removed and not self.damaged


def plan_build(scans: Sequence[Scan], snapshot: Snapshot | None, config: BuildConfig) -> Plan:
    """Compare `scans`, together the whole content that the store shall have, with `snapshot`; cut the rest into shards.

    Media are compared by size and time of change. A shard of the snapshot is kept whole or dropped whole: it is kept if
    it was built with this config, all its media are as they were, labels and boxes included, none was rejected for a
    cause that may have passed, and its files are there. Raises BuildError if two scans yield the same dataset, and for
    missing weights.
    """
    roots = {scan.dataset: str(scan.root.resolve()) for scan in scans}
    if len(roots) < len(scans):
        raise BuildError("two sources give the same dataset; give one of them another dataset name")
    digest = config.digest()
    media = pa.concat_tables([MEDIA_SCHEMA.empty_table(), *(scan.media for scan in scans)]).combine_chunks()
    known_media, gone, retry = _known(snapshot)
    place, same, removed = _compare(media, snapshot, known_media)
    keep = []
    kept = np.zeros(len(media), bool)
    by_shard = np.argsort(place, kind="stable")
    for number, shard in enumerate(snapshot.shards if snapshot else ()):
        first, last = np.searchsorted(place[by_shard], [number, number + 1])
        rows = by_shard[first:last]
        content = media_digest(media.take(pa.array(rows)).sort_by("path"))
        built_with = (shard.meta.get("config"), shard.meta.get("media"))
        if built_with == (digest, content) and shard.name not in gone and shard.name not in retry:
            keep.append(shard)
            kept[rows] = True
    known = place >= 0
    # a complete shard of the same name would be taken as it is: one that is tried again needs another name
    names = [s.name if s.name in retry else "" for s in snapshot.shards] if snapshot else []
    tried = np.array([*names, ""], np.str_)[place]  # of a new medium, place is -1: the last
    left = np.flatnonzero(~kept)
    shards = list(_cut(media.take(pa.array(left)), tried[left], roots, digest, config))
    # what a shard held whose file is gone is known by its digest alone
    lost = {s.meta.get("media") for s in snapshot.shards if s.name in gone} if snapshot else set()
    found_again = sum(len(s.media) for s in shards if s.media_digest in lost)
    return Plan(
        shards=shards,
        keep=keep,
        unchanged=int(kept.sum()),
        again=int((known & same & ~kept).sum()) + found_again,
        new=int((~known).sum()) - found_again,
        changed=int((known & ~same).sum()),
        removed=removed,
        damaged=list(gone.values()),
    )


def media_digest(media: pa.Table) -> str:
    """SHA-256 hex over every value of the rows, in order; independent of how Arrow lays them out."""
    digest = hashlib.sha256()
    text = []
    for field in MEDIA_SCHEMA:
        column = media[field.name].combine_chunks()
        if pa.types.is_fixed_size_list(field.type):
            nulls = column.is_null().to_numpy(zero_copy_only=False)
            digest.update(nulls.tobytes())
            digest.update(pc.list_flatten(column).to_numpy(zero_copy_only=False).astype("<f4").tobytes())
        else:
            text.append(column.cast(pa.string()))
    digest.update(_RECORD.join(pc.binary_join_element_wise(*text, _UNIT).to_pylist()).encode())
    return digest.hexdigest()


def _keys(table: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(table["dataset"], table["path"], _UNIT)


def _known(snapshot: Snapshot | None) -> tuple[pa.Table, dict[str, str], set[str]]:
    """The media of the snapshot's intact shards, what is wrong with each other shard, and the shards to try again."""
    tables, gone, retry = [MEDIA_COLUMNS.empty_table()], {}, set()
    for shard in snapshot.shards if snapshot else ():
        assert snapshot is not None
        try:
            tables.append(snapshot.media_of(shard))
            if pc.any(pc.is_in(snapshot.rejects_of(shard)["reason"], _PASSING)).as_py():
                retry.add(shard.name)
        except Damaged as error:
            gone[shard.name] = str(error)
    return pa.concat_tables(tables).combine_chunks(), gone, retry


def _compare(
    media: pa.Table, snapshot: Snapshot | None, known: pa.Table
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], int]:
    """Against the snapshot: each medium's shard number (-1: new), whether its file is the same, and how many media were
    removed.
    """
    place, same = np.full(len(media), -1), np.zeros(len(media), bool)
    if snapshot is None:
        return place, same, 0
    names = pa.array([shard.name for shard in snapshot.shards], pa.string())
    shard_of = pc.index_in(known["shard"], names).to_numpy().astype(np.int64)
    keys, known_keys = _keys(media), _keys(known)
    found = pc.fill_null(pc.index_in(keys, known_keys), -1).to_numpy().astype(np.int64)
    there = found >= 0
    place[there] = shard_of[found[there]]
    same[there] = True
    for column in ("size", "mtime_ns"):
        same[there] &= known[column].to_numpy()[found[there]] == media[column].to_numpy()[there]
    return place, same, len(known) - int(there.sum())


def _cut(
    media: pa.Table, tried: npt.NDArray[np.str_], roots: dict[str, str], digest: str, config: BuildConfig
) -> Iterator[ShardPlan]:
    """Shards of about `shard_samples` samples, each of one dataset and split, media in path order.

    `tried` names, for each medium, the shard that it is to be tried again after, or nothing.
    """
    frames = guess_frames(config.read)
    order = pc.sort_indices(media, [(name, "ascending") for name in ("dataset", "split", "path")])
    media, tried = media.take(order), tried[order.to_numpy()]
    group = pc.binary_join_element_wise(media["dataset"], media["split"], _UNIT).to_pylist()
    samples = [config.view.views * (frames if kind == "video" else 1) for kind in media["kind"].to_pylist()]
    start = held = 0
    for row in range(len(media) + 1):
        ends = row == len(media) or group[row] != group[start]
        if row > start and (ends or held + samples[row] > config.shard_samples):
            # not a slice: pickled for a worker, that would carry the whole table along
            part = media.take(pa.array(np.arange(start, row)))
            dataset, split = group[start].split(_UNIT)
            content = media_digest(part)
            before = "".join(np.unique(tried[start:row]))
            unique = hashlib.sha256(f"{digest}{content}{before}".encode()).hexdigest()[:16]
            label = re.sub(r"[^A-Za-z0-9]+", "-", f"{dataset}-{split}").strip("-")[:64]
            yield ShardPlan(f"{label}-{unique}", dataset, split, roots[dataset], part, content, digest)
            start, held = row, 0
        if row < len(media):
            held += samples[row]
