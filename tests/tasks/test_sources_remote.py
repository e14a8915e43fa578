"""Datasets behind a URL: listed like the local tree, read ahead, and never taken for bad because a network was away."""

import os
from functools import partial

import boto3
import fsspec
import numpy as np
import pytest

from storage import retry
from storage.reader import open_shard
from storage.snapshot import Store
from storage.verify import verify
from tasks.config import BuildConfig
from tasks.errors import BuildError
from tasks.nearby import nearby
from tasks.plan import plan_build
from tasks.shard import build_shard
from tasks.sources import scan
from tests.fixtures import datasets, trees
from tests.fixtures.object_store import SECRET, upload
from tests.fixtures.photos import ASTRONAUT, photo

TREES = {
    "celeba-spoof": trees.celeba_spoof,
    "folder": trees.folder_tree,
    "oulu-npu": datasets.oulu_npu,
    "msu-mfsd": datasets.msu_mfsd,
    "siw": datasets.siw,
    "siw-mv2": datasets.siw_mv2,
    "replay-attack": datasets.replay_attack,
    "casia-surf": partial(datasets.casia_surf, challenge=True),
    "cefa": datasets.cefa,
}


@pytest.fixture
def url(request):
    return f"s3://bucket/{request.node.name.replace('[', '-').replace(']', '')}"


@pytest.mark.parametrize("name", TREES)
def test_a_remote_tree_is_listed_like_the_local_one(s3, url, tmp_path, name):
    root = TREES[name](tmp_path)
    local, remote = scan(name, root), scan(name, upload(root, url))
    assert len(local.media)
    assert remote.media.drop("mtime_ns").to_pylist() == local.media.drop("mtime_ns").to_pylist()
    assert remote.ignored == local.ignored
    assert (remote.layout, str(remote.root)) == (local.layout, url)
    now = max(remote.media["mtime_ns"].to_pylist()) / 1e9
    assert abs(now - os.stat(root).st_mtime) < 3600


def test_names_that_cannot_be_files_are_left_out_with_a_reason():
    files = fsspec.filesystem("memory")
    for key in ("train/live/ann/1.png", "train/live/../../etc/passwd.png", "train/live//2.png", "train/live/a\nb.png"):
        files.pipe_file(f"/odd/{key}", b"x")
    found = scan("folder", "memory://odd")
    assert found.media["path"].to_pylist() == ["train/live/ann/1.png"]
    reasons = dict(found.ignored)
    assert "not the path of a file" in reasons["train/live/../../etc/passwd.png"]
    assert "not the path of a file" in reasons["train/live//2.png"]
    assert "control characters" in reasons[r"'train/live/a\nb.png'"]


def test_a_path_of_a_tampered_plan_does_not_leave_the_temporary_folder(s3, url):
    medium = {"path": "../../escaped.png", "extra": "{}"}
    with pytest.raises(BuildError, match="leads out of the dataset"):
        list(nearby(url, [medium]))


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces")
    trees.save(root / "train/live/eileen/1.png", photo(ASTRONAUT))
    trees.save(root / "train/spoof/print/eileen/3.png", photo(ASTRONAUT)[:, 40:])
    (root / "train/spoof/print/eileen/cut.png").write_bytes(b"not a picture")
    return root


@pytest.mark.slow
def test_a_remote_dataset_builds_the_same_samples_into_a_remote_store(s3, url, faces, tmp_path):
    config = BuildConfig()
    [here] = plan_build([scan("folder", faces)], None, config).shards
    [there] = plan_build([scan("folder", upload(faces, f"{url}/data"))], None, config).shards
    one, _ = build_shard(here, config, tmp_path / "store")
    other, _ = build_shard(there, config, f"{url}/store")
    remote = Store(f"{url}/store").commit([other], parent=None, config={}, lineage={})
    assert verify(f"{url}/store").ok
    mine, theirs = remote.open(other), open_shard(tmp_path / "store" / one.file)
    for a, b in zip(mine.read(range(2)), theirs.read(range(2)), strict=True):
        np.testing.assert_array_equal(a, b)
    local = Store(tmp_path / "store").commit([one], parent=None, config={}, lineage={})
    reasons = ["path", "reason", "detail"]  # none of them says where the dataset was
    assert remote.rejects().select(reasons).equals(local.rejects().select(reasons))
    again = plan_build([scan("folder", f"{url}/data")], remote, config)
    assert again.nothing_to_do


def test_media_are_fetched_ahead_and_gone_after(s3, url, tmp_path):
    for number in range(20):
        trees.save(tmp_path / f"train/live/ann/{number:02d}.png", seed=number)
    upload(tmp_path, url)
    media = scan("folder", url).media.to_pylist()
    s3.requests.clear()
    folders = []
    for number, (folder, medium) in enumerate(nearby(url, media)):
        assert (folder / medium["path"]).read_bytes() == (tmp_path / medium["path"]).read_bytes()
        assert not any(earlier.exists() for earlier in folders)
        assert len({path for _, path, _ in s3.requests if path.endswith(".png")}) <= number + 9
        folders.append(folder)
        if number == 12:
            break
    assert number == 12


def test_a_server_that_is_away_stops_the_build_and_rejects_nothing(s3, url, tmp_path, monkeypatch):
    monkeypatch.setattr(retry, "ATTEMPTS", 2)
    monkeypatch.setattr(retry, "_LONGEST", 0.01)
    trees.save(tmp_path / "train/live/ann/1.png")
    medium = scan("folder", upload(tmp_path, url)).media.to_pylist()[0]
    s3.fail("GET", "1.png", times=1000)
    s3.fail("HEAD", "1.png", times=1000)
    with pytest.raises(BuildError, match=rf"{url}/train/live/ann/1.png: .*credentials and the network"):
        next(nearby(url, [medium]))
    with pytest.raises(BuildError, match="does not exist; give the folder"):
        scan("folder", f"{url}/nowhere")


def test_a_medium_that_has_gone_is_left_for_its_reader_to_report(s3, url, tmp_path):
    trees.save(tmp_path / "train/live/ann/1.png")
    medium = scan("folder", upload(tmp_path, url)).media.to_pylist()[0]
    boto3.client("s3").delete_object(Bucket="bucket", Key=f"{url.removeprefix('s3://bucket/')}/{medium['path']}")
    for folder, _ in nearby(url, [medium]):
        assert folder.is_dir()
        assert not (folder / medium["path"]).exists()


def test_a_root_with_credentials_is_refused_without_repeating_them():
    with pytest.raises(BuildError, match="must not hold credentials") as error:
        scan("folder", f"s3://tester:{SECRET}@bucket/data")
    assert SECRET not in str(error.value)


def test_memory_urls_are_datasets_too(tmp_path):
    root = trees.folder_tree(tmp_path)
    files = fsspec.filesystem("memory")
    for path in root.rglob("*"):
        if path.is_file():
            files.pipe_file(f"/a-dataset/{path.relative_to(root)}", path.read_bytes())
    found = scan("folder", "memory://a-dataset")
    assert found.media["path"].to_pylist() == scan("folder", root).media["path"].to_pylist()
    for folder, medium in nearby("memory://a-dataset", found.media.to_pylist()):
        assert (folder / medium["path"]).read_bytes() == (root / medium["path"]).read_bytes()
