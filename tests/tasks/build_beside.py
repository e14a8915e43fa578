"""A whole build in this process, for test_two_builders.py: build_beside.py SOURCE STORE SHARD_SAMPLES READY GO.

Waits for the file GO, having written READY, once it has planned and made its first shards.
"""

import sys
import time
from pathlib import Path

from storage.build_lock import build_lock
from storage.snapshot import Store
from tasks.build import build_store
from tasks.config import BuildConfig
from tasks.lineage import lineage
from tasks.shard import build_shard
from tasks.sources import scan


def main():
    source, store, samples, ready, go = sys.argv[1:]
    config = BuildConfig.model_validate(
        {"shard_samples": int(samples), "view": {"views": 2}, "fallback_to_given": True}
    )
    scans, target, tries = [scan("celeba-spoof", Path(source))], Store(store), []

    def make(work):
        built = [build_shard(shard, config, store)[0] for shard in work.shards]
        if not tries:
            Path(ready).touch()
            while not Path(go).exists():
                time.sleep(0.01)
        tries.append(len([shard for shard in work.shards if shard.origin is None]))
        return built

    def commit(shards, current):
        return target.commit(shards, parent=current, config={}, lineage=lineage(scans, config))

    with build_lock(target.root):
        done = build_store(target, scans, config, make, commit)
    print(done.snapshot.number, done.committed, *tries)


if __name__ == "__main__":
    main()
