"""One build from plan to commit, whoever makes the shards: also when another build commits meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from storage.errors import SnapshotConflict
from storage.shard_info import ShardInfo
from storage.snapshot import Snapshot, Store
from storage.writer import discard_shard
from tasks.config import BuildConfig
from tasks.errors import BuildError
from tasks.plan import EVERYTHING, Attempt, Plan, plan_build
from tasks.selection import Selection
from tasks.sources.media import Scan

Make = Callable[[Plan], list[ShardInfo]]
Commit = Callable[[list[ShardInfo], Snapshot | None], Snapshot]


@dataclass(frozen=True)
class Built:
    """What readers now open, whether this build committed it, and the plan that led there."""

    snapshot: Snapshot
    committed: bool
    plan: Plan


def build_store(
    store: Store,
    scans: Sequence[Scan],
    config: BuildConfig,
    make: Make,
    commit: Commit,
    *,
    checksum: bool = False,
    only: Selection = EVERYTHING,
) -> Built:
    """Plan, `make` the planned shards, `commit` them on top of the current snapshot.

    If somebody else commits first, the plan is made again on top of that: shards of this build are kept or copied from,
    media that both built are taken once, and media that only the other knows of stay. Raises BuildError rather than
    commit a snapshot without a single sample, and whatever `make` and `commit` raise.
    """
    current = store.current()
    work = plan_build(scans, current, config, checksum=checksum, only=only)
    while True:
        built = make(work)
        shards = [*work.keep, *built]
        if current is not None and _content(shards) == _content(current.shards):
            for info in built:  # tried again in vain: what could not be read then cannot be used now
                discard_shard(store.root, info)
            return Built(current, False, work)
        if not any(shard.rows for shard in shards):
            rejects = sum(shard.rejects for shard in built)
            raise BuildError(
                f"no sample could be made: {rejects} rejects; nothing was committed. See the reasons in the store's "
                "rejects/ folder, and check the detector's options"
            )
        try:
            return Built(commit(shards, current), True, work)
        except SnapshotConflict:
            current = store.current()
            # what was tried again lies in shards of the same names: planned anew, they are found and not built twice
            attempt = None if only.failed else Attempt(work.known, built)
            work = plan_build(scans, current, config, only=only, overtaken=attempt)


def _content(shards: Iterable[ShardInfo]) -> list[tuple[str, str]]:
    """What shards hold, whatever they are called."""
    return sorted((shard.sha256, shard.rejects_sha256 or "") for shard in shards)
