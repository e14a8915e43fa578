"""Reads a whole store back: every checksum, every invariant, every file that belongs to nothing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from storage.errors import StoreError
from storage.location import MEDIA, REJECTS, SHARDS, SNAPSHOTS
from storage.place import Place
from storage.reader import open_shard
from storage.schema import LIVE
from storage.shard_info import ShardInfo, checked_file, read_ticket, ticket_file
from storage.snapshot import parse_store, snapshot_file


@dataclass
class Problem:
    """One damaged or inconsistent file (relative to the store) and what is wrong with it."""

    file: str
    problem: str


@dataclass
class Report:
    """What `verify` found. orphans: files that no snapshot lists, of a build that was stopped or is still running."""

    problems: list[Problem] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    snapshots: int = 0
    shards: int = 0
    rows: int = 0

    @property
    def ok(self) -> bool:
        """True if nothing is damaged; orphans do no harm."""
        return not self.problems


def verify(store_url: str | Path, progress: Callable[[int, int], None] | None = None) -> Report:
    """Check all snapshots and every shard that any of them lists; `progress(done, shards)` is called after each shard.

    `store@12` also checks that snapshot 12 is there; the store is checked whole all the same.
    Damage is reported, not raised; StoreError is raised only if there is no store to look at.
    """
    store, wanted = parse_store(store_url)
    report, root = Report(), store.root
    numbers = store.numbers()
    if not numbers:
        raise StoreError(f"{store_url}: no committed snapshot there; run `pseudodepth build` with this store as output")
    if wanted is not None and wanted not in numbers:
        report.problems.append(Problem(snapshot_file(wanted), f"there is no snapshot {wanted}; there are {numbers}"))
    shards: dict[str, ShardInfo] = {}
    current: set[str] = set()
    for number in numbers:
        file = snapshot_file(number)
        report.snapshots += 1
        try:
            snapshot = store.snapshot(number)
        except StoreError as error:
            report.problems.append(Problem(file, str(error)))
            continue
        current = {info.name for info in snapshot.shards}
        for info in snapshot.shards:
            if shards.setdefault(info.name, info) != info:
                report.problems.append(Problem(file, f"shard {info.name} differs from the one of an earlier snapshot"))
    owner: dict[str, str] = {}
    for done, info in enumerate(shards.values(), 1):
        report.shards += 1
        # one sample in two shards is wrong within one snapshot only: a later one may have planned its media anew
        report.problems += _check_shard(root, info, owner if info.name in current else {})
        report.rows += info.rows
        if progress:
            progress(done, len(shards))
    report.orphans = _orphans(root, shards.values(), numbers)
    return report


def _check_shard(root: Place, info: ShardInfo, owner: dict[str, str]) -> list[Problem]:
    """Problems of one shard; `owner` maps every sample_id seen so far to its shard, and grows."""
    problems = []

    def note(file: str, problem: object) -> None:
        problems.append(Problem(file, str(problem)))

    ticket = ticket_file(info.name)
    try:
        if read_ticket(root, info.name) != info:
            note(ticket, "says something else than the snapshot")
    except StoreError as error:
        note(ticket, error)
    for file, sha256 in info.checked_files[1:]:
        try:
            with checked_file(root, file, sha256):
                pass
        except StoreError as error:
            note(file, error)
    try:
        with checked_file(root, info.file, info.sha256) as path:
            reader = open_shard(path, expected_bytes=info.bytes)
            reader.check()
            table = reader.columns(["sample_id", "label"])
    except StoreError as error:
        note(info.file, error)
        return problems
    live = int((table.column("label").to_numpy() == LIVE).sum())
    if (len(table), live, len(table) - live) != (info.rows, info.live, info.spoof):
        note(info.file, f"{len(table)} rows, {live} live; the snapshot says {info.rows} rows, {info.live} live")
    ids = table.column("sample_id").to_pylist()
    twice = next((i for i in ids if i in owner), None)
    if twice is not None:
        note(info.file, f"sample {twice} is also in shard {owner[twice]}")
    owner.update(dict.fromkeys(ids, info.name))
    return problems


def _orphans(root: Place, shards: Iterable[ShardInfo], numbers: list[int]) -> list[str]:
    known = {snapshot_file(number) for number in numbers}
    for info in shards:
        known |= {ticket_file(info.name), *(file for file, _ in info.checked_files)}
    found = {f"{folder}/{name}" for folder in (SHARDS, REJECTS, MEDIA, SNAPSHOTS) for name in root.sizes(folder)}
    return sorted(found - known)
