"""A build that is killed with SIGKILL at its n-th file-system step, for test_faults.py: one child process a step.

Usage: build_and_die.py FOLDER FORMAT FIRST. For n = FIRST, FIRST + 2, ...: a store FOLDER/<n> is built in a child that
kills itself just before its n-th open, rename, link or unlink inside the store; ends with the first n that it survives.

Or: build_and_die.py FOLDER FORMAT random SEED KILLS. Stores are built and refreshed in children that are killed after a
random time and started again, until one of them ends; then the next store, until there were that many kills.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from storage.config import StoreConfig
from storage.rewrite import copy_media
from storage.snapshot import Store
from storage.writer import existing_shard, shard_writer
from tests.fixtures.samples import make_samples, reject_row

STEPS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir"}


def build(root, format, after_batch=lambda: None):
    """Two shards and a snapshot, going on from whatever is there: what a builder does."""
    store, infos = Store(root), []
    for k in range(2):
        info = existing_shard(root, f"s{k}")
        if info is None:
            with shard_writer(root, f"s{k}", StoreConfig(format=format), {"plan": k}) as writer:
                for first in range(66 * k, 66 * k + 66, 22):
                    writer.write(make_samples(22, first=first, size=16))
                    after_batch()
                writer.reject(reject_row(k))
            info = writer.info
        infos.append(info)
    current = store.current()
    if current is not None and current.shards == tuple(infos):
        return current
    return store.commit(infos, parent=current, config={}, lineage={})


def build_and_refresh(root, format):
    """A build, and a refresh in which half of the first shard's media have gone; from whatever is there."""
    store = Store(root)
    current = store.current() or build(root, format)
    if current.number == 1:
        media = current.media_of(current.shards[0])
        rest = copy_media(root, current.shards[0], "s0-rest", media.slice(0, len(media) // 2))
        current = store.commit([rest, current.shards[1]], parent=current, config={}, lineage={})
    return current


def kill_at_random(folder, format, seed, kills):
    """Each child lives between nothing and as long as a whole run takes."""
    rng, done, number = random.Random(seed), 0, 0
    build_and_refresh(folder / "undisturbed", format)  # the first run is longer: it loads what the next ones share
    began = time.monotonic()
    build_and_refresh(folder / "timed", format)
    longest = time.monotonic() - began
    while done < kills:
        child = os.fork()
        if child == 0:
            build_and_refresh(folder / f"killed-{number}", format)
            os._exit(0)
        time.sleep(rng.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            done += 1
        else:
            assert os.WEXITSTATUS(status) == 0
            number += 1
    build_and_refresh(folder / f"killed-{number}", format)
    print(done)


def die_at(n, root):
    """Count the interpreter's own audit events; nothing of the code under test is replaced."""
    count = 0

    def hook(event, args):
        nonlocal count
        if event in STEPS and any(str(root) in str(arg) for arg in args):
            count += 1
            if count == n:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main():
    folder, format = Path(sys.argv[1]), sys.argv[2]
    if sys.argv[3] == "random":
        kill_at_random(folder, format, int(sys.argv[4]), int(sys.argv[5]))
        return
    for n in range(int(sys.argv[3]), 1000, 2):
        child = os.fork()
        if child == 0:
            root = folder / str(n)
            die_at(n, root)
            build(root, format)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))
        assert os.WTERMSIG(status) == signal.SIGKILL, status


if __name__ == "__main__":
    main()
