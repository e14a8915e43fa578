"""Two builders that commit on one parent at once, round after round: each round has one winner."""

import threading

from storage.errors import SnapshotConflict
from storage.shard_info import ShardInfo
from storage.snapshot import Snapshot, Store


def race(root, infos: list[ShardInfo], rounds: int) -> Snapshot:
    """The last winner; asserts in each round that one of `infos` is committed and the other's builder is told."""
    parent = None
    for number in range(1, rounds + 1):
        barrier, won, lost = threading.Barrier(len(infos)), [], []

        def commit(info, parent=parent, barrier=barrier, won=won, lost=lost):
            barrier.wait()
            try:
                won.append(Store(root).commit([info], parent=parent, config={}, lineage={}))
            except SnapshotConflict as error:
                lost.append(str(error))

        threads = [threading.Thread(target=commit, args=(info,)) for info in infos]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, len(infos) - 1)
        assert all("another build committed" in message and "run the build again" in message for message in lost)
        parent = Store(root).current()
        assert (parent, parent.number) == (won[0], number)
    return parent
