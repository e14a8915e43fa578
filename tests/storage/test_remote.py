"""Stores behind a URL: written, verified, sent, committed by one conditional put; against a real S3 server."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import boto3
import numpy as np
import pytest

from storage import retry
from storage.config import StoreConfig
from storage.dataset import DepthDataset
from storage.erase import forget
from storage.errors import Damaged, SnapshotConflict, StoreError
from storage.place import place_of
from storage.remote_url import redacted
from storage.snapshot import Store, open_snapshot
from storage.verify import verify
from storage.writer import existing_shard, shard_writer
from tests.fixtures.object_store import SECRET
from tests.fixtures.samples import make_samples
from tests.storage.build_and_die import build
from tests.storage.commit_race import race

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(request):
    """A store of this test's own."""
    return f"s3://bucket/{request.node.name.replace('[', '-').replace(']', '')}"


@pytest.fixture
def quick(monkeypatch):
    """Retries as many as ever, without most of the waiting."""
    monkeypatch.setattr(retry, "_LONGEST", 0.01)


@pytest.fixture
def impatient(quick, monkeypatch):
    """Against a server that never answers, two attempts are enough."""
    monkeypatch.setattr(retry, "ATTEMPTS", 2)


def keys(url):
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    found = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix + "/")
    return sorted(item["Key"].removeprefix(prefix + "/") for item in found.get("Contents", []))


def put(url, name, data):
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=data)


def add_shard(url, name, first=0, n=8, size=16):
    with shard_writer(url, name, StoreConfig(), {"plan": name}) as writer:
        writer.write(make_samples(n, first=first, size=size))
    return writer.info


@pytest.mark.parametrize("format", ["hdf5", "parquet"])
def test_a_store_on_s3_is_the_local_one(s3, url, tmp_path, format):
    local, remote = build(tmp_path / "local", format), build(url, format)
    assert remote.shards == local.shards
    ours = sorted(p.relative_to(tmp_path / "local").as_posix() for p in (tmp_path / "local").rglob("*.*"))
    assert keys(url) == ours
    mine, theirs = DepthDataset(url, mask=True), DepthDataset(tmp_path / "local", mask=True)
    assert mine.table.drop("confidence").equals(theirs.table.drop("confidence"))  # NaN of a spoof is not itself
    order = np.random.default_rng(0).permutation(len(theirs))
    for one, other in zip(mine.__getitems__(order), theirs.__getitems__(order), strict=True):
        assert all(one[name].equal(other[name]) for name in ("image", "depth", "label", "mask"))
    assert open_snapshot(f"{url}@1").rejects().equals(local.rejects())
    assert remote.media().equals(local.media())
    report = verify(url)
    assert (report.ok, report.orphans, report.rows) == (True, [], 132)


@pytest.mark.parametrize("format", ["hdf5", "parquet"])
def test_memory_urls_hold_a_store_too(tmp_path, monkeypatch, request, format):
    monkeypatch.setenv("PSEUDODEPTH_CACHE", str(tmp_path / "cache"))
    url = f"memory://{request.node.name}"
    snapshot = build(url, format)
    with pytest.raises(SnapshotConflict):
        Store(url).commit(snapshot.shards, parent=None, config={}, lineage={})
    assert verify(url).ok
    truth = {sample.columns["path"]: sample for sample in make_samples(66, size=16) if sample.columns["view"] == 0}
    dataset = DepthDataset(url, where={"view": 0})
    paths = dataset.table["path"].to_pylist()
    for i in range(0, 33, 5):
        sample = truth[paths[i]]
        assert dataset[i]["label"] == sample.columns["label"]
        if format == "hdf5":
            np.testing.assert_array_equal(dataset[i]["image"].permute(1, 2, 0).numpy(), sample.image)


def test_of_two_committers_on_one_parent_one_wins(s3, url):
    race(url, [add_shard(url, "a"), add_shard(url, "b", first=8)], rounds=5)


def test_a_commit_whose_answer_is_lost_is_known_as_ours(s3, url, quick):
    info = add_shard(url, "a")
    Store(url).check_writable()
    s3.fail("PUT", "snapshots/00000001.json", kind="lose")
    assert Store(url).commit([info], parent=None, config={}, lineage={}).number == 1
    assert sum(method == "PUT" and "00000001" in path for method, path, _ in s3.requests) > 1
    assert verify(url).ok


