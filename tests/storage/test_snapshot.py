"""Snapshots: commit, read, conflict, and files that were tampered with."""

import json
import os

import pytest

from storage.config import StoreConfig
from storage.errors import Damaged, SnapshotConflict, StoreError, UnknownVersion
from storage.media_list import MEDIA_COLUMNS
from storage.place import place_of
from storage.schema import COLUMNS
from storage.sealed import MAX_BYTES, seal
from storage.shard_info import MAX_LIST_BYTES
from storage.snapshot import Store, open_snapshot
from storage.writer import shard_writer
from tests.fixtures.samples import make_samples, reject_row
from tests.storage.commit_race import race


def add_shard(root, name, first=0, n=8, rejects=0, format="hdf5", split="train"):
    with shard_writer(root, name, StoreConfig(format=format), {"plan": name}) as writer:
        writer.write(make_samples(n, first=first, split=split))
        for i in range(rejects):
            writer.reject(reject_row(first + i))
    return writer.info


def commit(root, infos, parent=None):
    return Store(root).commit(infos, parent=parent, config={"views": 2}, lineage={"aligner": "facemesh"})


def test_an_empty_folder_has_no_snapshot_and_says_what_to_run(tmp_path):
    assert Store(tmp_path / "none").current() is None
    with pytest.raises(StoreError, match="pseudodepth build"):
        open_snapshot(tmp_path / "none")


def test_a_commit_is_what_the_next_reader_opens(tmp_path):
    infos = [add_shard(tmp_path, "a", rejects=1), add_shard(tmp_path, "b", first=8, format="parquet")]
    committed = commit(tmp_path, infos)
    snapshot = open_snapshot(tmp_path)
    assert snapshot == committed
    assert (snapshot.number, snapshot.parent, snapshot.shards) == (1, None, tuple(infos))
    assert (snapshot.config, snapshot.lineage["aligner"]) == ({"views": 2}, "facemesh")
    size = sum(info.bytes for info in infos)
    assert snapshot.counts == {"shards": 2, "rows": 16, "live": 8, "spoof": 8, "rejects": 1, "bytes": size}


def test_a_snapshot_says_by_which_code_on_which_machine_and_how_many_samples_of_what(tmp_path):
    infos = [add_shard(tmp_path, "a", rejects=1), add_shard(tmp_path, "b", first=8, split="test")]
    lineage = commit(tmp_path, infos).lineage
    assert lineage["samples"] == {
        "dataset": {"demo": 16},
        "split": {"test": 8, "train": 8},
        "label": {"live": 8, "spoof": 8},
        "attack": {"print": 2, "replay": 4, "papercut": 2},
        "subjects": 2,
        "subject": {"demo/0": 8, "demo/1": 8},
    }
    assert lineage["code"]["libraries"].keys() >= {"numpy", "h5py", "pillow"}
    assert lineage["machine"]["cores"] >= 1


def test_shards_of_both_formats_read_as_one_table(tmp_path):
    snapshot = commit(tmp_path, [add_shard(tmp_path, "a"), add_shard(tmp_path, "b", first=8, format="parquet")])
    table = snapshot.columns(["path", "view"])
    assert table.column("path").to_pylist() == [s.columns["path"] for s in make_samples(16)]
    assert snapshot.columns().schema.equals(COLUMNS)


def test_media_are_distinct_and_count_rejected_ones(tmp_path):
    snapshot = commit(tmp_path, [add_shard(tmp_path, "a", rejects=2), add_shard(tmp_path, "b", first=8)])
    media = snapshot.media()
    assert media.column_names == [*MEDIA_COLUMNS.names, "shard"]
    assert len(media) == 4 + 2 + 4  # two views a medium
    assert {r["path"]: r["samples"] for r in media.to_pylist()} == {
        **{s.columns["path"]: 2 for s in make_samples(16)},
        **{f"Data/train/bad/{i}.png": 0 for i in range(2)},
    }
    assert {r["shard"] for r in media.to_pylist() if "bad" in r["path"]} == {"a"}
    assert [r["reason"] for r in snapshot.rejects().to_pylist()] == ["no-face", "no-face"]


def test_a_snapshot_of_nothing_is_a_snapshot(tmp_path):
    snapshot = commit(tmp_path, [])
    assert (len(snapshot.columns()), len(snapshot.media()), len(snapshot.rejects())) == (0, 0, 0)


