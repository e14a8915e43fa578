"""A face is followed between two looks at it, and looked at again where it moved."""

from pathlib import Path

import numpy as np
import pytest

from storage.reader import open_shard
from storage.shard_info import ShardInfo
from tasks.config import BuildConfig
from tasks.follow import follow, overlap
from tasks.plan import plan_build
from tasks.shard import build_shard
from tasks.sources import scan
from tests.fixtures.photos import ASTRONAUT, photo
from tests.fixtures.trees import video


def at(x: float) -> np.ndarray:
    return np.array([x, 0, x + 100, 100], np.float32)


class Looker:
    """Knows where the face is in every frame, and notes what it was asked for."""

    def __init__(self, xs: list[float | None]) -> None:
        self.xs = xs
        self.calls: list[list[int]] = []

    def __call__(self, frames):
        self.calls.append(list(frames))
        return [None if self.xs[frame] is None else at(self.xs[frame]) for frame in frames]


@pytest.mark.parametrize(
    ("xs", "looked", "between"),
    [
        ([0, 1, 2, 3, 4], {0, 4}, [(1, 0, 4), (2, 0, 4), (3, 0, 4)]),  # calm: the ends are enough
        ([0, 0, 0, 50, 50], {0, 2, 3, 4}, [(1, 0, 2)]),  # it jumped between 2 and 3
        ([0, 30, 60, 90, 120], {0, 1, 2, 3, 4}, []),  # fast: every frame is looked at
        ([0, 1, 2, 3, None], {0, 2, 3, 4}, [(1, 0, 2)]),  # lost at the end
        ([None] * 5, {0, 1, 2, 3, 4}, []),  # never there
        ([7], {0}, []),
        ([7, 8], {0, 1}, []),
    ],
)
def test_only_where_the_face_moved_is_it_looked_at_again(xs, looked, between):
    looker = Looker(xs)
    assert follow([range(len(xs))], looker, 0.7) == between
    asked = [frame for call in looker.calls for frame in call]
    assert sorted(asked) == sorted(looked)  # each once


def test_all_runs_share_each_call_of_the_detector():
    looker = Looker([0, 1, 2, 3, 0, 90, 180, 270])
    follow([range(4), range(4, 8)], looker, 0.7)
    assert looker.calls == [[0, 3, 4, 7], [5], [6]]


def test_overlap_is_intersection_over_union():
    assert overlap(at(0), at(0)) == 1
    assert overlap(at(0), at(50)) == pytest.approx(1 / 3)
    assert overlap(at(0), at(100)) == 0
    assert overlap(at(0), None) == 0


def film(path: Path, offsets: list[int]) -> Path:
    """A portrait that moves sideways by `offsets`, in px."""
    portrait = photo(ASTRONAUT)[:256, 100:420]
    return video(path, [np.roll(portrait, offset, axis=1) for offset in offsets], codec="libx264")


def build(root: Path, store: Path, **settings: object) -> tuple[ShardInfo, list[dict]]:
    config = BuildConfig.model_validate({"read": {"frames": "all"}, "view": {"size": 64}, **settings})
    [plan] = plan_build([scan("folder", root)], None, config).shards
    info = build_shard(plan, config, store)[0]
    return info, open_shard(store / info.file).columns().to_pylist()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face that drifts for 12 frames and then jumps to the other side, and one that sits still; both spoofs."""
    root = tmp_path_factory.mktemp("films")
    film(root / "train/spoof/replay/a.mp4", [*range(0, 24, 2), *range(-80, -72)])
    film(root / "train/spoof/replay/b.mp4", [0] * 7)
    return root


def test_a_build_looks_at_few_frames_and_finds_the_same_faces(root: Path, tmp_path: Path) -> None:
    _, every = build(root, tmp_path / "every")
    _, followed = build(root, tmp_path / "followed", detect={"every": 5})
    assert [(row["path"], row["frame"]) for row in followed] == [(row["path"], row["frame"]) for row in every]
    sources = [row["box_source"] for row in followed]
    assert sources.count("followed") >= 12
    assert set(sources) == {"followed", "retinaface"}
    for one, other in zip(followed, every, strict=True):
        assert overlap(np.array(one["box"]), np.array(other["box"])) > 0.9
        if one["box_source"] == "followed":
            assert np.isnan(one["score"])
            assert np.abs(np.array(one["points"]) - np.array(other["points"])).max() < 5  # of a face of 100 px


def test_the_bytes_do_not_depend_on_the_batch_size(root: Path, tmp_path: Path) -> None:
    shards = [build(root, tmp_path / str(batch), detect={"every": 5}, batch=batch)[0] for batch in (1, 7, 64)]
    assert len({shard.sha256 for shard in shards}) == 1


def test_the_frames_of_a_clip_share_the_draw_of_a_view(root: Path, tmp_path: Path) -> None:
    # a face that sits still: crops of a view differ only as far as views are drawn anew for each frame
    for frames, same in (("clips", True), ("all", False)):
        read = {"frames": frames, "n": 1, "clip_frames": 3, "clip_interval": 2}
        _, rows = build(root, tmp_path / frames, read=read, view={"size": 64, "views": 2})
        crops = np.array([row["crop"] for row in rows if row["path"].endswith("b.mp4") and row["view"] == 1])
        assert len(crops) >= 3
        assert (np.abs(crops - crops[0]).max(axis=0)[:2].max() < 0.02) == same
