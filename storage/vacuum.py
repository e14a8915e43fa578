"""Takes away what nobody opens any more: old snapshots, the shards that only they list, and orphans of dead builds."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.build_lock import removal_lock
from storage.errors import StoreError
from storage.location import MEDIA, REJECTS, SHARDS, SNAPSHOTS
from storage.place import LocalPlace, Place
from storage.shard_info import ShardInfo, ticket_file
from storage.snapshot import Snapshot, Store, snapshot_file


@dataclass
class Removed:
    """What was taken away (or would be): snapshot numbers, files relative to the store, their bytes."""

    snapshots: list[int] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    nbytes: int = 0


def vacuum(store_url: str | Path, older_than: timedelta, *, dry_run: bool = False) -> Removed:
    """Remove snapshots that were committed, and orphans that were written, longer ago than `older_than`.

    The current snapshot always stays. Orphans are only looked at while no build is running, and in an object store,
    which has no locks and tells no ages here, not at all. A kill at any point leaves a whole store, and the next run
    takes the rest. Raises StoreBusy while a build is running, StoreError if there is no snapshot or one is damaged.
    """
    store, removed = Store(store_url), Removed()
    limit = datetime.now(UTC) - older_than
    with removal_lock(store.root):
        snapshots = all_snapshots(store)
        old = [s for s in snapshots[:-1] if datetime.fromisoformat(s.created) < limit]
        stay = [s for s in snapshots if s not in old]
        removed.snapshots = [s.number for s in old]
        used = files_of(shard for snapshot in stay for shard in snapshot.shards)
        spare = files_of(shard for snapshot in old for shard in snapshot.shards) - used
        spare |= {file for file in orphans(store.root, snapshots) if _older(store.root, file, limit)}
        sizes = all_files(store.root)
        removed.files = [snapshot_file(n) for n in removed.snapshots] + sorted(spare & sizes.keys(), key=tickets_first)
        removed.nbytes = sum(sizes.get(file, 0) for file in removed.files)
        if not dry_run:
            # snapshots first: none may ever list a shard that is gone
            for file in removed.files:
                store.root.delete(file)
    return removed


def parse_age(text: str) -> timedelta:
    """`30d` or `12h`; raises StoreError."""
    match = re.fullmatch(r"(\d{1,6})([dh])", text)
    if match is None:
        raise StoreError(f"{text!r}: expected an age such as 30d or 12h")
    return timedelta(days=int(match[1])) if match[2] == "d" else timedelta(hours=int(match[1]))


def all_snapshots(store: Store) -> list[Snapshot]:
    """Every snapshot, oldest first; raises StoreError if there is none, or one that cannot be read."""
    numbers = store.numbers()
    if not numbers:
        raise StoreError(f"{store.root}: no committed snapshot there; nothing was removed")
    return [store.snapshot(number) for number in numbers]


def files_of(shards: Iterable[ShardInfo]) -> set[str]:
    """Every file of these shards, tickets included."""
    return {name for shard in shards for name in (ticket_file(shard.name), *(file for file, _ in shard.checked_files))}


def all_files(root: Place) -> dict[str, int]:
    """Every file in the store's folders, with its bytes."""
    folders = (SHARDS, REJECTS, MEDIA, SNAPSHOTS)
    return {f"{folder}/{name}": size for folder in folders for name, size in root.sizes(folder).items()}


def orphans(root: Place, snapshots: Iterable[Snapshot]) -> list[str]:
    """Files that no snapshot lists."""
    snapshots = list(snapshots)
    known = files_of(shard for snapshot in snapshots for shard in snapshot.shards)
    known |= {snapshot_file(snapshot.number) for snapshot in snapshots}
    return sorted(all_files(root).keys() - known, key=tickets_first)


def tickets_first(file: str) -> tuple[bool, str]:
    """Sorts a shard's ticket before its other files: without it, what is left is not taken for complete."""
    return not file.endswith(".json"), file


def _older(root: Place, file: str, limit: datetime) -> bool:
    if not isinstance(root, LocalPlace):
        return False
    return datetime.fromtimestamp((root.root / file).stat().st_mtime, UTC) < limit
