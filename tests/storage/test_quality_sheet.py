"""The sheet for judging the quality gate: which samples are on it, in which order, and what is drawn on them."""

import numpy as np
import pytest

from storage.config import StoreConfig
from storage.quality_sheet import COLUMNS, TEXT, TILE, depth_lines, quality_sheet, quality_table
from storage.snapshot import Store
from storage.writer import shard_writer
from tests.fixtures.samples import depth_map, make_samples, reject_row


@pytest.fixture
def snapshot(tmp_path):
    """Four live frames of two views each, on two shards, and two rejects, one of which was judged."""
    infos = []
    for first in (8, 0):
        with shard_writer(tmp_path, f"s{first}", StoreConfig(), {}) as writer:
            writer.write(make_samples(8, first=first))
            writer.reject(reject_row(first, reason="low-quality") | {"quality": 0.2 if first else None})
        infos.append(writer.info)
    return Store(tmp_path).commit(infos, parent=None, config={}, lineage={})


def test_every_live_frame_is_listed_once_the_worst_first(snapshot):
    table = quality_table(snapshot)
    samples = [s for s in make_samples(16) if s.columns["label"] == 0 and s.columns["view"] == 0]
    assert table["path"].to_pylist() == [s.columns["path"] for s in samples]  # their quality rises with their number
    assert table["row"].to_pylist() == [8, 12, 0, 4]


def test_the_sheet_shows_as_many_of_the_worst_as_asked_for(snapshot):
    one, all_four = quality_sheet(snapshot, worst=1), quality_sheet(snapshot)
    assert one.size == all_four.size
    pixels = np.asarray(all_four)
    tops = pixels.shape[0] - TILE - TEXT
    shown = [pixels[tops : tops + TILE, i * TILE : (i + 1) * TILE].std() > 10 for i in range(COLUMNS)]
    assert shown == [True] * 4 + [False] * 6
    assert (np.asarray(one)[tops : tops + TILE, TILE:] == 255).all()


def test_rejected_faces_are_counted_in_red(snapshot):
    head = np.asarray(quality_sheet(snapshot))[:130, : COLUMNS * TILE // 5].astype(int)
    red = (head[..., 0] - head[..., 1] > 100).any(axis=0)
    assert np.flatnonzero(red).mean() == pytest.approx(4 + 0.225 * 280, abs=8)  # at 0.2


def test_a_store_without_judged_samples_has_an_empty_sheet(tmp_path):
    with shard_writer(tmp_path, "s", StoreConfig(), {}) as writer:
        writer.write(make_samples(4)[2:])  # spoofs
    snapshot = Store(tmp_path).commit([writer.info], parent=None, config={}, lineage={})
    assert len(quality_table(snapshot)) == 0
    assert quality_sheet(snapshot).height > 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lines_follow_the_depth_of_either_type_and_leave_the_picture_alone(dtype):
    depth = depth_map(np.random.default_rng(0), 64, dtype)
    image = np.full((64, 64, 3), 100, np.uint8)
    marked = depth_lines(image, depth)
    green = (marked == (0, 255, 0)).all(axis=2)
    assert (image == 100).all()
    assert 0.05 < green.mean() < 0.5
    outline = (depth[1:-1, 1:-1] > 0) & (depth[1:-1, 2:] == 0)
    assert green[1:-1, 1:-1][outline].all()
