"""`verify` finds damage anywhere and names the file."""

import json
from dataclasses import replace

import numpy as np
import pytest

from storage.config import StoreConfig
from storage.errors import Damaged, StoreError
from storage.snapshot import Store
from storage.verify import verify
from storage.writer import shard_writer
from tests.storage.test_snapshot import add_shard, commit, forge


@pytest.fixture
def store(tmp_path):
    infos = [add_shard(tmp_path, "a", rejects=1), add_shard(tmp_path, "b", first=8, format="parquet")]
    commit(tmp_path, infos, parent=commit(tmp_path, infos[:1]))
    return tmp_path


def test_an_intact_store_has_no_problems(store):
    seen = []
    report = verify(store, lambda done, total: seen.append((done, total)))
    assert (report.ok, report.problems, report.orphans) == (True, [], [])
    assert (report.snapshots, report.shards, report.rows) == (2, 2, 16)
    assert seen == [(1, 2), (2, 2)]


def test_a_flipped_byte_in_any_file_is_found_and_named(store):
    files = [path for path in store.rglob("*") if path.is_file()]
    assert len(files) == 9  # two shards, each with ticket and list of media, one reject list, two snapshots
    rng = np.random.default_rng(1)
    for path in files:
        good = path.read_bytes()
        for place in {0, len(good) - 1, *rng.integers(0, len(good), 12).tolist()}:
            bad = bytearray(good)
            bad[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(bad)
            named = {problem.file for problem in verify(store).problems}
            assert named == {path.relative_to(store).as_posix()}, (path, place)
        path.write_bytes(good)
    assert verify(store).ok


def test_a_missing_file_is_found_and_named(store):
    for path in [p for p in store.rglob("*") if p.is_file() and p.parent.name != "snapshots"]:
        data = path.read_bytes()
        path.unlink()
        assert [p.file for p in verify(store).problems] == [path.relative_to(store).as_posix()]
        path.write_bytes(data)


def test_files_that_no_snapshot_lists_are_orphans_not_problems(store):
    (store / "shards" / ".c.h5.0123.part.h5").write_bytes(b"half")
    add_shard(store, "c", first=16)  # its own leftover is swept by its writer
    (store / "shards" / ".d.h5.0123.part.h5").write_bytes(b"half")
    report = verify(store)
    assert report.ok
    assert report.orphans == ["media/c.parquet", "shards/.d.h5.0123.part.h5", "shards/c.h5", "shards/c.json"]


def test_counts_that_differ_from_the_file_are_found(store):
    snapshot = Store(store).current()
    wrong = replace(snapshot.shards[0], live=3, spoof=5)
    with pytest.raises(Damaged, match=r"a\.json: says something else"):
        commit(store, [wrong], parent=snapshot)
    forge(store, lambda content: content["shards"][0].update(live=3, spoof=5), number=2)
    named = {problem.file for problem in verify(store).problems}
    assert named == {"snapshots/00000002.json"}


def test_one_sample_in_two_shards_of_a_snapshot_is_found(tmp_path):
    commit(tmp_path, [add_shard(tmp_path, "a"), add_shard(tmp_path, "b", first=6)])
    (problem,) = verify(tmp_path).problems
    assert problem.file == "shards/b.h5"
    assert "also in shard a" in problem.problem


def test_a_folder_without_a_snapshot_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no committed snapshot"):
        verify(tmp_path)
    with shard_writer(tmp_path, "a", StoreConfig(), {}):
        pass
    with pytest.raises(StoreError, match="no committed snapshot"):
        verify(tmp_path)


def test_a_report_says_what_is_wrong_in_words(store):
    path = store / "shards" / "a.json"
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps(content))  # same content, other white space
    (problem,) = verify(store).problems
    assert "checksum does not fit" in problem.problem


def test_one_snapshot_of_a_store_can_be_asked_for(store):
    assert verify(f"{store}@1").ok
    assert verify(f"{store}@1").snapshots == 2
    (problem,) = verify(f"{store}@7").problems
    assert problem.file == "snapshots/00000007.json"
    assert "there is no snapshot 7" in problem.problem
