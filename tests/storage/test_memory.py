"""Writing and converting take the memory of a batch, not of a shard."""

import tracemalloc

import numpy as np
import pytest

from storage.config import StoreConfig
from storage.convert import convert
from storage.schema import LIVE, Sample
from storage.snapshot import Store
from storage.writer import shard_writer
from tests.fixtures.samples import columns, depth_map, picture

ROWS, SIZE = 400, 128  # 20 MB of pixels, 6 of depth
IMAGE, DEPTH = picture(np.random.default_rng(0), SIZE), depth_map(np.random.default_rng(0), SIZE)
HDF5, PARQUET = StoreConfig(depth="raw"), StoreConfig(format="parquet", image="raw")


def write(root, config):
    with shard_writer(root, "s", config, {}) as writer:
        for start in range(0, ROWS, 16):
            writer.write(Sample(IMAGE, DEPTH, columns(i, label=LIVE)) for i in range(start, start + 16))
    return Store(root).commit([writer.info], parent=None, config={}, lineage={})


def peak_mb(work):
    work()  # what is imported or compiled on first use
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("config", [HDF5, PARQUET])
def test_a_shard_is_written_in_the_memory_of_some_rows(tmp_path, config):
    roots = iter("ab")
    assert peak_mb(lambda: write(tmp_path / next(roots), config)) < 10  # Parquet holds row groups of 64: 4 MB


@pytest.mark.parametrize(("source", "target"), [(HDF5, PARQUET), (PARQUET, HDF5)])
def test_a_shard_is_converted_in_the_memory_of_some_rows(tmp_path, source, target):
    write(tmp_path / "from", source)
    roots = iter("ab")
    assert peak_mb(lambda: convert(tmp_path / "from", tmp_path / next(roots), target)) < 16