def test_old_snapshots_stay_open_by_number(tmp_path):
    a = add_shard(tmp_path, "a")
    first = commit(tmp_path, [a])
    second = commit(tmp_path, [a, add_shard(tmp_path, "b", first=8)], parent=first)
    assert (second.number, second.parent) == (2, 1)
    assert open_snapshot(f"{tmp_path}@1").counts["rows"] == 8
    assert open_snapshot(f"file://{tmp_path}@2") == open_snapshot(tmp_path) == second
    with pytest.raises(StoreError, match=r"no snapshot 3; there are \[1, 2\]"):
        open_snapshot(f"{tmp_path}@3")


def test_a_commit_on_an_outdated_parent_is_refused(tmp_path):
    a = add_shard(tmp_path, "a")
    commit(tmp_path, [a])
    with pytest.raises(SnapshotConflict, match="planned on snapshot None, but the current one is 1"):
        commit(tmp_path, [a])
    assert Store(tmp_path).numbers() == [1]


def test_of_two_committers_on_one_parent_one_wins(tmp_path):
    race(tmp_path, [add_shard(tmp_path, "a"), add_shard(tmp_path, "b", first=8)], rounds=20)
    assert not [p for p in (tmp_path / "snapshots").iterdir() if not p.name.endswith(".json") or p.name.startswith(".")]


def test_a_shard_that_is_missing_cut_or_listed_twice_is_not_committed(tmp_path):
    a, b = add_shard(tmp_path, "a"), add_shard(tmp_path, "b", first=8)
    with pytest.raises(StoreError, match="twice"):
        commit(tmp_path, [a, a])
    (tmp_path / a.file).write_bytes(b"short")
    with pytest.raises(Damaged, match=r"a\.h5"):
        commit(tmp_path, [b, a])
    (tmp_path / a.file).unlink()
    with pytest.raises(Damaged, match=r"a\.h5"):
        commit(tmp_path, [b, a])
    assert Store(tmp_path).numbers() == []


def test_config_that_is_not_json_is_refused(tmp_path):
    with pytest.raises(StoreError, match="plain JSON"):
        Store(tmp_path).commit([], parent=None, config={"x": float("nan")}, lineage={})
    with pytest.raises(StoreError, match="plain JSON"):
        Store(tmp_path).commit([], parent=None, config={"x": object()}, lineage={})


def test_an_unknown_kind_of_url_is_refused(tmp_path):
    with pytest.raises(StoreError, match="nowhere://: unknown; expected a local path, s3://"):
        Store("nowhere://bucket/store")


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "x" * 200])
def test_a_shard_name_that_is_no_plain_file_name_is_refused(tmp_path, name):
    with pytest.raises(StoreError, match="shard name"), shard_writer(tmp_path, name, StoreConfig(), {}):
        pass


def forge(root, change, number=1):
    """Rewrite a snapshot with a valid seal, as somebody who knows the format would."""
    path = root / "snapshots" / f"{number:08d}.json"
    content = json.loads(path.read_bytes())
    del content["sha256"]
    change(content)
    path.write_bytes(seal(content))
    return path


@pytest.mark.parametrize(
    "file",
    [
        "../outside.h5",
        "shards/../../outside.h5",
        "/etc/passwd",
        "shards/",
        "snapshots/a.h5",
        "shards/.a.h5",
        "shards\\a.h5",
        "",
    ],
)
@pytest.mark.parametrize("field", ["file", "rejects_file", "media_file"])
def test_a_path_that_leads_out_of_the_store_is_refused(tmp_path, file, field):
    commit(tmp_path, [add_shard(tmp_path, "a")])
    forge(tmp_path, lambda c: c["shards"][0].update({field: file}))
    with pytest.raises(StoreError, match="leads out of the store"):
        open_snapshot(tmp_path)


def test_a_snapshot_or_list_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    info = add_shard(tmp_path, "a", rejects=1)
    snapshot = commit(tmp_path, [info])
    os.truncate(tmp_path / info.rejects_file, MAX_LIST_BYTES + 1)  # a hole: it takes no room on the disk
    with pytest.raises(Damaged, match=rf"rejects/a.parquet: .*at most {MAX_LIST_BYTES}"):
        snapshot.rejects()
    os.truncate(tmp_path / "snapshots/00000001.json", MAX_BYTES + 1)
    with pytest.raises(Damaged, match=rf"00000001.json: .*at most {MAX_BYTES}"):
        open_snapshot(tmp_path)


