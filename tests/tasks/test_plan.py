"""Plans: the same work has the same name, and only what changed is done again."""

import json
import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from storage.errors import SnapshotConflict
from storage.snapshot import Snapshot, Store
from storage.verify import verify
from tasks.config import BuildConfig
from tasks.errors import BuildError
from tasks.plan import Attempt, Plan, media_digest, plan_build
from tasks.shard import build_shard
from tasks.sources import Scan, scan
from tests.fixtures.trees import celeba_spoof, folder_tree, save

# two media a shard; the pictures have no faces, so every medium is rejected, and known all the same
CONFIG = BuildConfig.model_validate({"shard_samples": 2, "read": {"n": 2}})


def build(
    scans: Sequence[Scan], store: Path, config: BuildConfig = CONFIG, *, checksum: bool = False
) -> tuple[Plan, Snapshot]:
    target = Store(store)
    current = target.current()
    work = plan_build(scans, current, config, checksum=checksum)
    shards = [*work.keep, *(build_shard(shard, config, store)[0] for shard in work.shards)]
    return work, target.commit(shards, parent=current, config={}, lineage={"pixels": config.pixels()})


def counts(work: Plan) -> dict[str, int]:
    names = ("unchanged", "copied", "again", "new", "changed", "removed", "touched")
    return {name: getattr(work, name) for name in names if getattr(work, name)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder tree and a store of it."""
    base = tmp_path_factory.mktemp("built")
    build([scan("folder", folder_tree(base / "data"))], base / "store")
    return base


@pytest.fixture
def base(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "b", symlinks=True)  # keeps times
    return tmp_path / "b"


def replan(base: Path, config: BuildConfig = CONFIG) -> Plan:
    return plan_build([scan("folder", base / "data")], Store(base / "store").current(), config)


def test_the_same_media_have_the_same_plan_wherever_they_lie(tmp_path: Path) -> None:
    folder_tree(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere" / "b")
    first, second = (plan_build([scan("folder", tmp_path / p)], None, CONFIG) for p in ("a", "elsewhere/b"))
    assert [shard.name for shard in first.shards] == [shard.name for shard in second.shards]
    assert [shard.root for shard in first.shards] != [shard.root for shard in second.shards]


def test_shards_hold_one_dataset_and_split_in_path_order_and_every_medium_once(tmp_path: Path) -> None:
    scans = [scan("folder", folder_tree(tmp_path / "f")), scan("celeba-spoof", celeba_spoof(tmp_path / "c"))]
    work = plan_build(scans, None, CONFIG)
    seen = []
    for shard in work.shards:
        rows = shard.media.to_pylist()
        assert {(row["dataset"], row["split"]) for row in rows} == {(shard.dataset, shard.split)}
        assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
        assert shard.name.startswith(f"{shard.dataset}-{shard.split}-")
        seen += [(row["dataset"], row["path"]) for row in rows]
    assert len(set(seen)) == len(seen) == sum(len(s.media) for s in scans)
    assert counts(work) == {"new": len(seen)}
    order = plan_build(scans[::-1], None, CONFIG)
    assert [shard.name for shard in order.shards] == [shard.name for shard in work.shards]


def test_shards_are_cut_by_samples_not_by_media(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / f"train/live/a/{number}.png", seed=number)
    (tmp_path / "train/live/a/3.mp4").write_bytes(b"x")
    scans = [scan("folder", tmp_path)]

    def sizes(**options: object) -> list[int]:
        return [len(shard.media) for shard in plan_build(scans, None, BuildConfig.model_validate(options)).shards]

    assert sizes(shard_samples=100) == [7]
    assert sizes(shard_samples=4, view={"views": 2}, read={"n": 2}) == [2, 1, 1, 2, 1]  # the video alone is four
    assert sizes(shard_samples=1, read={"n": 8}) == [1] * 7  # a medium is never split


def test_a_plan_travels_to_a_worker_without_the_other_media(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / "train/live/a").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"train/live/a/{number:03}.png").touch()
    shards = plan_build([scan("folder", tmp_path)], None, CONFIG).shards
    assert len(shards) == 100
    assert len(pickle.dumps(shards[0])) < 5000
    assert pickle.loads(pickle.dumps(shards[0])).media.equals(shards[0].media)


def test_nothing_changed_is_nothing_to_do_and_rejected_media_are_known(base: Path) -> None:
    work = replan(base)
    current = Store(base / "store").current()
    assert work.nothing_to_do
    assert counts(work) == {"unchanged": 9}
    assert work.keep == list(current.shards)
    assert current.counts["rejects"] >= 9


def test_a_new_medium_is_built_alone(base: Path) -> None:
    save(base / "data/train/live/dave/9.png", seed=30)
    work = replan(base)
    assert counts(work) == {"unchanged": 9, "new": 1}
    assert [shard.media["path"].to_pylist() for shard in work.shards] == [["train/live/dave/9.png"]]
    assert not work.nothing_to_do


def paths(work: Plan, *, copied: bool) -> list[list[str]]:
    return [shard.media["path"].to_pylist() for shard in work.shards if (shard.origin is not None) == copied]


def test_of_a_shard_with_a_changed_medium_the_others_are_copied(base: Path) -> None:
    save(base / "data/train/live/bob/2.png", seed=31)
    work = replan(base)
    assert counts(work) == {"unchanged": 8, "copied": 1, "changed": 1}
    assert paths(work, copied=True) == [["train/live/alice/monday/1.jpg"]]
    assert paths(work, copied=False) == [["train/live/bob/2.png"]]
    assert work.why == ["1 media with another content"]


def test_a_touched_file_of_the_same_content_is_not_built_again(base: Path) -> None:
    os.utime(base / "data/train/live/bob/2.png", ns=(1, 1))
    work = replan(base)
    assert counts(work) == {"unchanged": 9, "touched": 1}
    assert work.nothing_to_do


def test_a_content_that_kept_size_and_time_is_found_by_checksum_only(base: Path) -> None:
    path = base / "data/train/spoof/hologram/5.bmp"
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert replan(base).nothing_to_do
    work, _ = build([scan("folder", base / "data")], base / "store", checksum=True)
    assert counts(work)["changed"] == 1
    assert paths(work, copied=False) == [["train/spoof/hologram/5.bmp"]]
    assert plan_build([scan("folder", base / "data")], Store(base / "store").current(), CONFIG, checksum=True).why == []


def test_a_removed_medium_leaves_its_shard_without_a_look_at_its_neighbours(base: Path) -> None:
    (base / "data/train/live/bob/2.png").unlink()
    (base / "data/train/live/alice/monday/1.jpg").write_bytes(b"")  # a build of it would tell
    os.utime(base / "data/train/live/alice/monday/1.jpg", ns=(1, 1))
    work = plan_build([scan("folder", base / "data")], Store(base / "store").current(), CONFIG)
    assert counts(work) == {"unchanged": 7, "changed": 1, "removed": 1}
    save(base / "data/train/live/alice/monday/1.jpg", seed=1)
    work, snapshot = build([scan("folder", base / "data")], base / "store")
    assert counts(work) == {"unchanged": 8, "copied": 1, "removed": 1, "touched": 1}
    assert paths(work, copied=True) == [["train/live/alice/monday/1.jpg"]]
    assert paths(work, copied=False) == []
    assert len(snapshot.media()) == 8
    assert replan(base).nothing_to_do  # the copy knows the new time
    assert counts(replan(base)) == {"unchanged": 8}


def test_removing_all_media_of_a_shard_is_something_to_do(base: Path) -> None:
    for path in ("test/live/carol/clip.mp4", "test/spoof/3d-mask/7.tif"):
        (base / "data" / path).unlink()
    shutil.rmtree(base / "data/test")
    work = replan(base)
    assert not work.shards
    assert not work.nothing_to_do
    assert counts(work) == {"unchanged": 7, "removed": 2}


def test_a_dataset_that_is_no_longer_given_is_removed(base: Path, tmp_path: Path) -> None:
    work = plan_build([scan("celeba-spoof", celeba_spoof(tmp_path / "c"))], Store(base / "store").current(), CONFIG)
    assert counts(work) == {"new": 9, "removed": 9}
    assert work.keep == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"seed": 1}, ["seed 0→1"]),
        ({"view": {"views": 2}}, ["view.views 1→2"]),
        ({"depth": {"dtype": "uint16"}}, ["depth.dtype uint8→uint16"]),
        ({"detect": {"min_score": 0.9}}, ["detect.min_score 0.75→0.9"]),
        ({"store": {"format": "parquet"}}, ["store.format hdf5→parquet"]),
        ({"detect": {"detector": "given"}}, ["detector retinaface→given"]),
        ({"batch": 3}, []),  # how frames go through the networks
        ({"shard_samples": 100}, []),  # how samples are cut; old shards stay as they are
        ({"align": {"aligner": "facemesh"}}, []),  # what `auto` is here
    ],
)
def test_a_config_that_changes_samples_rebuilds_says_why_and_no_other_does(
    base: Path, options: dict, why: list[str]
) -> None:
    config = BuildConfig.model_validate({**CONFIG.model_dump(), **options, "read": {"n": 2}})
    work = replan(base, config)
    assert counts(work) == ({"again": 9} if why else {"unchanged": 9})
    assert work.why == why


def test_the_next_snapshot_equals_one_built_at_once(base: Path, tmp_path: Path) -> None:
    save(base / "data/train/live/bob/2.png", seed=31)
    (base / "data/train/spoof/6.jpg").unlink()
    save(base / "data/dev/live/erin/1.png", seed=32)
    scans = [scan("folder", base / "data")]
    _, refreshed = build(scans, base / "store")
    _, fresh = build(scans, tmp_path / "fresh")
    columns = ["dataset", "path", "size", "mtime_ns"]
    key = [(name, "ascending") for name in columns[:2]]
    assert refreshed.media().select(columns).sort_by(key).equals(fresh.media().select(columns).sort_by(key))
    assert replan(base).nothing_to_do


def test_a_new_label_in_the_json_rebuilds_its_medium_alone(tmp_path: Path) -> None:
    root = celeba_spoof(tmp_path / "c")
    build([scan("celeba-spoof", root)], tmp_path / "store")
    file = root / "metas/intra_test/train_label.json"
    entries = json.loads(file.read_text())
    entries["Data/train/4980/spoof/000003.jpg"][40] = 9
    file.write_text(json.dumps(entries))
    work = plan_build([scan("celeba-spoof", root)], Store(tmp_path / "store").current(), CONFIG)
    assert counts(work)["changed"] == 1
    assert paths(work, copied=False) == [["Data/train/4980/spoof/000003.jpg"]]
    assert work.why == ["1 media with other labels or boxes"]


def test_the_digest_of_media_covers_every_column(tmp_path: Path) -> None:
    media = scan("celeba-spoof", celeba_spoof(tmp_path)).media
    assert media_digest(media) == media_digest(media.slice(0))
    seen = {media_digest(media)}
    rows = media.to_pylist()
    others = {"label": 1, "size": 1, "mtime_ns": 1, "box": [1, 2, 3, 4.5], "box_frame": [1, 2], "points": [0.0] * 10}
    for name in media.schema.names:
        changed = [{**rows[0], name: others.get(name, "other")}, *rows[1:]]
        seen.add(media_digest(media.from_pylist(changed, schema=media.schema)))
    assert len(seen) == 1 + len(media.schema.names)


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    scans = [scan("folder", folder_tree(tmp_path / name)) for name in ("a", "b")]
    with pytest.raises(BuildError, match="give one of them another dataset name"):
        plan_build(scans, None, CONFIG)
    renamed = scan("folder", tmp_path / "b", dataset="office")
    assert plan_build([scans[0], renamed], None, CONFIG).new == 18


@pytest.mark.parametrize(
    "options", [{"detect": {"weights": "/nowhere/w.onnx"}}, {"align": {"face_landmarker": "/nowhere/face.task"}}]
)
def test_missing_weights_are_an_error_before_any_work(tmp_path: Path, options: dict) -> None:
    with pytest.raises(BuildError, match="/nowhere"):
        plan_build([scan("folder", folder_tree(tmp_path))], None, BuildConfig.model_validate(options))


def test_options_that_do_not_go_together_are_an_error_before_any_work() -> None:
    with pytest.raises(BuildError, match="z-over-max needs"):
        BuildConfig.model_validate({"depth": {"normalize": "z-over-max"}}).digest()


@pytest.mark.parametrize("lost", ["shards/*.h5", "shards/*.json", "rejects/*"])
def test_shards_whose_files_are_lost_are_built_again_under_their_names(base: Path, lost: str) -> None:
    before = Store(base / "store").current()
    for path in (base / "store").glob(lost):
        path.unlink()
    work = replan(base)
    assert counts(work) == {"again": 9}
    assert not work.keep
    assert len(work.damaged) == len(before.shards)
    assert sorted(shard.name for shard in work.shards) == sorted(shard.name for shard in before.shards)
    build([scan("folder", base / "data")], base / "store")
    assert replan(base).nothing_to_do
    assert verify(base / "store").ok


def test_one_damaged_reject_list_costs_one_shard(base: Path) -> None:
    path = sorted((base / "store/rejects").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    work = replan(base)
    assert [shard.name for shard in work.shards] == [path.stem]
    assert str(path) in work.damaged[0]
    build([scan("folder", base / "data")], base / "store")
    assert verify(base / "store").ok


def test_a_lost_shard_of_removed_media_is_something_to_do(base: Path) -> None:
    shutil.rmtree(base / "data/test")
    for path in (base / "store/shards").glob("folder-test-*.h5"):
        path.unlink()
    work = replan(base)
    assert not work.shards
    assert not work.nothing_to_do


def test_a_medium_that_could_not_be_read_is_tried_again_when_it_can(tmp_path: Path) -> None:
    picture = save(tmp_path / "data/train/live/a/1.png", seed=1)
    link = picture.with_name("2.png")
    link.symlink_to(tmp_path / "disk/2.png")  # on a disk that is not mounted
    scans = [scan("folder", tmp_path / "data")]
    _, snapshot = build(scans, tmp_path / "store")
    assert sorted(snapshot.rejects()["reason"].to_pylist()) == ["missing", "no-face"]
    assert replan(tmp_path).nothing_to_do  # still not there
    save(tmp_path / "disk/2.png", seed=2)
    os.utime(tmp_path / "disk/2.png", ns=(1, link.lstat().st_mtime_ns))
    work, snapshot = build(scans, tmp_path / "store")  # the scan from before: same size, same time
    assert counts(work) == {"unchanged": 1, "copied": 1, "changed": 1}
    assert snapshot.rejects()["reason"].to_pylist() == ["no-face", "no-face"]


def test_media_that_another_build_committed_meanwhile_are_neither_lost_nor_doubled(base: Path) -> None:
    data, store = base / "data", base / "store"
    start = Store(store).current()
    # we: a removed, a changed and two new media; the other: one of the new ones, and one that we have never seen
    (data / "train/spoof/6.jpg").unlink()
    save(data / "train/live/bob/2.png", seed=31)
    save(data / "train/live/new/1.png", seed=32)
    save(data / "train/live/new/2.png", seed=33)
    ours = [scan("folder", data)]
    other = base / "other"
    shutil.copytree(data, other)  # keeps times
    (other / "train/live/new/2.png").unlink()
    save(other / "train/live/theirs.jpg", seed=34)
    theirs = [scan("folder", other)]

    work = plan_build(ours, start, CONFIG)
    built = [build_shard(shard, CONFIG, store)[0] for shard in work.shards]
    build(theirs, store)
    with pytest.raises(SnapshotConflict):
        Store(store).commit([*work.keep, *built], parent=start, config={}, lineage={})
    current = Store(store).current()
    again = plan_build(ours, current, CONFIG, overtaken=Attempt(work.known, built))
    assert not paths(again, copied=False), "nothing is built a second time"
    shards = [*again.keep, *(build_shard(shard, CONFIG, store)[0] for shard in again.shards)]
    merged = Store(store).commit(shards, parent=current, config={}, lineage={})
    found = sorted(merged.media()["path"].to_pylist())
    assert found == sorted([*ours[0].media["path"].to_pylist(), "train/live/theirs.jpg"])
    assert verify(store).ok