def test_a_builder_killed_in_an_upload_leaves_nothing_visible_and_the_next_goes_on(s3, url, tmp_path):
    undisturbed = build(tmp_path / "undisturbed", "hdf5")
    reached = threading.Event()
    dead = threading.Event()

    def hold(method, path):
        if method == "PUT" and path.endswith("shards/s1.h5") and not reached.is_set():
            reached.set()
            dead.wait(60)

    s3.before = hold
    code = "import sys\nfrom tests.storage.build_and_die import build\nbuild(sys.argv[1], 'hdf5')"
    builder = subprocess.Popen([sys.executable, "-c", code, url], cwd=ROOT)
    assert reached.wait(60)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    s3.fail("PUT", "shards/s1.h5")  # the server never gets the rest of the body
    dead.set()
    assert Store(url).current() is None
    assert existing_shard(url, "s0") is not None
    assert existing_shard(url, "s1") is None
    snapshot = build(url, "hdf5")
    assert snapshot.shards == undisturbed.shards
    report = verify(url)
    assert (report.ok, report.orphans) == (True, [])
    assert not [path for path in (tmp_path / "cache" / "uploads").rglob("*") if path.is_file()]


@pytest.mark.parametrize(("method", "part"), [("PUT", ".h5"), ("PUT", ".json"), ("HEAD", ".h5"), ("GET", "")])
def test_a_busy_server_is_asked_again(s3, url, quick, method, part):
    s3.fail(method, part, times=5)
    build(url, "hdf5")
    assert all(fault.times == 0 for fault in s3.faults)
    assert verify(url).ok


def test_a_read_that_is_cut_off_is_done_again(s3, url, quick):
    build(url, "hdf5")
    s3.fail("GET", "shards/s0.h5", times=2, kind="cut")
    images, _ = open_snapshot(url).open(open_snapshot(url).shards[0]).read([0, 65])
    truth = make_samples(66, size=16)
    np.testing.assert_array_equal(images, [truth[0].image, truth[65].image])


def test_a_server_that_stays_busy_is_one_line_that_names_the_file_and_not_a_damaged_store(s3, url, impatient):
    snapshot = build(url, "hdf5")
    s3.fail("GET", "shards/s0.json", times=1000)
    with pytest.raises(
        StoreError, match=rf"{url}/shards/s0.json: .*request rate.*credentials and the network"
    ) as error:
        snapshot.media()
    assert not isinstance(error.value, Damaged)  # a build would make the shard again
    assert "\n" not in str(error.value)


def test_a_large_shard_goes_up_in_parts_and_leaves_none_when_it_fails(s3, url, impatient):
    place = place_of(url)

    def send(name):
        part = place.part(name)
        try:
            with part.path.open("wb") as file:
                for number in range(40):
                    file.write(bytes([number]) * 1_000_000)
            part.commit()
        finally:
            part.discard()

    s3.fail("PUT", "big.h5")
    send("shards/big.h5")
    assert sum(method == "PUT" and path.endswith("big.h5") for method, path, _ in s3.requests) > 3  # parts, one twice
    with place.whole("shards/big.h5") as path, path.open("rb") as file:
        assert [file.read(1_000_000) for _ in range(40)] == [bytes([number]) * 1_000_000 for number in range(40)]
    s3.fail("PUT", "lost.h5", times=1000)
    with pytest.raises(StoreError, match=r"shards/lost\.h5"):
        send("shards/lost.h5")
    assert keys(url) == ["shards/big.h5"]
    assert "Uploads" not in boto3.client("s3").list_multipart_uploads(Bucket="bucket")


def test_a_failed_upload_leaves_neither_shard_nor_ticket(s3, url, impatient):
    s3.fail("PUT", "shards/a.json", times=1000)
    with pytest.raises(StoreError, match=r"shards/a.json"):
        add_shard(url, "a")
    assert keys(url) == []


def test_waits_between_attempts_grow_and_differ(monkeypatch):
    waits = []
    monkeypatch.setattr(retry.time, "sleep", waits.append)

    def away():
        raise OSError("away")

    for _ in range(200):
        with pytest.raises(OSError, match="away"):
            retry.with_retries(away)
    bounds = np.array(waits).reshape(200, -1)
    assert bounds.shape[1] == retry.ATTEMPTS - 1
    assert (bounds.max(axis=0) <= [0.2, 0.4, 0.8, 1.6, 3.2]).all()
    assert (bounds.std(axis=0) > 0.2 * bounds.max(axis=0)).all()  # jitter over the whole of it
    assert len(np.unique(bounds)) == bounds.size


@pytest.mark.parametrize(
    "answer",
    [
        *(FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError),
        *(NotImplementedError, ImportError, TypeError, ValueError, AttributeError),
    ],
)
def test_an_answer_is_not_asked_for_twice(answer):
    asked = []

    def final():
        asked.append(1)
        raise answer("no")

    with pytest.raises(answer):
        retry.with_retries(final)
    assert len(asked) == 1


def test_verify_reads_what_lies_there_and_names_it(s3, url):
    snapshot = build(url, "hdf5")
    DepthDataset(url).__getitems__(range(132))  # all of it is in the cache
    file = snapshot.shards[1].file
    with place_of(url).whole(file) as path:
        data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    put(url, file, bytes(data))
    put(url, "shards/stray.h5", b"x")
    report = verify(url)
    assert [problem.file for problem in report.problems] == [file]
    assert "its bytes changed" in report.problems[0].problem
    assert report.orphans == ["shards/stray.h5"]


