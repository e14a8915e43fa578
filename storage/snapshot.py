"""Numbered, immutable lists of shards: what a reader opens, and what a build commits."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import Damaged, SnapshotConflict, StoreError, UnknownVersion
from storage.lineage import code, machine, sample_counts
from storage.location import MEDIA, REJECTS, SHARDS, SNAPSHOTS
from storage.media_list import MEDIA_COLUMNS, media_rows, read_media
from storage.place import LocalPlace, Place, StoredFile, inside, place_of
from storage.reader import ShardReader, known_columns, shard_columns
from storage.reject_list import read_rejects
from storage.schema import COLUMNS, REJECT_COLUMNS, SCHEMA_VERSION
from storage.sealed import seal, unseal
from storage.shard_info import ShardInfo, read_list, read_ticket, shard_info, ticket_file

_AT_ONCE = 8  # remote shards that are opened together
_FILE = re.compile(r"(\d{8,})\.json")
_MEDIUM = ["dataset", "path", "split", "label", "attack", "source_size", "source_mtime_ns"]


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
        return ShardReader(self._file(shard))

    def columns(self, names: Sequence[str] | None = None) -> pa.Table:
        """The named columns (all by default) of every row, shard by shard in row order."""
        names = known_columns(names)
        empty = pa.schema([COLUMNS.field(name) for name in names]).empty_table()
        return pa.concat_tables([empty, *self._columns_by_shard(names)])

    def _columns_by_shard(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Of every shard that has rows; remote ones several at a time, for each waits for its answers."""
        shards = [shard for shard in self.shards if shard.rows]
        if isinstance(self.root, LocalPlace):
            yield from (shard_columns(self._file(shard), names) for shard in shards)
        else:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                yield from pool.map(lambda shard: shard_columns(self._file(shard), names), shards)

    def _file(self, shard: ShardInfo) -> StoredFile:
        return self.root.file(inside(self.root, shard.file), shard.bytes, shard.sha256)

    def rejects(self) -> pa.Table:
        """Everything that was skipped and why: REJECT_COLUMNS."""
        return pa.concat_tables([REJECT_COLUMNS.empty_table(), *(self.rejects_of(s) for s in self.shards)])

    def reject_reasons(self) -> dict[str, int]:
        """How many rejects there are by reason."""
        counts: Counter[str] = Counter()
        for shard in self.shards:
            for pair in pc.value_counts(self.rejects_of(shard)["reason"]).to_pylist():
                counts[pair["values"]] += pair["counts"]
        return dict(counts)

    def media(self) -> pa.Table:
        """Every medium a build has dealt with, rejected ones too: MEDIA_COLUMNS and `shard`, its name."""
        lists = (self.media_of(s).select(MEDIA_COLUMNS.names) for s in self.shards)
        named = [
            table.append_column("shard", pa.array([s.name] * len(table), pa.string()))
            for s, table in zip(self.shards, lists, strict=True)
        ]
        return pa.concat_tables([MEDIA_COLUMNS.append(pa.field("shard", pa.string())).empty_table(), *named])

    def media_of(self, shard: ShardInfo) -> pa.Table:
        """The list of media of one shard: MEDIA_COLUMNS and what its builder noted besides.

        Raises Damaged if a file of the shard is gone, of another size, or in the small ones other bytes than committed.
        The shard file itself is not read: a flipped bit among pixels is for `verify` to find.
        """
        self._check_present(shard)
        if read_ticket(self.root, shard.name) != shard:
            ticket = self.root.where(ticket_file(shard.name))
            raise Damaged(f"{ticket}: says something else than snapshot {self.number}; delete it, then build again")
        if shard.rejects_file is not None:
            read_list(self.root, shard.rejects_file, shard.rejects_sha256)
        if shard.media_file is not None:
            return read_media(self.root, shard.media_file, shard.media_sha256)
        # schema version 1 had no such lists: what can be told from the rows, of which a sample says more than a reject
        samples = self.open(shard).columns([*_MEDIUM, "subject"]).to_pylist()
        counts = Counter((row["dataset"], row["path"]) for row in samples)
        return media_rows(None, counts, [*self.rejects_of(shard).to_pylist(), *samples])

    def _check_present(self, shard: ShardInfo) -> None:
        for file, _ in shard.checked_files:
            size = self._sizes.get(inside(self.root, file))
            if size is None or (file == shard.file and size != shard.bytes):
                found = "missing" if size is None else f"{size} bytes, expected {shard.bytes}"
                raise Damaged(f"{self.root.where(file)}: {found}; build the shard again")

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Bytes by file name; listed once, for a million media lie in thousands of files."""
        return {
            f"{folder}/{name}": size
            for folder in (SHARDS, REJECTS, MEDIA)
            for name, size in self.root.sizes(folder).items()
        }

    def rejects_of(self, shard: ShardInfo) -> pa.Table:
        """`rejects` of one shard; raises Damaged if the list is gone or not what was committed."""
        return read_rejects(self.root, shard)


class Store:
    """A folder of shards and the snapshots that list them."""

    def __init__(self, url: str | Path) -> None:
        """`url`: a local path or a URL; the folder need not exist yet."""
        self.root = place_of(url)

    def check_writable(self) -> None:
        """Make the store's folders where there are none; raises StoreError that names one that cannot be written."""
        self.root.check_writable((SHARDS, REJECTS, MEDIA, SNAPSHOTS))

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
            for file, _ in shard.checked_files:
                inside(self.root, file)
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

        `lineage` says where they come from; code, machine and numbers of samples are added. Raises SnapshotConflict if
        `parent` is not the current one (or somebody commits at the same moment), StoreError if a shard is listed twice,
        Damaged if one is not there complete.
        """
        base = parent.number if isinstance(parent, Snapshot) else parent
        current = max(self.numbers(), default=None)
        if base != current:
            raise SnapshotConflict(self._conflict(base, current))
        names = [shard.name for shard in shards]
        if len(set(names)) != len(names):
            raise StoreError(f"{self.root}: a shard is listed twice in one snapshot: {sorted(names)}")
        self.root.sweep(SNAPSHOTS)  # of a committer that was killed; each has a name of its own
        number = (current or 0) + 1
        created = datetime.now(UTC).isoformat(timespec="seconds")
        draft = Snapshot(self.root, number, base, created, tuple(shards), dict(config), dict(lineage))
        about = {"code": code(), "machine": machine(), "samples": sample_counts(draft.media())}  # Damaged if incomplete
        content = {
            "schema_version": SCHEMA_VERSION,
            "number": number,
            "parent": base,
            "created": created,
            "config": draft.config,
            "lineage": {**draft.lineage, **about},
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
