"""Numbered, immutable lists of shards: what a reader opens, and what a build commits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import Damaged, SnapshotConflict, StoreError, UnknownVersion
from storage.location import REJECTS, SHARDS, SNAPSHOTS
from storage.place import Place, inside, place_of
from storage.reader import ShardReader, known_columns
from storage.schema import COLUMNS, REJECT_COLUMNS, SCHEMA_VERSION
from storage.sealed import seal, unseal
from storage.shard_info import ShardInfo, checked_file, read_ticket, shard_info, ticket_file

_FILE = re.compile(r"(\d{8,})\.json")
# what a build compares media by; a medium counts as known whether it gave samples or was rejected
_MEDIUM = ["dataset", "path", "source_size", "source_mtime_ns"]
MEDIA_COLUMNS = pa.schema(
    [
        ("dataset", pa.string()),
        ("path", pa.string()),
        ("size", COLUMNS.field("source_size").type),
        ("mtime_ns", COLUMNS.field("source_mtime_ns").type),
        ("shard", pa.string()),
    ]
)


@dataclass(frozen=True)
class Snapshot:
    """One committed state of a store. counts: shards, rows, live, spoof, rejects, bytes. parent: number, or None."""

    root: Place
    number: int
    parent: int | None
    created: str
    shards: tuple[ShardInfo, ...]
    config: dict[str, Any]
    lineage: dict[str, Any]

    @cached_property
    def counts(self) -> dict[str, int]:
        """Totals over all shards."""
        totals = {
            key: sum(getattr(s, key) for s in self.shards) for key in ("rows", "live", "spoof", "rejects", "bytes")
        }
        return {"shards": len(self.shards), **totals}

    def open(self, shard: ShardInfo) -> ShardReader:
        """Open one of the shards for reading; raises Damaged if its file is gone or of another size."""
        return ShardReader(self.root.file(inside(self.root, shard.file), shard.bytes, shard.sha256))

    def columns(self, names: Sequence[str] | None = None) -> pa.Table:
        """The named columns (all by default) of every row, shard by shard in row order."""
        names = known_columns(names)
        empty = pa.schema([COLUMNS.field(name) for name in names]).empty_table()
        return pa.concat_tables([empty, *(self.open(s).columns(names) for s in self.shards if s.rows)])

    def rejects(self) -> pa.Table:
        """Everything that was skipped and why: REJECT_COLUMNS."""
        return pa.concat_tables([REJECT_COLUMNS.empty_table(), *(self.rejects_of(s) for s in self.shards)])

    def media(self) -> pa.Table:
        """Every medium a build has dealt with, rejected ones too: dataset, path, size, mtime_ns, shard; distinct."""
        return pa.concat_tables([MEDIA_COLUMNS.empty_table(), *(self.media_of(s) for s in self.shards)])

    def media_of(self, shard: ShardInfo) -> pa.Table:
        """`media` of one shard; raises Damaged if its file, reject list or ticket is gone or not what was committed.

        The pixels are not read: a flipped bit among them is for `verify` to find.
        """
        if read_ticket(self.root, shard.name) != shard:
            ticket = self.root.where(ticket_file(shard.name))
            raise Damaged(f"{ticket}: says something else than snapshot {self.number}; delete it, then build again")
        both = [self.open(shard).columns(_MEDIUM), self.rejects_of(shard).select(_MEDIUM)]
        distinct = pa.concat_tables(both).group_by(_MEDIUM, use_threads=False).aggregate([]).select(_MEDIUM)
        name = pa.array([shard.name] * len(distinct), pa.string())
        return distinct.append_column("shard", name).rename_columns(MEDIA_COLUMNS.names).cast(MEDIA_COLUMNS)

    def rejects_of(self, shard: ShardInfo) -> pa.Table:
        """`rejects` of one shard; raises Damaged if the list is gone or not what was committed."""
        if shard.rejects_file is None:
            return REJECT_COLUMNS.empty_table()
        path = self.root.where(shard.rejects_file)
        try:
            # small, and pyarrow aborts the process on some damaged footers: only intact bytes may reach it
            with checked_file(self.root, shard.rejects_file, shard.rejects_sha256) as file:
                table = pq.read_table(file, use_threads=False, page_checksum_verification=True, partitioning=None)
            return table.select(REJECT_COLUMNS.names).cast(REJECT_COLUMNS)
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise Damaged(f"{path}: not a readable reject list ({error}); delete it, then build again") from error


class Store:
    """A folder of shards and the snapshots that list them."""

    def __init__(self, url: str | Path) -> None:
        """`url`: a local path or a URL; the folder need not exist yet."""
        self.root = place_of(url)

    def check_writable(self) -> None:
        """Make the store's folders where there are none; raises StoreError that names one that cannot be written."""
        self.root.check_writable((SHARDS, REJECTS, SNAPSHOTS))

    def numbers(self) -> list[int]:
        """Numbers of all committed snapshots, ascending."""
        names = (_FILE.fullmatch(name) for name in self.root.sizes(SNAPSHOTS))
        return sorted(int(match[1]) for match in names if match)

    def current(self) -> Snapshot | None:
        """The newest snapshot, or None before the first commit; raises Damaged rather than go back to an older one."""
        numbers = self.numbers()
        if not numbers:
            return None
        try:
            return self.snapshot(numbers[-1])
        except UnknownVersion:
            raise  # it may be whole: deleting it would lose what a newer release wrote
        except Damaged as error:
            older = f"fall back to snapshot {numbers[-2]}" if len(numbers) > 1 else "start over"
            raise Damaged(
                f"{error}. Restore {self._file(numbers[-1])}, or delete it to {older}, then build again: complete "
                "shards are found again"
            ) from error

    def snapshot(self, number: int) -> Snapshot:
        """Snapshot `number`; raises StoreError if there is none, Damaged or UnknownVersion if it cannot be trusted."""
        path = self._file(number)
        try:
            content = unseal(self.root, snapshot_file(number))
        except Damaged:
            numbers = self.numbers()
            if number in numbers:
                raise
            raise StoreError(f"{self.root}: no snapshot {number}; there are {numbers or 'none'}") from None
        try:
            if content["number"] != number:
                raise Damaged(f"{path}: it says that it is snapshot {content['number']}")
            shards = tuple(shard_info(value, path) for value in content["shards"])
            snapshot = Snapshot(
                root=self.root,
                number=number,
                parent=content["parent"],
                created=content["created"],
                shards=shards,
                config=dict(content["config"]),
                lineage=dict(content["lineage"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged(f"{path}: not a snapshot ({error!r})") from error
        for shard in shards:
            inside(self.root, shard.file)
            if shard.rejects_file is not None:
                inside(self.root, shard.rejects_file)
        return snapshot

    def commit(
        self,
        shards: Sequence[ShardInfo],
        *,
        parent: Snapshot | int | None,
        config: Mapping[str, Any],
        lineage: Mapping[str, Any],
    ) -> Snapshot:
        """Publish a list of shards as the next snapshot, on top of `parent` (None for the first).

        Raises SnapshotConflict if `parent` is not the current one (or somebody commits at the same moment), StoreError
        if a shard is listed twice, missing or not of its size.
        """
        base = parent.number if isinstance(parent, Snapshot) else parent
        current = max(self.numbers(), default=None)
        if base != current:
            raise SnapshotConflict(self._conflict(base, current))
        names = [shard.name for shard in shards]
        if len(set(names)) != len(names):
            raise StoreError(f"{self.root}: a shard is listed twice in one snapshot: {sorted(names)}")
        sizes = self.root.sizes(SHARDS)
        for shard in shards:
            if sizes.get(Path(inside(self.root, shard.file)).name) != shard.bytes:
                path = self.root.where(shard.file)
                raise Damaged(f"{path}: missing or not of {shard.bytes} bytes; build the shard again before committing")
        self.root.sweep(SNAPSHOTS)  # of a committer that was killed; each has a name of its own
        number = (current or 0) + 1
        content = {
            "schema_version": SCHEMA_VERSION,
            "number": number,
            "parent": base,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "config": dict(config),
            "lineage": dict(lineage),
            "shards": [asdict(shard) for shard in shards],
        }
        try:
            self.root.create(snapshot_file(number), seal(content))
        except FileExistsError as error:
            raise SnapshotConflict(self._conflict(base, number)) from error
        except OSError as error:
            raise StoreError(f"{self._file(number)}: could not be written ({error}); nothing was committed") from error
        return self.snapshot(number)

    def _file(self, number: int) -> str:
        return self.root.where(snapshot_file(number))

    def _conflict(self, base: int | None, current: int | None) -> str:
        return (
            f"{self.root}: planned on snapshot {base}, but the current one is {current}: another build committed "
            "meanwhile. Nothing was committed; the shards are kept, run the build again to put them on top."
        )


def snapshot_file(number: int) -> str:
    """Where snapshot `number` lies."""
    return f"{SNAPSHOTS}/{number:08d}.json"


def parse_store(url: str | Path) -> tuple[Store, int | None]:
    """The store of `store` or `store@12`, and the number."""
    text, _, number = str(url).rpartition("@")
    return (Store(text), int(number)) if text and number.isdecimal() else (Store(url), None)


def open_snapshot(url: str | Path) -> Snapshot:
    """The current snapshot of a store, or snapshot 12 of `store@12`; raises StoreError if there is none."""
    store, number = parse_store(url)
    if number is not None:
        return store.snapshot(number)
    snapshot = store.current()
    if snapshot is None:
        raise StoreError(f"{url}: no committed snapshot there; run `pseudodepth build` with this store as output first")
    return snapshot
