"""The cache of remote blocks: bounded over all processes, least recently used out first, never wrong."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
import numpy as np
import pytest

from storage.block_cache import BLOCK, BlockCache
from storage.config import StoreConfig
from storage.errors import Damaged
from storage.place import place_of
from storage.remote_file import RemoteFile
from storage.settings import RemoteSettings
from storage.snapshot import Store
from storage.writer import shard_writer
from tests.fixtures.samples import make_samples

ROOT = Path(__file__).parents[2]
KEY = "0" * 64


def held(folder):
    return sum(path.stat().st_size for path in (folder / "blocks").glob("*/*"))


def test_a_block_is_there_whole_or_not_at_all(tmp_path):
    cache = BlockCache(tmp_path, 1 << 20)
    assert cache.read(KEY, 0, 100, 0, 10) is None
    cache.add(KEY, {0: bytes(range(100)), 7: b"x" * 100})
    assert cache.read(KEY, 0, 100, 10, 13) == bytes([10, 11, 12])
    assert cache.has(KEY, 7, 100)
    (tmp_path / "blocks" / KEY / "7").write_bytes(b"x" * 50)  # as after a power cut
    assert not cache.has(KEY, 7, 100)
    assert cache.read(KEY, 7, 100, 0, 10) is None
    assert cache.forget(KEY)
    assert cache.read(KEY, 0, 100, 10, 13) is None
    assert not cache.forget(KEY)


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    cache = BlockCache(tmp_path, 10_000)
    for number in range(10):
        cache.add(KEY, {number: bytes(1_000)})
        os.utime(tmp_path / "blocks" / KEY / str(number), ns=(0, number))
    assert cache.read(KEY, 0, 1_000, 0, 1) == b"\0"  # used again: it is the newest now
    cache.add("1" * 64, {0: bytes(1_000)})
    assert sorted(int(name) for name in os.listdir(tmp_path / "blocks" / KEY)) == [0, 3, 4, 5, 6, 7, 8, 9]
    assert held(tmp_path) <= 10_000


@pytest.mark.parametrize("disturbance", ["leftover", "lost count"])
def test_the_bound_holds_whatever_a_killed_process_left(tmp_path, disturbance):
    cache = BlockCache(tmp_path, 10_000)
    cache.add(KEY, {0: bytes(1_000)})
    if disturbance == "leftover":
        (tmp_path / "blocks" / "deadbeef.part").write_bytes(bytes(5_000))
    else:
        cache.add(KEY, {n: bytes(1_000) for n in range(1, 6)})
        cache.forget(KEY)  # counted still: the next eviction finds out
    for number in range(30):
        cache.add("1" * 64, {number: bytes(1_000)})
        assert held(tmp_path) <= 10_000
    assert not list((tmp_path / "blocks").glob("*.part"))
    assert held(tmp_path) >= 8_000


def test_the_bound_holds_over_processes(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom storage.block_cache import BlockCache\n"
        "cache = BlockCache(Path(sys.argv[1]), 200_000)\n"
        "for n in range(150):\n"
        "    key = '%064d' % (n % 5)\n"
        "    cache.add(key, {n: bytes([n]) * 5_000})\n"
        "    found = cache.read(key, n, 5_000, 0, 5_000)\n"
        "    assert found in (None, bytes([n]) * 5_000)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    most = 0
    while any(process.poll() is None for process in running):
        try:
            most = max(most, held(tmp_path))
        except OSError:  # a block went while they were counted
            continue
    assert [process.returncode for process in running] == [0, 0, 0]
    assert 0 < held(tmp_path) <= 200_000
    assert most <= 200_000 + 3 * 5_000  # counted while they come and go


def test_a_disk_that_keeps_nothing_only_slows_down(tmp_path):
    (tmp_path / "file").write_text("")
    cache = BlockCache(tmp_path / "file", 1 << 20)  # a folder cannot be made there
    cache.add(KEY, {0: b"x"})
    assert cache.read(KEY, 0, 1, 0, 1) is None


@pytest.fixture
def blob(s3, request):
    """10.5 MB of known bytes on the server, as a RemoteFile."""
    data = np.random.default_rng(0).bytes(40 * BLOCK + 12_345)
    boto3.client("s3").put_object(Bucket="bucket", Key=f"{request.node.name}/blob.h5", Body=data)
    url = f"s3://bucket/{request.node.name}/blob.h5"
    s3.requests.clear()
    return RemoteFile(url, url.removeprefix("s3://"), len(data), KEY), data


def test_ranges_read_are_the_files(blob):
    file, data = blob
    rng = np.random.default_rng(1)
    for start in [0, BLOCK - 1, len(data) - 1, *rng.integers(0, len(data), 30).tolist()]:
        nbytes = int(rng.integers(1, len(data) - start + 1))
        assert file.read(start, nbytes) == data[start : start + nbytes]
    with file.open() as handle:
        handle.seek(-100, 2)
        assert handle.read() == data[-100:]
        handle.seek(BLOCK - 10)
        assert handle.read(20) == data[BLOCK - 10 : BLOCK + 10]


def test_only_the_blocks_that_are_needed_are_asked_for_and_only_once(s3, blob):
    file, data = blob
    file.fetch([(10, 5), (2 * BLOCK + 7, BLOCK), (20, 3)])
    asked = {header for _, _, header in s3.requests}
    assert asked == {f"bytes=0-{BLOCK - 1}", f"bytes={2 * BLOCK}-{4 * BLOCK - 1}"}
    assert len(s3.requests) == 2
    s3.requests.clear()
    assert file.read(10, 100) == data[10:110]
    assert file.read(3 * BLOCK, 10) == data[3 * BLOCK : 3 * BLOCK + 10]
    file.fetch([(0, BLOCK)])
    assert s3.requests == []


def test_a_file_that_is_read_through_comes_in_large_requests(s3, blob):
    file, data = blob
    for number in range(40):
        file.fetch([(number * BLOCK, 10)])
    assert len(s3.requests) == 5 + 2  # an eighth block by block, then the rest, 8 MiB at a time
    assert sum(
        1 + int(last) - int(first) for _, _, span in s3.requests for first, last in [span[6:].split("-")]
    ) == len(data)
    s3.requests.clear()
    assert file.read(0, len(data)) == data
    assert s3.requests == []


def test_a_file_that_has_become_shorter_is_damaged(blob):
    file, data = blob
    boto3.client("s3").put_object(Bucket="bucket", Key=file.path.removeprefix("bucket/"), Body=data[: 4 * BLOCK + 10])
    assert file.read(0, 10) == data[:10]
    with pytest.raises(Damaged, match=r"blob\.h5: shorter than"):
        file.read(4 * BLOCK, 100)


@pytest.mark.parametrize("format", ["hdf5", "parquet"])
def test_a_copy_that_went_bad_on_this_disk_is_replaced_from_the_store(s3, request, format):
    url = f"s3://bucket/{request.node.name.strip(']').replace('[', '-')}"
    samples = make_samples(8, size=64)
    with shard_writer(url, "a", StoreConfig(format=format, image="raw")) as writer:
        writer.write(samples)
    snapshot = Store(url).commit([writer.info], parent=None, config={}, lineage={})
    reader = snapshot.open(writer.info)
    reader.read(range(8))
    for path in (RemoteSettings().cache / "blocks" / writer.info.sha256).iterdir():
        path.write_bytes(bytes(path.stat().st_size))
    np.testing.assert_array_equal(reader.read([5])[0][0], samples[5].image)
    for path in (RemoteSettings().cache / "blocks" / writer.info.sha256).iterdir():
        path.write_bytes(bytes(path.stat().st_size))
    assert snapshot.open(writer.info).columns(["view"])["view"].to_pylist() == [0, 1] * 4


def test_reading_more_than_the_cache_holds_is_right_and_bounded(s3, request, tmp_path, monkeypatch):
    url = f"s3://bucket/{request.node.name}"
    monkeypatch.setenv("PSEUDODEPTH_CACHE_BYTES", str(64 << 20))
    samples = make_samples(4, size=32)
    with shard_writer(url, "a", StoreConfig()) as writer:
        writer.write(samples)
    snapshot = Store(url).commit([writer.info], parent=None, config={}, lineage={})
    reader = snapshot.open(writer.info)
    small = BlockCache(tmp_path / "small", BLOCK // 2)  # not even one block
    monkeypatch.setitem(reader.file.__dict__, "_cache", small)
    np.testing.assert_array_equal(reader.read([3, 0])[0], [samples[3].image, samples[0].image])
    assert place_of(url).sizes("shards")["a.h5"] == writer.info.bytes
    assert held(tmp_path / "small") <= BLOCK // 2
