"""Depth maps: the range belongs to the face, not to what the crop shows of it."""

import numpy as np
import pytest

from prnet.rasterize import rasterize
from tasks.depth import DepthConfig, depth_map
from tasks.errors import MediumError

CONFIG = DepthConfig()


def dome(radius: float = 30, centre: tuple[float, float] = (50, 50), n: int = 21) -> tuple[np.ndarray, np.ndarray]:
    """A grid over a square with z = a hill; offset and scale of z are arbitrary, as an aligner's are."""
    ys, xs = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    z = (1 - (xs**2 + ys**2) / 2) * radius - 77
    vertices = np.stack([xs * radius + centre[0], ys * radius + centre[1], z], -1).reshape(-1, 3)
    i = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    triangles = np.concatenate([np.stack([i, i + 1, i + n], 1), np.stack([i + 1, i + n + 1, i + n], 1)])
    return vertices.astype(np.float32), triangles.astype(np.int32)


def test_nearest_is_brightest_farthest_is_one_and_background_is_zero() -> None:
    depth = depth_map(*dome(), 101, CONFIG)
    assert depth.dtype == np.uint8
    assert depth.shape == (101, 101)
    assert depth[50, 50] == depth.max() == 255
    assert depth[20, 20] == 1  # a corner: the farthest vertex, still not background
    assert (depth[:19] == 0).all()
    assert (depth > 0).sum() == 61 * 61


def test_a_shift_or_a_narrower_crop_never_rescales_depth() -> None:
    vertices, triangles = dome()
    whole = depth_map(vertices, triangles, 101, CONFIG)
    cut = depth_map(vertices - [35, 12, 0], triangles, 40, CONFIG)  # shows neither the farthest nor all of the hill
    assert np.array_equal(cut, whole[12:52, 35:75])


def test_scale_and_offset_of_z_do_not_matter() -> None:
    vertices, triangles = dome()
    expected = depth_map(vertices, triangles, 101, CONFIG).astype(int)
    moved = depth_map(vertices * [1, 1, 3.7] + [0, 0, 500], triangles, 101, CONFIG)
    assert np.abs(moved - expected).max() <= 1


def test_sixteen_bits_are_the_same_map_finer() -> None:
    coarse = depth_map(*dome(), 101, CONFIG)
    fine = depth_map(*dome(), 101, DepthConfig(dtype="uint16"))
    assert fine.dtype == np.uint16
    assert fine.max() == 65_535
    assert np.array_equal(fine > 0, coarse > 0)
    assert np.abs((fine - 1.0) / 65_534 - (coarse - 1.0) / 254)[coarse > 0].max() < 0.5 / 254 + 1e-6


def test_the_flat_rule_gives_one_depth_a_triangle() -> None:
    vertices = np.array([[0, 0, 0], [20, 0, 10], [0, 20, 20]], np.float32)
    flat = depth_map(vertices, np.array([[0, 1, 2]]), 21, DepthConfig(rule="flat"))
    assert set(np.unique(flat)) == {0, 128}


def test_z_over_max_keeps_the_distance_from_the_back() -> None:
    vertices, triangles = dome()
    vertices[:, 2] += 77 + 30  # z from 30 to 60, above PRNet's z = 0
    depth = depth_map(vertices, triangles, 101, DepthConfig(normalize="z-over-max"))
    assert depth[50, 50] == 255
    assert abs(int(depth[20, 20]) - 128) <= 1


@pytest.mark.parametrize("z", [np.nan, np.inf, 5.0])
def test_vertices_without_depth_are_a_failed_alignment(z: float) -> None:
    vertices, triangles = dome()
    vertices[:, 2] = z
    with pytest.raises(MediumError) as caught:
        depth_map(vertices, triangles, 50, CONFIG)
    assert caught.value.reason == "align-failed"


def test_a_z_that_does_not_start_at_zero_has_no_share_of_the_maximum() -> None:
    with pytest.raises(MediumError, match="no extent"):
        depth_map(*dome(), 50, DepthConfig(normalize="z-over-max"))  # z is negative throughout


def test_metric_crop_keeps_the_unit_of_the_crop():
    vertices, triangles = dome()
    config = DepthConfig(normalize="metric-crop", dtype="uint16")
    depth = depth_map(vertices, triangles, 101, config)
    height = (depth[depth > 0].astype(float) - 1) / 65534 * 101  # px above the farthest vertex
    assert height.max() == pytest.approx(np.ptp(vertices[:, 2]), abs=0.01)
    flatter = depth_map(vertices * [1, 1, 0.5], triangles, 101, config)
    assert flatter.max() - 1 == pytest.approx((depth.max() - 1) / 2, abs=1)
    half = depth_map(vertices / 2, triangles, 51, config)  # the same face in a crop of half the size
    assert half.max() == pytest.approx(depth.max(), rel=0.02)


def test_metric_crop_cuts_off_what_is_higher_than_the_crop_is_wide():
    vertices, triangles = dome()
    depth = depth_map(vertices * [1, 1, 100], triangles, 101, DepthConfig(normalize="metric-crop"))
    assert depth.max() == 255


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("rule", ["barycentric", "flat"])
@pytest.mark.parametrize("normalize", ["face-minmax", "z-over-max", "metric-crop"])
def test_whatever_is_seen_is_above_zero_in_every_convention(normalize, rule, dtype):
    vertices, triangles = dome()
    config = DepthConfig(normalize=normalize, dtype=dtype, rule=rule)
    above = vertices - [0, 0, vertices[:, 2].min()]  # the farthest vertex at exactly 0
    depth = depth_map(above, triangles, 101, config)
    assert depth.dtype == dtype
    seen = rasterize(above + np.array([0, 0, 1]), triangles, (101, 101), rule) > 0
    assert np.array_equal(depth > 0, seen)
