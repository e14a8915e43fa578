"""Forgets a person or files for good: every row, list, old snapshot and orphan that shows them, proved by a scan."""

import fnmatch
import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage.build_lock import removal_lock
from storage.errors import Damaged, StoreError
from storage.location import MEDIA, REJECTS, SHARDS, SNAPSHOTS
from storage.media_list import MEDIA_COLUMNS, media_bytes, media_keys, read_media
from storage.place import LocalPlace, Place
from storage.reader import open_shard
from storage.reject_list import read_rejects
from storage.rewrite import copy_media
from storage.shard_info import ShardInfo, read_ticket
from storage.snapshot import Snapshot, Store, snapshot_file
from storage.vacuum import all_files, all_snapshots, files_of, orphans, tickets_first

_OURS = {SHARDS, REJECTS, MEDIA, SNAPSHOTS}


@dataclass(frozen=True)
class Who:
    """What is to be forgotten: a subject as the columns name it, or paths by a pattern (`*` crosses /)."""

    subject: str | None = None
    path: str | None = None

    def rows(self, table: pa.Table) -> pa.Array:
        """Boolean: which rows of a table with `path` and `subject` are meant."""
        if self.subject is not None:
            return pc.equal(table["subject"], self.subject)
        return pa.array([self.means(path) for path in table["path"].to_pylist()], pa.bool_())

    def means(self, path: str) -> bool:
        """Whether a path is meant by the pattern; no path is where a subject is given."""
        return self.path is not None and fnmatch.fnmatchcase(path, self.path)

    def __str__(self) -> str:
        return f"subject {self.subject}" if self.subject is not None else f"path {self.path}"


@dataclass
class Forgotten:
    """What was done. traces: files in which something of it may still stand. unknown: files of somebody else."""

    media: int = 0
    samples: int = 0
    snapshot: int | None = None
    shards_rewritten: int = 0
    removed: list[str] = field(default_factory=list)
    scanned: int = 0
    traces: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def forget(store_url: str | Path, *, subject: str | None = None, path: str | None = None) -> Forgotten:
    """Remove every trace of a subject, or of the media whose path matches a pattern, then scan what is left.

    A new snapshot without them is committed; then every older snapshot that lists a shard with them goes, with these
    shards, orphans among them, and every half of a shard, for it may show them. A kill in between leaves a whole store;
    run it again to end it. The dataset itself is not touched: while the files lie there, the next build brings them
    back.

    Raises StoreBusy while a build is running, StoreError if nothing matches or the store cannot be read.
    """
    if (subject is None) == (path is None):
        raise StoreError("forget: give either a subject or a path pattern")
    store, who, done = Store(store_url), Who(subject, path), Forgotten()
    with removal_lock(store.root):
        snapshots = all_snapshots(store)
        shards = {shard.name: shard for snapshot in snapshots for shard in snapshot.shards}
        lost = set(orphans(store.root, snapshots))
        lists = {name: snapshots[-1].media_of(shard) for name, shard in shards.items()}
        for shard, media in _complete_orphans(snapshots[-1], sorted(lost)):
            shards[shard.name], lists[shard.name] = shard, media
        lost -= files_of(shards.values())  # halves of shards: nobody can say whom they show
        hit = {name: found for name, table in lists.items() if len(found := table.filter(who.rows(table)))}
        current = snapshots[-1]
        ignored = _mentioned(current, who, hit)
        if not hit and not lost and not any(_mentioned(s, who, hit) for s in snapshots):
            raise StoreError(f"{store.root}: nothing here is of {who}; names are as in `pseudodepth inspect`")
        listed = [shard for shard in current.shards if shard.name in hit]
        if listed or ignored:
            done.media = sum(len(hit[shard.name]) for shard in listed)
            done.samples = sum(pc.sum(hit[shard.name]["samples"]).as_py() for shard in listed)
            done.shards_rewritten = len(listed)
            current = _commit_without(store, current, who, lists, ignored)
        done.snapshot = current.number
        old = [s for s in snapshots if s.number != current.number and (_lists(s, hit) or _mentioned(s, who, hit))]
        stay = files_of(shard for s in [*snapshots, current] if s not in old for shard in s.shards)
        gone = files_of(shard for name, shard in shards.items() if name in hit) | lost
        done.removed = [snapshot_file(s.number) for s in old]
        done.removed += sorted(gone - stay, key=tickets_first)
        for file in done.removed:
            store.root.delete(file)
        for name in hit.keys() & shards.keys():
            store.root.forget_copies(shards[name].sha256)
        done.scanned, done.traces = scan_for(store, who, hit)
        done.unknown = _unknown(store.root)
    return done


def _complete_orphans(snapshot: Snapshot, files: Iterable[str]) -> Iterator[tuple[ShardInfo, pa.Table]]:
    """Shards that no snapshot lists, such as a killed build leaves, with their lists of media."""
    for file in files:
        if file.startswith(f"{SHARDS}/") and file.endswith(".json"):
            try:
                shard = read_ticket(snapshot.root, Path(file).stem)
                yield shard, snapshot.media_of(shard)
            except Damaged:
                continue


