"""The store beside its peers in one run: writing, reading, and through a loader into batches.

    make bench-store                                   # peers installed, 6,000 samples
    python benchmarks/store.py --samples 600           # a quick look, with the peers that are installed

The figure is CPU us a sample: user + system time of all threads and worker processes, the least of several passes,
which a busy machine disturbs less than wall time (shown beside it). Every reader ends with the sample's bytes in a
batch of 64; the page cache is warm. A third of the samples is live. Floors: memcpy of the same bytes from random places
in memory into a batch that is used again, and the JPEG decoder alone into one.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import simplejpeg
import torch

import storage.writer
from benchmarks.store_contenders import Ours, contenders
from benchmarks.store_peer import BATCH, DEPTH, IMAGE, Absent, encode
from benchmarks.store_samples import make
from storage.reader import ShardReader
from storage.schema import LIVE

torch.set_num_threads(1)
WRITES = 2  # as many as reading passes: what memory costs the kernel changes most
SECONDS = 10  # of reading a store, if its passes take less
COLUMNS = ("write", "sequential", "random", "loader", "floor")


def cpu():
    """User + system seconds of this process, its threads, and the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def timed(passes, n, seconds=0.0, **works):
    """{name: {cpu, wall}}: least us a sample of `work(pass number)`, which returns how many samples it dealt with.

    As many passes as that, and as many as end within some seconds: short ones are disturbed more.
    """
    found, began = {name: [] for name in works}, time.perf_counter()
    for number in itertools.count():
        if number >= passes and time.perf_counter() - began > seconds:
            break
        for name, work in works.items():
            gc.collect()
            start, wall = cpu(), time.perf_counter()
            done = work(number)
            found[name].append((cpu() - start, time.perf_counter() - wall))
            if done != n:
                raise RuntimeError(f"{done} samples instead of {n}")
    return {
        name: {"cpu": round(1e6 * min(c for c, _ in runs) / n, 1), "wall": round(1e6 * min(w for _, w in runs) / n, 1)}
        for name, runs in found.items()
    }


def least(turns):
    """The least of several `timed`."""
    return {name: {clock: min(turn[name][clock] for turn in turns) for clock in ("cpu", "wall")} for name in turns[0]}


class Share:
    """CPU and wall time spent in functions, each given as (module or class, name), while it is entered."""

    def __init__(self, *functions):
        self.used, self.functions = [0.0, 0.0], [(owner, name, getattr(owner, name)) for owner, name in functions]

    def __enter__(self):
        for owner, name, function in self.functions:
            setattr(owner, name, self._timed(function))
        return self

    def __exit__(self, *_):
        for owner, name, function in self.functions:
            setattr(owner, name, function)

    def _timed(self, function):
        def call(*args, **options):
            start, wall = cpu(), time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                self.used[0] += cpu() - start
                self.used[1] += time.perf_counter() - wall

        return call

    def per(self, n):
        """us a sample."""
        return {name: round(1e6 * used / n, 1) for name, used in zip(("cpu", "wall"), self.used, strict=True)}


