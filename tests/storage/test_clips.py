"""Clips are found by frame numbers alone, whatever the order of the rows and whatever was rejected."""

import numpy as np
import pyarrow as pa
import pytest

from storage.clips import clips_of


def table(rows: list[tuple[str, int, int]], shuffle: int | None = None) -> pa.Table:
    """Rows (path, view, frame)."""
    if shuffle is not None:
        rows = [rows[i] for i in np.random.default_rng(shuffle).permutation(len(rows))]
    return pa.table(
        {
            "dataset": ["d"] * len(rows),
            "path": [row[0] for row in rows],
            "view": pa.array([row[1] for row in rows], pa.int16()),
            "frame": pa.array([row[2] for row in rows], pa.int32()),
        }
    )


def frames(made: pa.Table, **how) -> set[tuple]:
    found = clips_of(made, **how)
    assert len(set(found.ravel().tolist())) == found.size  # no row twice
    names, views, numbers = (np.array(made[name].to_pylist()) for name in ("path", "view", "frame"))
    for clip in found:
        assert len(set(names[clip])) == len(set(views[clip])) == 1
    return {(str(names[clip[0]]), int(views[clip[0]]), *numbers[clip].tolist()) for clip in found}


def test_five_frames_three_apart_are_clips_of_each_video_and_view():
    kept = [0, 3, 6, 9, 12, 50, 53, 56, 59, 62]
    made = table([(path, view, n) for path in ("a.mov", "b.mov") for view in (0, 1) for n in kept], shuffle=1)
    expected = {(p, v, *clip) for p in ("a.mov", "b.mov") for v in (0, 1) for clip in (kept[:5], kept[5:])}
    assert frames(made, frames=5, interval=3) == expected


def test_all_frames_of_a_video_make_as_many_clips_as_fit():
    made = table([("a", 0, n) for n in range(30)], shuffle=2)
    found = frames(made, frames=5, interval=3)
    assert len(found) == 6
    assert ("a", 0, 1, 4, 7, 10, 13) in found
    assert ("a", 0, 16, 19, 22, 25, 28) in found


def test_a_rejected_frame_costs_the_clip_that_needs_it_and_no_other():
    kept = [0, 3, 6, 12, 50, 53, 56, 59, 62]  # 9 had no face
    assert frames(table([("a", 0, n) for n in kept]), frames=5, interval=3) == {("a", 0, 50, 53, 56, 59, 62)}


@pytest.mark.parametrize("rows", [[], [("a", 0, 0)], [("a", 0, 0), ("b", 0, 3), ("c", 0, 6)]])
def test_pictures_make_no_clips(rows):
    assert clips_of(table(rows), frames=2, interval=3).shape == (0, 2)


def test_a_clip_of_one_frame_is_every_row():
    made = table([("a", 0, n) for n in (0, 7, 9)])
    assert clips_of(made, frames=1, interval=1).tolist() == [[0], [1], [2]]