def _lists(snapshot: Snapshot, hit: dict[str, pa.Table]) -> bool:
    return any(shard.name in hit for shard in snapshot.shards)


def _mentioned(snapshot: Snapshot, who: Who, hit: dict[str, pa.Table]) -> list[Any]:
    """Ignored files that the lineage names and that are meant too, or lie in a folder of forgotten media."""
    folders = {os.path.dirname(path) for table in hit.values() for path in table["path"].to_pylist()}
    return [
        entry
        for source in snapshot.lineage.get("sources", [])
        for entry in source.get("ignored", [])
        if who.means(entry[0]) or (who.subject is not None and os.path.dirname(entry[0]) in folders - {""})
    ]


def _commit_without(
    store: Store, current: Snapshot, who: Who, lists: dict[str, pa.Table], ignored: list[Any]
) -> Snapshot:
    shards: list[ShardInfo] = []
    for shard in current.shards:
        media = lists[shard.name]
        stay = media.filter(pc.invert(who.rows(media)))
        if len(stay) == len(media):
            shards.append(shard)
        elif len(stay):
            label, unique = shard.name.rpartition("-")[0], hashlib.sha256(media_bytes(stay)).hexdigest()[:16]
            shards.append(copy_media(store.root, shard, f"{label or 'shard'}-{unique}", stay))
    lineage = {key: value for key, value in current.lineage.items() if key not in ("code", "machine", "samples")}
    lineage["sources"] = [
        {**source, "ignored": [entry for entry in source.get("ignored", []) if entry not in ignored]}
        for source in lineage.get("sources", [])
    ]
    return store.commit(shards, parent=current, config=current.config, lineage=lineage)


def scan_for(store: Store, who: Who, hit: dict[str, pa.Table]) -> tuple[int, list[str]]:
    """Read every file of the store: its name, its bytes, and the columns of every shard and list.

    Returns how many files were read, and in which of them the subject, a medium or a content hash of `hit` still
    stands. Words that media which stay have in common with it (the same path in another dataset) are told apart by the
    columns alone.
    """
    root, traces = store.root, set()
    gone = pa.concat_tables([MEDIA_COLUMNS.empty_table(), *(t.select(MEDIA_COLUMNS.names) for t in hit.values())])
    snapshots = [store.snapshot(number) for number in store.numbers()]
    rest = pa.concat_tables([MEDIA_COLUMNS.empty_table(), *(s.media().drop_columns(["shard"]) for s in snapshots)])
    words = {name: set(gone[name].to_pylist()) - set(rest[name].to_pylist()) - {""} for name in ("path", "sha256")}
    named = words["path"] | ({who.subject} if who.subject is not None else set())
    files = all_files(root)
    for file in files:
        small = named | words["sha256"] if not file.startswith(f"{SHARDS}/") else named
        needles = {form for word in small for form in (word.encode(), json.dumps(word)[1:-1].encode())}
        with root.whole(file) as local:
            if any(_on_its_own(word.encode(), file.encode()) for word in named) or _stands_in(local, needles):
                traces.add(file)
        if not file.startswith(f"{SNAPSHOTS}/") and not file.endswith(".json") and _has_rows_of(root, file, who, gone):
            traces.add(file)
    return len(files), sorted(traces)


def _has_rows_of(root: Place, file: str, who: Who, gone: pa.Table) -> bool:
    """Whether the columns of a shard or list, listed or not, name the subject or a medium; True if nobody can tell."""
    try:
        with root.whole(file) as local:
            if file.startswith(f"{SHARDS}/"):
                table = open_shard(local).columns(["dataset", "path", "subject"])
            else:
                shard = read_ticket(root, Path(file).stem)
                is_media = file == shard.media_file
                table = read_media(root, file, shard.media_sha256) if is_media else read_rejects(root, shard)
    except StoreError:
        return True
    found = bool(pc.any(pc.is_in(media_keys(table), media_keys(gone))).as_py())
    named = who.subject is not None and "subject" in table.column_names
    return found or (named and bool(pc.any(who.rows(table)).as_py()))


def _stands_in(file: Path, needles: Iterable[bytes]) -> bool:
    if file.stat().st_size == 0:
        return False
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(_on_its_own(needle, data) for needle in needles)


def _on_its_own(needle: bytes, data: bytes | mmap.mmap) -> bool:
    """Whether a word stands there and is no part of a longer one: folder/1 is not found in folder/12."""
    at = data.find(needle)
    while at >= 0:
        around = bytes(data[max(0, at - 1) : at]) + bytes(data[at + len(needle) : at + len(needle) + 1])
        if not any(chr(byte).isalnum() for byte in around):
            return True
        at = data.find(needle, at + 1)
    return False


def _unknown(root: Place) -> list[str]:
    """Files in the store's folder that are not the store's, such as a contact sheet drawn there: for people to see."""
    if not isinstance(root, LocalPlace):
        return []
    found = []
    for path in root.root.rglob("*"):
        relative = path.relative_to(root.root)
        if path.is_file() and not (relative.parts[0] in _OURS and len(relative.parts) == 2) and path.name != ".lock":
            found.append(relative.as_posix())
    return sorted(found)