def test_wrong_pixels_are_never_returned(s3, url, tmp_path):
    snapshot = build(url, "hdf5")
    reader = snapshot.open(snapshot.shards[0])
    start = int(reader.index.image.start[3])
    with place_of(url).whole(reader.file.path.partition("/")[2].partition("/")[2]) as path:
        data = bytearray(path.read_bytes())
    data[start + 5] ^= 1
    put(url, snapshot.shards[0].file, bytes(data))
    reader.file.forget()
    reader.read([2])
    with pytest.raises(Damaged, match=r"s0\.h5: row 3: image does not fit its checksum"):
        reader.read([3])


def test_a_bucket_that_is_not_there_is_named_before_any_work(s3):
    with pytest.raises(StoreError, match=r"s3://no-bucket/st.*: no such bucket or container"):
        Store("s3://no-bucket/st").check_writable()
    with pytest.raises(StoreError, match="no committed snapshot"):
        open_snapshot("s3://no-bucket/st")


def test_a_server_that_ignores_the_condition_gets_no_commit(s3, url, monkeypatch):
    info = add_shard(url, "a")
    s3.ignores_conditions = True
    try:
        with pytest.raises(StoreError, match=r"ignores conditional puts.*PSEUDODEPTH_SINGLE_WRITER"):
            Store(url).commit([info], parent=None, config={}, lineage={})
        assert Store(url).numbers() == []
        monkeypatch.setenv("PSEUDODEPTH_SINGLE_WRITER", "1")
        assert Store(url).commit([info], parent=None, config={}, lineage={}).number == 1
    finally:
        s3.ignores_conditions = False


@pytest.mark.parametrize(
    "url",
    [
        f"s3://tester:{SECRET}@bucket/store",
        f"s3://{SECRET}@bucket/store",
        f"az://container/store?sv=2025&sig={SECRET}",
        f"abfs://user:{SECRET}@account.dfs.core.windows.net/store",
    ],
)
def test_a_url_with_credentials_is_refused_without_repeating_them(url):
    with pytest.raises(StoreError, match="must not hold credentials") as error:
        open_snapshot(url)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        f"cannot open https://me:{SECRET}@host/x",
        f"403 for https://a.blob.core.windows.net/c/x?sv=2025&sig={SECRET}&se=1",
        f"GET /x?X-Amz-Credential=me&X-Amz-Signature={SECRET}",
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={SECRET};EndpointSuffix=core",
    ],
)
def test_what_a_library_says_is_shown_without_its_secrets(text):
    shown = redacted(f"first line\n{text}")
    assert SECRET not in shown
    assert "***" in shown
    assert shown.startswith("first line ")


def test_credentials_are_nowhere_in_a_store_or_its_errors(s3, url, impatient, tmp_path):
    snapshot = build(url, "hdf5")
    s3.fail("GET", "", times=1000)
    with pytest.raises(StoreError) as error:
        snapshot.media()
    s3.faults.clear()
    texts = [str(error.value), repr(snapshot), repr(Store(url).root)]
    for name in keys(url):
        with place_of(url).whole(name) as path:
            texts.append(path.read_bytes().decode("latin-1"))
    texts += [path.read_bytes().decode("latin-1") for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert not [text[:80] for text in texts if SECRET in text]
    assert SECRET.encode() not in pickle.dumps(DepthDataset(url))


def test_a_kind_of_url_whose_package_is_missing_names_the_extra(s3, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as if it were not installed
    with pytest.raises(StoreError, match=r"gs://: needs a package.*pip install 'pseudodepth\[gcs\]'"):
        Store("gs://bucket/store")


def test_forgetting_somebody_leaves_nothing_in_the_store_or_the_cache(s3, url, tmp_path):
    snapshot = build(url, "hdf5")
    DepthDataset(url).__getitems__(range(132))
    subject = snapshot.columns(["subject"])["subject"][100].as_py()
    report = forget(url, subject=subject)
    assert (report.samples, report.traces) == (8, [])
    assert subject not in open_snapshot(url).columns(["subject"])["subject"].to_pylist()
    assert verify(url).ok
    assert not list((tmp_path / "cache" / "blocks").glob(f"{snapshot.shards[1].sha256}/*"))
    found = [
        path for path in (tmp_path / "cache").rglob("*") if path.is_file() and subject.encode() in path.read_bytes()
    ]
    assert found == []


def test_a_dataset_goes_through_forks_and_pickles(s3, url, tmp_path):
    build(url, "hdf5")
    dataset = DepthDataset(url)
    here = dataset[7]["image"]
    again = pickle.loads(pickle.dumps(dataset))
    assert again[7]["image"].equal(here)
    shutil.rmtree(tmp_path / "cache")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # the parent's connections are not the child's
        try:
            os.write(write, dataset[7]["image"].numpy().tobytes()[:16])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == here.numpy().tobytes()[:16]
    os.waitpid(child, 0)
