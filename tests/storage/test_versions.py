"""A store of the version before: opens, verifies, grows. tests/storage/golden/v1 was written by the code of version 1.

It holds make_samples(32, size=16), eight rows a shard, in the four variants of that version, and one reject.
"""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from storage import hdf5
from storage.config import StoreConfig
from storage.convert import convert
from storage.dataset import DepthDataset
from storage.errors import UnknownVersion
from storage.place import LocalFile
from storage.reader import open_shard
from storage.schema import COLUMNS, REJECT_COLUMNS
from storage.snapshot import Store, open_snapshot
from storage.verify import verify
from storage.writer import existing_shard, shard_writer
from tests.fixtures.samples import make_samples

V1 = Path(__file__).parent / "golden" / "v1"


@pytest.fixture
def store(tmp_path):
    shutil.copytree(V1, tmp_path / "store")
    return tmp_path / "store"


def test_every_shard_of_version_1_reads_as_it_was_written():
    snapshot, samples = open_snapshot(V1), make_samples(32, size=16)
    for k, shard in enumerate(snapshot.shards):
        reader, truth = snapshot.open(shard), samples[8 * k : 8 * k + 8]
        images, depths = reader.read(range(8))
        for i, sample in enumerate(truth):
            assert np.abs(images[i].astype(int) - sample.image).max() <= (0 if "raw" in shard.name else 12)
            np.testing.assert_array_equal(depths[i], 0 if sample.depth is None else sample.depth)
            if sample.mask is not None:
                np.testing.assert_array_equal(reader.read_masks([i])[0], sample.mask)
        assert reader.columns(["path"]).column("path").to_pylist() == [s.columns["path"] for s in truth]


def test_columns_and_rejects_of_version_1_are_those_of_today():
    snapshot = open_snapshot(V1)
    assert snapshot.columns().schema.equals(COLUMNS)
    assert snapshot.rejects().schema.equals(REJECT_COLUMNS)
    assert (len(snapshot.columns()), len(snapshot.rejects()), len(snapshot.media())) == (32, 1, 17)


def test_a_version_1_jpeg_had_full_colour():
    snapshot = open_snapshot(V1)
    assert {snapshot.open(shard).index.image_subsampling for shard in snapshot.shards} == {"4:4:4"}


def test_a_store_of_version_1_verifies_and_grows_by_a_shard_of_today(store):
    assert verify(store).ok
    assert existing_shard(store, "hdf5-raw") == open_snapshot(store).shards[0]
    with shard_writer(store, "new", StoreConfig(), {}) as writer:
        writer.write(make_samples(8, size=16, first=32))
    old = open_snapshot(store)
    Store(store).commit([*old.shards, writer.info], parent=old, config={}, lineage={})
    assert verify(store).ok
    assert len(DepthDataset(store)) == 40


def test_a_store_of_version_1_is_rewritten_in_that_of_today(store, tmp_path):
    before, after = open_snapshot(store), convert(store, tmp_path / "new", StoreConfig(format="parquet"))
    assert verify(tmp_path / "new").ok
    names = [name for name in COLUMNS.names if name != "confidence"]  # NaN never equals NaN
    assert after.columns(names).equals(before.columns(names))
    for old, new in zip(before.shards, after.shards, strict=True):
        assert (old.media_file, new.media_file) == (None, f"media/{new.name}.parquet")  # version 1 had no such lists
        for one, other in zip(before.open(old).read(range(8)), after.open(new).read(range(8)), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_shard_of_a_later_version_is_refused_with_what_to_do(store):
    path = store / "shards" / "hdf5-raw.h5"
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 3
    with pytest.raises(UnknownVersion, match=r"hdf5-raw.h5: schema version 3.*upgrade pseudodepth"):
        open_shard(path)
    with pytest.raises(UnknownVersion, match="upgrade pseudodepth"):
        hdf5.columns(LocalFile(path), ["label"])
