"""Forgetting and vacuuming: nothing of a person is left in any byte, everybody else stays, and readers never notice."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage.build_lock import StoreBusy, build_lock
from storage.config import StoreConfig
from storage.erase import forget
from storage.errors import StoreError
from storage.location import SNAPSHOTS
from storage.media_list import MEDIA_COLUMNS
from storage.snapshot import Store, open_snapshot
from storage.vacuum import parse_age, vacuum
from storage.verify import verify
from storage.writer import shard_writer
from tests.fixtures.samples import make_samples, reject_row

ROOT = Path(__file__).parents[2]
WHO = "demo/1"  # samples 8 to 15 of the fixture


def add(root, name, first, n, rejected=()):
    """A shard with a list of media that names the subjects of rejects too."""
    samples = make_samples(n, first=first, size=16)
    rejects = [{**reject_row(i), "path": f"Data/train/bad/{i}.png"} for i in rejected]
    with shard_writer(root, name, StoreConfig(), {}) as writer:
        writer.write(samples)
        for row in rejects:
            writer.reject(row)
    media = Store(root).commit([writer.info], parent=Store(root).current(), config={}, lineage={}).media()
    rows = media.drop_columns(["shard", "samples"]).to_pylist()
    for row in rows:
        row["sha256"] = f"{abs(hash(row['path'])):064x}"[:64]
        row["subject"] = row["subject"] or f"demo/{row['path'].split('/')[-1][0]}"
    schema = MEDIA_COLUMNS.remove(MEDIA_COLUMNS.get_field_index("samples"))
    with shard_writer(root, f"{name}-0", StoreConfig(), {}, type(media).from_pylist(rows, schema=schema)) as writer:
        writer.write(samples)
        for row in rejects:
            writer.reject(row)
    return writer.info


@pytest.fixture
def store(tmp_path):
    """Three snapshots; the subject is in the second and third, in a reject list, and in two kinds of orphans."""
    root = tmp_path / "store"
    a = add(root, "a", 0, 12, rejected=[0, 1])
    b = add(root, "b", 12, 12)
    target = Store(root)
    lineage = {"sources": [{"dataset": "demo", "ignored": [["Data/train/0004/notes.txt", "x"], ["other.txt", "y"]]}]}
    for number in target.numbers():
        (root / SNAPSHOTS / f"{number:08d}.json").unlink()
    first = target.commit([a], parent=None, config={}, lineage=lineage)
    target.commit([a, b], parent=first, config={}, lineage=lineage)
    (root / "shards" / ".x.h5.0123.part.h5").write_bytes(b"half a picture of demo/1")
    (root / "sheet.png").write_bytes(b"somebody drew it here")
    return root


def subjects(snapshot):
    return set(snapshot.columns(["subject"])["subject"].to_pylist())


def test_nothing_of_a_subject_is_left_and_everybody_else_stays(store):
    before = open_snapshot(store).columns(["sample_id", "subject"]).to_pylist()
    done = forget(store, subject=WHO)
    now = open_snapshot(store)
    assert (done.traces, done.unknown) == ([], ["sheet.png"])
    assert (done.media, done.samples, done.shards_rewritten) == (5, 8, 2)  # four media and a reject
    assert now.number == done.snapshot == 3
    left = now.columns(["sample_id", "subject"]).to_pylist()
    assert left == [row for row in before if row["subject"] != WHO]
    assert Store(store).numbers() == [3]
    assert "demo/1" not in now.lineage["samples"]["subject"]
    assert now.lineage["sources"][0]["ignored"] == [["other.txt", "y"]]
    assert [row["path"] for row in now.rejects().to_pylist()] == ["Data/train/bad/0.png"]
    assert verify(store).ok
    assert verify(store).orphans == []  # all of them showed the subject, or were halves of shards
    for file in store.rglob("*"):
        if file.is_file():
            assert b"demo/1" not in file.read_bytes()
            if file.suffix == ".parquet":
                assert "demo/1" not in str(pq.read_table(file, partitioning=None).to_pylist())
    with pytest.raises(StoreError, match="nothing here is of subject demo/1"):
        forget(store, subject=WHO)


def test_media_are_forgotten_by_a_pattern(store):
    done = forget(store, path="Data/train/000[45]/*")
    assert (done.media, done.traces) == (2, [])
    assert not [p for p in open_snapshot(store).media()["path"].to_pylist() if "/0004/" in p or "/0005/" in p]
    assert subjects(open_snapshot(store)) == {"demo/0", "demo/1", "demo/2"}


def test_a_subject_of_a_longer_name_is_somebody_else(store):
    extra = add(store, "c", 80, 8)  # demo/10
    current = open_snapshot(f"{store}@2")
    for number in Store(store).numbers()[2:]:
        (store / SNAPSHOTS / f"{number:08d}.json").unlink()
    Store(store).commit([*current.shards, extra], parent=2, config={}, lineage={})
    assert forget(store, subject=WHO).traces == []
    assert "demo/10" in subjects(open_snapshot(store))


def test_the_scan_finds_what_was_not_removed(store, monkeypatch):
    kept = open_snapshot(f"{store}@1").shards[0]
    real = type(Store(store).root).delete

    def spare(place, name):
        if kept.name not in name:
            real(place, name)

    monkeypatch.setattr(type(Store(store).root), "delete", spare)  # a file system that keeps what it was told to delete
    traces = forget(store, subject=WHO).traces
    assert f"shards/{kept.name}.h5" in traces


@pytest.mark.parametrize("step", range(1, 24, 3))
def test_forgetting_that_was_killed_is_ended_by_the_next(store, step):
    code = (
        "import os, signal, sys\nfrom storage.erase import forget\nleft = [int(sys.argv[2])]\n"
        "def hook(event, args):\n"
        "    if event in ('os.remove', 'os.link', 'os.rename') and sys.argv[1] in str(args[0]):\n"
        "        left[0] -= 1\n"
        "        if left[0] == 0:\n            os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(hook)\nforget(sys.argv[1], subject='demo/1')"
    )
    subprocess.run([sys.executable, "-c", code, str(store), str(step)], cwd=ROOT, check=False)
    assert subjects(open_snapshot(store)) in ({"demo/0", "demo/2"}, {"demo/0", "demo/1", "demo/2"})
    if subjects(open_snapshot(store)) != {"demo/0", "demo/2"} or len(list(store.rglob("*.h5"))) > 2:
        assert forget(store, subject=WHO).traces == []
    assert subjects(open_snapshot(store)) == {"demo/0", "demo/2"}
    assert verify(store).ok
    assert not [file for file in verify(store).orphans if "/b." not in file]


def test_a_name_that_nobody_has_is_an_error_and_takes_nothing(store):
    (store / "shards" / ".x.h5.0123.part.h5").unlink()
    before = sorted(store.rglob("*"))
    with pytest.raises(StoreError, match="nothing here is of subject demo/99"):
        forget(store, subject="demo/99")
    assert {path for path in store.rglob("*") if path.name != ".lock"} == set(before)


def test_neither_is_done_while_a_build_is_running(store):
    with build_lock(Store(store).root), build_lock(Store(store).root):
        with pytest.raises(StoreBusy, match="a build is running"):
            forget(store, subject=WHO)
        with pytest.raises(StoreBusy):
            vacuum(store, timedelta(0))
    assert vacuum(store, timedelta(0)).snapshots == [1]


@pytest.mark.parametrize("options", [{}, {"subject": "a", "path": "b"}])
def test_one_of_subject_and_path_has_to_be_given(store, options):
    with pytest.raises(StoreError, match="either"):
        forget(store, **options)


def test_vacuum_takes_old_snapshots_and_orphans_and_what_only_they_list(store):
    target = Store(store)
    current = target.current()
    target.commit(current.shards[1:], parent=current, config={}, lineage={})
    orphan = store / "shards" / ".x.h5.0123.part.h5"
    os.utime(orphan, (1, 1))
    assert vacuum(store, timedelta(days=1)).files == ["shards/.x.h5.0123.part.h5"]
    young = vacuum(store, timedelta(days=1), dry_run=True)
    assert (young.snapshots, young.files) == ([], [])
    assert vacuum(store, timedelta(0), dry_run=True).snapshots == [1, 2]
    assert target.numbers() == [1, 2, 3]
    gone = vacuum(store, timedelta(0))
    assert gone.snapshots == [1, 2]
    assert {"shards/a-0.h5", "shards/a-0.json", "media/a-0.parquet", "rejects/a-0.parquet"} <= set(gone.files)
    assert gone.nbytes > 1000
    report = verify(store)
    assert report.ok
    assert report.orphans == []
    assert target.numbers() == [3]


@pytest.mark.parametrize(
    ("text", "age"), [("30d", timedelta(days=30)), ("12h", timedelta(hours=12)), ("0d", timedelta(0))]
)
def test_ages(text, age):
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["30", "d", "-1d", "1w", ""])
def test_other_ages_are_refused(text):
    with pytest.raises(StoreError, match="30d or 12h"):
        parse_age(text)
