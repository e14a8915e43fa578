"""A part of a store is built, and the rest stays as it is; rejects are tried again when somebody asks."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storage.snapshot import Snapshot, Store
from tasks.config import BuildConfig
from tasks.errors import BuildError
from tasks.plan import EVERYTHING, Plan, plan_build
from tasks.selection import Selection
from tasks.shard import build_shard
from tasks.sources import scan
from tests.fixtures.photos import ASTRONAUT, GRACE_HOPPER, photo
from tests.fixtures.trees import save

CONFIG = BuildConfig.model_validate({"shard_samples": 4})
DAY = 86_400_000_000_000
MEDIA = pa.table(
    {
        "dataset": ["a", "a", "b", "b"],
        "split": ["train", "test", "train", "test"],
        "subject": ["a/train_2", "a/train_10", "b/7", None],
        "mtime_ns": [0 * DAY, 1 * DAY, 2 * DAY, 3 * DAY],
    }
)


@pytest.mark.parametrize(
    ("only", "rows"),
    [
        ({}, [0, 1, 2, 3]),
        ({"datasets": ["a"]}, [0, 1]),
        ({"datasets": ["a"], "splits": ["test"]}, [1]),
        ({"subjects": ["a/*"]}, [0, 1]),
        ({"subjects": ["a/train_3..a/train_10"]}, [1]),  # by number, not by letters
        ({"subjects": ["a/train_1..a/train_9", "b/7"]}, [0, 2]),
        ({"since": datetime(1970, 1, 2, tzinfo=UTC)}, [1, 2, 3]),
        ({"since": "1970-01-02", "until": "1970-01-03"}, [1]),  # the end is not in it; no zone is UTC
        ({"datasets": ["c"]}, []),
    ],
)
def test_conditions_are_all_to_be_met_and_of_their_values_any(only: dict[str, Any], rows: list[int]) -> None:
    assert Selection.model_validate(only).fits(MEDIA).nonzero()[0].tolist() == rows


def build(root: Path, store: Path, only: Selection = EVERYTHING, config: BuildConfig = CONFIG) -> tuple[Plan, Snapshot]:
    target = Store(store)
    current = target.current()
    work = plan_build([scan("folder", root)], current, config, only=only)
    shards = [*work.keep, *(build_shard(shard, config, store)[0] for shard in work.shards)]
    return work, target.commit(shards, parent=current, config={}, lineage={"pixels": config.pixels()})


def held(snapshot: Snapshot) -> list[str]:
    return sorted(snapshot.columns(["path"])["path"].to_pylist())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    save(root / "train/live/eileen/1.png", photo(ASTRONAUT))
    save(root / "train/spoof/print/eileen/2.png", photo(ASTRONAUT)[:, 40:])
    save(root / "test/live/grace/3.png", photo(GRACE_HOPPER))
    save(root / "test/spoof/print/grace/4.png")  # no face
    return root


def test_a_split_is_built_and_later_the_rest_comes_beside_it(tree: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first, snapshot = build(tree, store, Selection(splits=["train"]))
    assert (first.new, first.removed) == (2, 0)
    assert held(snapshot) == ["train/live/eileen/1.png", "train/spoof/print/eileen/2.png"]
    names = {shard.name for shard in snapshot.shards}
    second, snapshot = build(tree, store)
    assert (second.new, second.unchanged) == (2, 2)
    assert names < {shard.name for shard in snapshot.shards}
    assert len(held(snapshot)) == 3


def test_what_is_not_selected_is_neither_removed_nor_built(tree: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    build(tree, store)
    for gone in ("train/live/eileen/1.png", "test/live/grace/3.png"):
        (tree / gone).unlink()
    save(tree / "train/live/eileen/5.png", photo(ASTRONAUT)[40:])
    work, snapshot = build(tree, store, Selection(subjects=["folder/grace"]))
    assert (work.removed, work.new) == (1, 0)
    assert held(snapshot) == ["train/live/eileen/1.png", "train/spoof/print/eileen/2.png"]
    work, snapshot = build(tree, store)
    assert (work.removed, work.new) == (1, 1)
    assert held(snapshot) == ["train/live/eileen/5.png", "train/spoof/print/eileen/2.png"]


def test_a_part_is_not_built_with_other_settings_than_the_rest(tree: Path, tmp_path: Path) -> None:
    store, other = tmp_path / "store", BuildConfig.model_validate({"shard_samples": 4, "view": {"margin": 1.5}})
    build(tree, store)
    with pytest.raises(BuildError, match=r"other settings \(view.margin 1.2→1.5\)"):
        build(tree, store, Selection(splits=["train"]), other)
    work, _ = build(tree, store, Selection(splits=["train", "test"]), other)
    assert work.again == 4, "a selection that happens to be everything mixes nothing"


def test_rejects_are_tried_again_when_asked_though_no_file_has_changed(tree: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    _, before = build(tree, store)
    assert before.rejects()["path"].to_pylist() == ["test/spoof/print/grace/4.png"]
    assert plan_build([scan("folder", tree)], before, CONFIG).nothing_to_do
    work, after = build(tree, store, Selection(failed=True))
    assert [len(plan.media) for plan in work.shards if plan.origin is None] == [1]
    assert (work.again, work.copied, work.new, work.removed) == (1, 1, 0, 0)
    assert held(after) == held(before)
    assert after.rejects()["path"].to_pylist() == ["test/spoof/print/grace/4.png"], "nothing was fixed"


def test_without_a_store_nothing_has_failed(tree: Path) -> None:
    assert plan_build([scan("folder", tree)], None, CONFIG, only=Selection(failed=True)).shards == []
