"""What reading a store behind a URL costs, and why blocks have the size they have.

    python benchmarks/remote.py [--rows 128] [--shards 3] [--delay 0.03]

A loopback S3 server (moto) counts what is asked for. For each block size and way of reading: requests, MB, and the
seconds that they would take if each waited `delay` and then came at 80 MB/s, eight at a time: a model, for the clock of
a loopback server says nothing of a network. "through": a file of which an eighth was fetched is fetched whole. Shards
hold raw HDF5 rows of 224 x 224, 150 KB each.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from storage import block_cache, remote_file
from storage.config import StoreConfig
from storage.dataset import DepthDataset
from storage.snapshot import Store
from storage.writer import shard_writer
from tests.fixtures.object_store import S3Server, s3_server
from tests.fixtures.samples import make_samples

BANDWIDTH, CONNECTIONS, BATCH = 80e6, 8, 64
URL = "s3://bucket/store"


def make_store(shards: int, rows: int) -> None:
    """Commit `shards` shards of `rows` rows."""
    store, infos = Store(URL), []
    for k in range(shards):
        with shard_writer(URL, f"s{k}", StoreConfig(image="raw")) as writer:
            for first in range(0, rows, BATCH):
                writer.write(make_samples(min(BATCH, rows - first), size=224, first=k * rows + first))
        infos.append(writer.info)
    store.commit(infos, parent=None, config={}, lineage={})


def columns(data: DepthDataset) -> None:
    """Opening a training: all columns of all shards."""
    data.columns()


def few(data: DepthDataset) -> None:
    """A contact sheet: 16 rows from anywhere."""
    data.__getitems__(np.random.default_rng(0).choice(len(data), 16, replace=False))


def in_order(data: DepthDataset) -> None:
    """An evaluation: every row, batch by batch."""
    for first in range(0, len(data), BATCH):
        data.__getitems__(range(first, min(first + BATCH, len(data))))


def shuffled(data: DepthDataset) -> None:
    """The first epoch of a training: every row in random order."""
    order = np.random.default_rng(0).permutation(len(data))
    for first in range(0, len(data), BATCH):
        data.__getitems__(order[first : first + BATCH])


def transfers(server: S3Server) -> Iterator[int]:
    """Bytes of each ranged request to a shard."""
    for method, path, header in server.requests:
        if method == "GET" and path.endswith(".h5") and (span := re.fullmatch(r"bytes=(\d+)-(\d+)", header)):
            yield int(span[2]) - int(span[1]) + 1


def measure(server: S3Server, read: Callable[[DepthDataset], None], delay: float) -> str:
    """Requests, MB and modelled seconds of one way of reading, with an empty cache."""
    shutil.rmtree(os.environ["PSEUDODEPTH_CACHE"], ignore_errors=True)
    server.requests.clear()
    read(DepthDataset(URL))
    sizes = list(transfers(server))
    seconds = sum(delay + size / BANDWIDTH for size in sizes) / CONNECTIONS
    return f"{len(sizes):6d} {sum(sizes) / 1e6:8.1f} {seconds:7.2f}"


def main() -> None:
    """Print one table a way of reading."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.03)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, s3_server() as server:
        os.environ["PSEUDODEPTH_CACHE"] = str(Path(folder, "cache"))
        make_store(options.shards, options.rows)
        size = sum(shard.bytes for shard in Store(URL).current().shards)
        print(f"{options.shards} shards, {options.shards * options.rows} rows, {size / 1e6:.1f} MB")
        for read in (columns, few, in_order, shuffled):
            print(f"\n{read.__doc__}")
            print("block KiB  policy      requests    MB  seconds")
            for block in (64 << 10, 256 << 10, 1 << 20, 4 << 20):
                for name, eager in (("blocks", 0), ("+ through", 8)):
                    block_cache.BLOCK = remote_file.BLOCK = block
                    remote_file._RUN, remote_file._READ_THROUGH = max(1, (8 << 20) // block), eager
                    print(f"{block >> 10:9d}  {name:10s} {measure(server, read, options.delay)}")
        whole = options.shards * (options.delay + size / options.shards / BANDWIDTH) / CONNECTIONS
        print(
            f"\nwhole shards, one request each: {options.shards} requests, {size / 1e6:.1f} MB, {whole:.2f} s at best"
        )


if __name__ == "__main__":
    main()
