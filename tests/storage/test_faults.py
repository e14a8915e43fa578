"""Killed, interrupted and starved builds: what is there afterwards is whole, and going on gives the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.atomic import PartFile, to_disk
from storage.config import StoreConfig
from storage.errors import Damaged, StoreError
from storage.reader import open_shard
from storage.rewrite import copy_media
from storage.snapshot import Store
from storage.verify import verify
from storage.writer import existing_shard, shard_writer
from tests.fixtures.files import no_file_longer_than, pages_in_memory
from tests.fixtures.samples import make_samples, reject_row
from tests.storage.build_and_die import build

ROOT = Path(__file__).parents[2]


def visible(root):
    """Files under final names, without the temporary ones of a killed writer."""
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and p.suffix and p.name[0] != "."
    }


def shard_sums(snapshot):
    return [(s.name, s.sha256, s.rejects_sha256) for s in snapshot.shards]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "first"), [("hdf5", "1"), ("parquet", "2")]
)  # same steps: odd in one, even in the other
def test_a_build_killed_before_any_file_system_step_goes_on_to_the_same_store(tmp_path, format, first):
    undisturbed = build(tmp_path / "undisturbed", format)
    command = [sys.executable, "-m", "tests.storage.build_and_die", str(tmp_path / "killed"), format, first]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    killed = sorted((tmp_path / "killed").iterdir(), key=lambda path: int(path.name))
    assert len(killed) > 15
    for root in killed:
        for name in ("s0", "s1"):  # what stands under a final name is whole
            for path in (root / "shards").glob(f"{name}.[hp]*"):
                open_shard(path).check()
        snapshot = build(root, format)
        assert shard_sums(snapshot) == shard_sums(undisturbed)
        # a committer that died right after publishing left its temporary name; the next commit sweeps it
        Store(root).commit(snapshot.shards, parent=snapshot, config={}, lineage={})
        report = verify(root)
        assert report.ok, report.problems
        assert report.orphans == []
        shards = {k: v for k, v in visible(root).items() if not k.startswith("snapshots")}
        assert shards == {k: v for k, v in visible(tmp_path / "undisturbed").items() if not k.startswith("snapshots")}


@pytest.mark.slow
@pytest.mark.parametrize(("format", "seed"), [("hdf5", 1), ("parquet", 2)])
def test_builds_and_refreshes_killed_at_random_times_end_with_the_same_content(tmp_path, format, seed):
    command = [sys.executable, "-m", "tests.storage.build_and_die", str(tmp_path), format, "random", str(seed), "55"]
    done = subprocess.run(command, cwd=ROOT, check=True, timeout=600, capture_output=True, text=True)
    assert int(done.stdout) >= 55
    undisturbed = Store(tmp_path / "undisturbed").current()
    expected = undisturbed.columns(["sample_id"])["sample_id"].to_pylist()
    stores = sorted(tmp_path.glob("killed-*"))
    assert stores
    for root in stores:
        snapshot = Store(root).current()
        assert shard_sums(snapshot) == shard_sums(undisturbed)
        assert snapshot.columns(["sample_id"])["sample_id"].to_pylist() == expected
        assert len(set(expected)) == len(expected)
        report = verify(root)
        assert report.ok, report.problems
        # what a reader sees has no orphans; a temporary name of the last kill may lie there until the next commit
        assert all("/." in name for name in report.orphans), report.orphans


@pytest.mark.parametrize("format", ["hdf5", "parquet"])
def test_a_disk_that_is_full_at_the_commit_or_in_a_copy_leaves_the_store_as_it_was(tmp_path, format):
    current = build(tmp_path, format)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with no_file_longer_than(100):
        with pytest.raises(StoreError, match=r"00000002\.json: could not be written.*nothing was committed"):
            Store(tmp_path).commit(current.shards[:1], parent=current, config={}, lineage={})
        with pytest.raises(StoreError, match=r"shards/copy.*could not be written"):
            copy_media(tmp_path, current.shards[0], "copy", current.media_of(current.shards[0]).slice(0, 3))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert Store(tmp_path).current() == current
    assert verify(tmp_path).ok


@pytest.mark.parametrize("format", ["hdf5", "parquet"])
def test_a_build_killed_from_outside_in_mid_write_goes_on_to_the_same_bytes(tmp_path, format):
    undisturbed = build(tmp_path / "undisturbed", format)
    code = (
        "import sys, time\nfrom tests.storage.build_and_die import build\n"
        "def tell():\n    print('batch', flush=True)\n    time.sleep(0.05)\n"
        f"build(sys.argv[1], {format!r}, tell)"
    )
    root = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", code, str(root)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(5):  # the first shard is complete, the second has its first batches
        process.stdout.readline()
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    first = existing_shard(root, "s0")
    assert first is not None
    assert existing_shard(root, "s1") is None
    assert Store(root).current() is None
    assert not (root / "shards" / f"s1{Path(first.file).suffix}").exists()
    assert shard_sums(build(root, format)) == shard_sums(undisturbed)
    assert verify(root).orphans == []


def write_a_shard(root, config):
    with shard_writer(root, "s", config) as writer:
        writer.reject(reject_row())
        for first in range(0, 100, 20):
            writer.write(make_samples(20, first=first))


@pytest.mark.parametrize(
    "config",
    [
        StoreConfig(),
        StoreConfig(image="jpeg", depth="raw"),  # full when depth, which waited, joins the images
        StoreConfig(format="parquet", image="raw"),
    ],
)
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path, config):
    with no_file_longer_than(100_000), pytest.raises(StoreError, match=r"shards/s\..*could not be written"):
        write_a_shard(tmp_path, config)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("format", ["hdf5", "parquet"])
def test_a_disk_that_does_not_keep_what_it_was_given_is_found_before_the_shard_has_its_name(
    tmp_path, monkeypatch, format
):
    def flush_and_rot(part):
        to_disk(part)
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1  # among the pixels
        part.write_bytes(content)

    monkeypatch.setattr("storage.writer.to_disk", flush_and_rot)
    with pytest.raises(Damaged, match=r"s0"):
        build(tmp_path, format)
    assert visible(tmp_path) == {}
    monkeypatch.undo()
    build(tmp_path, format)
    assert verify(tmp_path).ok


def test_what_was_flushed_is_read_from_the_disk(disk):
    path = disk / "file"
    path.write_bytes(bytes(1 << 20))
    assert pages_in_memory(path) == 1 << 20
    to_disk(path)
    assert pages_in_memory(path) == 0
    assert path.read_bytes() == bytes(1 << 20)


def test_leftovers_of_dead_writers_are_swept_and_living_ones_spared(tmp_path):
    final = tmp_path / "shards" / "s.h5"
    alive = PartFile(final)
    dead = final.with_name(".s.h5.00000000.part.h5")
    dead.write_bytes(b"half")
    other = PartFile(final)
    assert alive.path.exists()
    assert not dead.exists()
    alive.path.write_bytes(b"one")
    alive.commit()
    other.discard()
    assert os.listdir(final.parent) == ["s.h5"]
    assert final.read_bytes() == b"one"


def test_an_exclusive_commit_never_replaces(tmp_path):
    final = tmp_path / "00000001.json"
    final.write_bytes(b"first")
    part = PartFile(final)
    part.path.write_bytes(b"second")
    with pytest.raises(FileExistsError):
        part.commit(exclusive=True)
    assert final.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["00000001.json"]


@pytest.mark.parametrize("place", ["/proc/st", "a-file", "a-file/st"])
def test_a_store_that_cannot_be_written_is_one_line_that_names_it(tmp_path, place):
    (tmp_path / "a-file").write_text("")
    root = tmp_path / place
    with pytest.raises(StoreError, match=str(root)) as checked:
        Store(root).check_writable()
    with pytest.raises(StoreError, match=str(root)), shard_writer(root, "s", StoreConfig(), {}):
        pass
    assert "\n" not in str(checked.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named_before_any_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match=str(tmp_path)):
        Store(tmp_path).check_writable()


def test_a_store_that_can_be_written_is_left_empty(tmp_path):
    Store(tmp_path / "new").check_writable()
    assert sorted(p.name for p in (tmp_path / "new").rglob("*")) == ["media", "rejects", "shards", "snapshots"]
    assert Store(tmp_path / "new").current() is None