@pytest.mark.parametrize("url", ["memory://limits", "{tmp_path}"])
def test_a_file_is_read_up_to_its_limit_and_not_beyond(tmp_path, url):
    place = place_of(url.format(tmp_path=tmp_path))
    place.write("rejects/a.parquet", b"12345")
    assert place.read("rejects/a.parquet", 5) == b"12345"
    with pytest.raises(Damaged, match=r"a\.parquet: .* 4 "):
        place.read("rejects/a.parquet", 4)


def test_a_symbolic_link_that_leads_out_of_the_store_is_refused(tmp_path):
    store = tmp_path / "store"
    info = add_shard(store, "a")
    commit(store, [info])
    (store / info.file).rename(tmp_path / "outside.h5")
    (store / info.file).symlink_to(tmp_path / "outside.h5")
    with pytest.raises(StoreError, match="leads out of the store"):
        open_snapshot(store)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": -1},
        {"rows": 1 << 60},  # absurd size
        {"rows": "8"},
        {"bytes": None},
        {"sha256": "abc"},
        {"format": "tar"},
        {"extra_field": 1},
        {"name": "../a"},
        {"rows": 1 << 40, "live": 1 << 40, "spoof": 0, "bytes": 1 << 47},  # memory for a million million rows
        {"bytes": 1},  # more rows than bytes
        {"live": 7},  # and 4 spoofs of 8
    ],
)
def test_a_forged_shard_entry_is_refused(tmp_path, change):
    commit(tmp_path, [add_shard(tmp_path, "a")])
    path = forge(tmp_path, lambda c: c["shards"][0].update(change))
    with pytest.raises(Damaged, match=str(path)):
        open_snapshot(tmp_path)


@pytest.mark.parametrize("key", ["number", "shards", "config", "lineage", "parent", "created"])
def test_a_snapshot_with_a_part_missing_is_refused(tmp_path, key):
    commit(tmp_path, [add_shard(tmp_path, "a")])
    path = forge(tmp_path, lambda c: c.pop(key))
    with pytest.raises(Damaged, match=str(path)):
        open_snapshot(tmp_path)


@pytest.mark.parametrize(
    ("version", "advice"),
    [(0, "verify"), (3, "upgrade pseudodepth"), ("1", "verify"), (True, "verify"), (None, "verify")],
)
def test_an_unknown_schema_version_is_refused_with_what_to_do(tmp_path, version, advice):
    commit(tmp_path, [add_shard(tmp_path, "a")])
    path = forge(tmp_path, lambda c: c.update(schema_version=version))
    with pytest.raises(UnknownVersion, match=advice) as caught:
        open_snapshot(tmp_path)
    assert str(path) in str(caught.value)
    assert repr(version) in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a": 1}', b"[" * 100_000])
def test_a_snapshot_that_is_not_a_sealed_json_is_refused(tmp_path, data):
    commit(tmp_path, [add_shard(tmp_path, "a")])
    path = tmp_path / "snapshots" / "00000001.json"
    path.write_bytes(data)
    with pytest.raises(Damaged, match=str(path)):
        Store(tmp_path).current()


def test_a_damaged_newest_snapshot_is_not_silently_skipped(tmp_path):
    a = add_shard(tmp_path, "a")
    commit(tmp_path, [a], parent=commit(tmp_path, [a]))
    path = tmp_path / "snapshots" / "00000002.json"
    path.write_bytes(path.read_bytes().replace(b"facemesh", b"facemash"))
    with pytest.raises(Damaged, match=r"00000002\.json.*checksum"):
        open_snapshot(tmp_path)
    assert open_snapshot(f"{tmp_path}@1").number == 1


def test_a_damaged_reject_list_is_named(tmp_path):
    info = add_shard(tmp_path, "a", rejects=1)
    snapshot = commit(tmp_path, [info])
    path = tmp_path / info.rejects_file
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Damaged, match=str(path)):
        snapshot.rejects()


def test_a_damaged_newest_snapshot_names_the_way_out(tmp_path):
    first = commit(tmp_path, [add_shard(tmp_path, "a")])
    commit(tmp_path, [add_shard(tmp_path, "a"), add_shard(tmp_path, "b", first=8)], parent=first)
    newest = tmp_path / "snapshots" / "00000002.json"
    newest.write_text(newest.read_text()[:-20])
    with pytest.raises(Damaged, match=r"00000002\.json, or delete it to fall back to snapshot 1, then build again"):
        Store(tmp_path).current()
    newest.unlink()
    assert Store(tmp_path).current().number == 1