class Written:
    """A store that is written several times; the last copy stays in `folder` until `remove`.

    `row` is what is known of it: name, class, CPU and wall us a sample of the cheapest write and what of it verifies,
    KB a sample; or why there is none.
    """

    def __init__(self, store, parent):
        self.store, self.folder = store, Path(tempfile.mkdtemp(prefix="bench-store-", dir=parent))
        self.row = {"name": store.name, "class": store.kind, "random_is": store.random}

    def write(self, data):
        """Once more."""
        n, few = len(data[2]), BATCH * 2
        if "write" not in self.row:  # a library is imported once
            with tempfile.TemporaryDirectory(dir=self.folder) as first:
                self.store.write(Path(first), tuple(part[:few] for part in data))
        self.remove()
        self.folder.mkdir()
        os.sync()  # what others wrote is not flushed on this one's account
        # memory that a virtual machine has given back costs more to get again than any store to write
        np.ones(3 * sum(part.nbytes for part in data), np.uint8)

        def once(_):
            self.store.write(self.folder, data)
            return n

        # the read-back is from the disk, for which the page cache lets go of the file
        checks = (os, "posix_fadvise"), (storage.writer, "sha256_of"), (ShardReader, "check")
        with Share((os, "fsync")) as synced, Share(*checks) as checked:
            run = timed(1, n, write=once)
        if isinstance(self.store, Ours):
            run |= {"fsync": synced.per(n), "check": checked.per(n)}
        if "write" not in self.row or run["write"]["cpu"] < self.row["write"]["cpu"]:
            self.row |= run
        self.row["kb"] = round(sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file()) / n / 1e3, 1)

    def read(self, n, floors, passes):
        """Add CPU and wall us a sample of all ways to read it, and the floor at the same time."""
        self.store.open(self.folder)
        self.row |= least([self._read(n, floors, turn, SECONDS / passes) for turn in range(passes)])

    def _read(self, n, floors, turn, seconds):
        # new each time, and the same for all: how fast memory is depends on where it happens to lie
        batch = np.empty((BATCH, *IMAGE), np.uint8), np.empty((BATCH, *DEPTH), np.uint8), np.empty(BATCH, np.int64)
        store, floor = self.store, getattr(floors, self.store.kind)
        # in turns, so that a busy moment meets the floor and the store alike
        return timed(
            1,
            n,
            seconds,
            floor=lambda number: floor(batch, 100 * turn + number),
            sequential=lambda _: sum(store.sequential(n, batch)),
            random=lambda number: sum(store.shuffled(n, batch, 100 * turn + number)),
            loader=lambda number: sum(store.loader(n, 100 * turn + number)),
        )

    def attempt(self, work, *args):
        """Do it, unless it failed before; one peer's failure must not take the others' figures."""
        if "absent" in self.row:
            return
        try:
            work(*args)
        except Absent as error:
            self.row["absent"] = str(error)
        except Exception as error:
            traceback.print_exc()
            self.row["absent"] = f"{type(error).__name__}: {error}".splitlines()[0]

    def remove(self):
        """Its files."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Floors:
    """What no store can beat: memcpy of a sample's bytes, the JPEG decoder alone; random order, into a reused batch."""

    def __init__(self, data):
        self.images, self.depths, self.labels = data
        self.jpegs = [encode(image) for image in self.images]

    def raw(self, batch, seed):
        """Copy all samples; how many."""
        images, depths, _ = batch
        for k, i in enumerate(np.random.default_rng(seed).permutation(len(self.labels)).tolist()):
            images[k % BATCH] = self.images[i]
            if self.labels[i] == LIVE:
                depths[k % BATCH] = self.depths[i // 3]
            else:
                depths[k % BATCH].fill(0)
        return len(self.labels)

    def jpeg(self, batch, seed):
        """Decode all JPEGs; how many."""
        for k, i in enumerate(np.random.default_rng(seed).permutation(len(self.labels)).tolist()):
            simplejpeg.decode_jpeg(self.jpegs[i], colorspace="RGB", buffer=batch[0][k % BATCH])
        return len(self.labels)


def bars(rows):
    """The bars of this project, measured: [{bar, figure, limit, held}]."""
    found = []
    rows = [row for row in rows if "random" in row]

    def bar(what, figure, limit):
        found.append({"bar": what, "figure": round(figure, 3), "limit": limit, "held": bool(figure <= limit)})

    def least(rows, name):
        best = min(rows, key=lambda r: r[name]["cpu"])
        return best[name]["cpu"], best["name"]

    for kind in ("raw", "jpeg"):
        peers = [
            r for r in rows if r["class"] == kind and "pseudodepth" not in r["name"] and "our codecs" not in r["name"]
        ]
        mine = [r for r in rows if r["class"] == kind and "pseudodepth" in r["name"] and "DataLoader" not in r["name"]]
        for row in mine if peers else ():
            name, floor = f"{kind} {row['name'].removeprefix('pseudodepth ')}", row["floor"]["cpu"]
            write, whose = least(peers, "write")
            bare = row["write"]["cpu"] - row["check"]["cpu"] - row["fsync"]["cpu"]
            bar(f"{name}: write without fsync, read-back and hashes / best peer ({whose})", bare / write, 1.0)
            if kind == "raw":
                bar(f"{name}: random read, checksums verified / memcpy", row["random"]["cpu"] / floor, 2.0)
                bar(f"{name}: through our loader / memcpy", row["loader"]["cpu"] / floor, 3.0)
                loader, whose = least(peers, "loader")
                bar(f"{name}: our loader / best in DataLoader ({whose})", row["loader"]["cpu"] / loader, 1 / 8)
                bytes_of = min(r["kb"] for r in peers if "Lance" not in r["name"])
                bar(f"{name}: bytes / a peer's (Lance, which compresses, aside)", row["kb"] / bytes_of, 0.78)
            else:
                bar(f"{name}: random read, checksums verified / decoder", row["random"]["cpu"] / floor, 1.15)
                named = [r for r in peers if r["name"].startswith(("LMDB", "mosaicml", "Hugging"))]
                if named:
                    random, whose = least(named, "random")
                    bar(
                        f"{name}: random read / best of LMDB, MDS, HF ({whose})", row["random"]["cpu"] / random, 1 / 1.4
                    )
    return found


def show(rows, limits):
    """The table and the bars."""
    print("\nCPU us a sample (wall); loader: 2 threads or worker processes, batches of 64; floor: at the same time")
    print(f"{'':45}{'KB':>7}{''.join(f'{name:>16}' for name in COLUMNS)}{'random/floor':>14}")
    for row in rows:
        name = f"{row['class']:<6}{row['name']}"
        if "absent" in row:
            print(f"{name:<45}  not measured: {row['absent']}")
            continue
        ratio = row["random"]["cpu"] / row["floor"]["cpu"]
        print(f"{name:<45}{row['kb']:>7.1f}{''.join(cell(row[column]) for column in COLUMNS)}{ratio:>13.2f}x")
        if "check" in row:
            print(f"{'        of the write: read-back and hashes':<45}{'':>7}{cell(row['check'])}")
            print(f"{'        of the write: fsync':<45}{'':>7}{cell(row['fsync'])}")
    print("\nbars")
    for limit in limits:
        held = "held" if limit["held"] else "NOT HELD"
        print(f"  {limit['bar']:<86}{limit['figure']:>7.3f}  <= {limit['limit']:.3f}  {held}")


def cell(figures):
    return f"{figures['cpu']:>8.1f} ({figures['wall']:>5.0f})"


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("--passes", type=int, default=3, help="of writing and reading, of which the least counts")
    parser.add_argument("--only", default="", help="stores whose name holds this word")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument(
        "--folder", type=Path, help="where the stores are written and deleted again, 20 GB; default: temporary"
    )
    options = parser.parse_args()
    data = make(options.samples)
    floors, rows = Floors(data), []
    for kind in ("raw", "jpeg"):
        some = [Written(store, options.folder) for store in contenders(kind) if options.only in store.name]
        for _ in range(WRITES * options.passes):
            for written in some:  # in turns as well: what memory costs the kernel changes from minute to minute
                written.attempt(written.write, data)
        for written in some:
            written.attempt(written.read, options.samples, floors, options.passes)
            written.remove()
            rows.append(written.row)
            print(rows[-1], flush=True)
    if options.json:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        report = {"samples": options.samples, **machine, "stores": rows, "bars": bars(rows)}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{options.samples} samples, {sum(map(len, floors.jpegs)) / options.samples / 1e3:.1f} KB a JPEG")
    show(rows, bars(rows))


if __name__ == "__main__":
    main()
