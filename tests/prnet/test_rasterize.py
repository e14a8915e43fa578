"""The rasteriser against a plain-Python reading of the flat rule, and against planes known by formula."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from prnet import rasterize
from prnet.rasterize import rasterize_attributes


def plain_flat(vertices, triangles, size):
    """The flat rule in Python floats: one mean depth a triangle, inner box, half-open inside test, strict >."""
    h, w = size
    seen = {}
    for triangle in triangles:
        p0, p1, p2 = (tuple(float(value) for value in vertices[index]) for index in triangle)
        z = (p0[2] + p1[2] + p2[2]) / 3.0
        xs, ys = [p[0] for p in (p0, p1, p2)], [p[1] for p in (p0, p1, p2)]
        v0, v1 = (p2[0] - p0[0], p2[1] - p0[1]), (p1[0] - p0[0], p1[1] - p0[1])
        d00, d01 = v0[0] * v0[0] + v0[1] * v0[1], v0[0] * v1[0] + v0[1] * v1[1]
        d11 = v1[0] * v1[0] + v1[1] * v1[1]
        bottom = d00 * d11 - d01 * d01
        if bottom == 0:
            continue
        for y in range(max(math.ceil(min(ys)), 0), min(math.floor(max(ys)), h - 1) + 1):
            for x in range(max(math.ceil(min(xs)), 0), min(math.floor(max(xs)), w - 1) + 1):
                v2 = (x - p0[0], y - p0[1])
                d02, d12 = v0[0] * v2[0] + v0[1] * v2[1], v1[0] * v2[0] + v1[1] * v2[1]
                u, v = (d11 * d02 - d01 * d12) * (1 / bottom), (d00 * d12 - d01 * d02) * (1 / bottom)
                if u >= 0 and v >= 0 and u + v < 1 and z > seen.get((y, x), -math.inf):
                    seen[y, x] = z
    depth = np.zeros(size, np.float32)
    for (y, x), z in seen.items():
        depth[y, x] = z
    return depth


def grid_mesh(side, spread, seed, size):
    """A wrinkled sheet of side*side vertices that hangs over the picture's edges, folded so that it hides itself."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[0:side, 0:side] / (side - 1)
    x = column * size * 1.2 - size * 0.1 + rng.normal(0, spread, (side, side))
    y = row * size * 1.2 - size * 0.1 + rng.normal(0, spread, (side, side))
    z = 50 + 30 * np.sin(6 * column) + rng.normal(0, 2, (side, side))
    index = np.arange(side * side).reshape(side, side)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return np.stack([x, y, z], -1).reshape(-1, 3), triangles.astype(np.int32)


@pytest.mark.parametrize(
    ("side", "spread", "size"),
    [
        (40, 0.6, (48, 48)),  # fine: triangles of about a pixel, as PRNet's
        (5, 6.0, (60, 44)),  # coarse: triangles of tens of pixels, as the face mesh's, in a picture that is not square
        (12, 0.0, (40, 40)),  # a regular grid: vertices and edges exactly on pixel centres
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flat_rule_is_bit_equal_to_plain_python(side, spread, size, dtype):
    vertices, triangles = grid_mesh(side, spread, seed=side, size=size[0])
    vertices = (vertices if spread else np.round(vertices)).astype(dtype)
    expected = plain_flat(vertices, triangles, size)
    assert (expected > 0).mean() > 0.5
    np.testing.assert_array_equal(rasterize(vertices, triangles, size, rule="flat"), expected)


def test_flat_rule_leaves_out_one_edge_and_keeps_the_other_two():
    triangle = np.array([[2, 2, 9], [10, 2, 9], [2, 10, 9]], float)  # a side of 8: the division is exact
    depth = rasterize(triangle, np.array([[0, 1, 2]]), (12, 12), rule="flat")
    assert (depth[2, 2:10] == 9).all(), "edges from the first vertex belong to the triangle"
    assert (depth[2:10, 2] == 9).all()
    assert not any(depth[2 + k, 10 - k] for k in range(9)), "the edge opposite to the first vertex does not"


@pytest.mark.parametrize("slope", [(0.0, 0.0), (0.3, -0.2), (-1.5, 2.0)])
def test_barycentric_depth_of_a_tilted_plane_is_the_planes_formula(slope):
    vertices, triangles = grid_mesh(9, 1.0, seed=1, size=64)
    vertices[:, 2] = 200 + slope[0] * vertices[:, 0] + slope[1] * vertices[:, 1]
    y, x = np.mgrid[0:64, 0:64]
    expected = 200 + slope[0] * x + slope[1] * y
    np.testing.assert_allclose(rasterize(vertices, triangles, (64, 64)), expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_sheet_that_covers_the_picture_has_no_cracks(seed):
    vertices, triangles = grid_mesh(60, 0.2, seed, size=100)
    assert rasterize(vertices, triangles, (100, 100)).min() > 0
    on_pixels = np.concatenate([np.round(vertices[:, :2]), vertices[:, 2:]], 1)  # every edge runs through pixel centres
    assert rasterize(on_pixels, triangles, (100, 100)).min() > 0


@pytest.mark.parametrize("rule", ["flat", "barycentric"])
def test_the_nearer_of_two_sheets_is_seen_whatever_their_order(rule):
    square = np.array([[-1, -1], [20, -1], [-1, 20], [20, 20]], float)
    far, near = np.c_[square, np.full(4, 3.0)], np.c_[square * 0.5, np.full(4, 7.0)]
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    for first, second in ((far, near), (near, far)):
        depth = rasterize(np.concatenate([first, second]), np.concatenate([faces, faces + 4]), (12, 12), rule=rule)
        assert depth[2, 2] == 7
        assert depth[11, 11] == 3


def test_orientation_of_a_triangle_does_not_matter():
    vertices, triangles = grid_mesh(8, 2.0, seed=3, size=40)
    np.testing.assert_array_equal(
        rasterize(vertices, triangles, (40, 40)), rasterize(vertices, triangles[:, ::-1], (40, 40))
    )


@pytest.mark.parametrize("rule", ["flat", "barycentric"])
def test_a_batch_is_its_members(rule):
    meshes = [grid_mesh(10, 1.0, seed, size=32)[0] for seed in range(3)]
    triangles = grid_mesh(10, 1.0, 0, size=32)[1]
    together = rasterize(np.stack(meshes), triangles, (32, 30), rule=rule)
    assert together.shape == (3, 32, 30)
    assert together.dtype == np.float32
    for mesh, depth in zip(meshes, together, strict=True):
        np.testing.assert_array_equal(rasterize(mesh, triangles, (32, 30), rule=rule), depth)


@pytest.mark.parametrize("rule", ["flat", "barycentric"])
def test_what_is_off_the_picture_or_has_no_area_is_not_drawn(rule):
    vertices = np.array(
        [[-9, -9, 5], [-5, -9, 5], [-9, -5, 5], [1, 1, 5], [3, 3, 5], [5, 5, 5], [1e30, 4, 5], [1e31, 5, 5]], float
    )
    assert not rasterize(vertices, np.array([[0, 1, 2], [3, 4, 5], [3, 3, 3]]), (8, 8), rule=rule).any()
    rasterize(vertices, np.array([[3, 6, 7]]), (8, 8), rule=rule)  # far beyond any integer: must not crash


def test_attributes_are_interpolated_on_the_surface_that_is_seen():
    vertices, triangles = grid_mesh(9, 1.5, seed=5, size=50)
    vertices[:, 2] = 80 - vertices[:, 0]
    attributes = np.c_[vertices[:, 0] * 2, vertices[:, 1] + 1].astype(np.float32)
    nearer = vertices * [0.3, 0.3, 1] + [10, 10, 100]
    values, depth, covered = rasterize_attributes(
        np.concatenate([vertices, nearer]),
        np.concatenate([triangles, triangles + len(vertices)]),
        np.concatenate([attributes, np.full_like(attributes, -7)]),
        (50, 70),
    )
    y, x = np.mgrid[0:50, 0:70]
    behind = covered & (depth < 90)
    assert behind.sum() > 500
    np.testing.assert_allclose(values[behind], np.stack([x * 2, y + 1], -1)[behind], atol=1e-3)
    assert (values[covered & ~behind] == -7).all()
    assert (covered & ~behind).sum() > 50
    assert not values[~covered].any()
    assert not depth[~covered].any()
    assert (~covered).any()


TRIANGLE = np.array([[0, 1, 2]])
CORNERS = np.eye(3)


@pytest.mark.parametrize(
    ("vertices", "triangles", "size", "rule", "words"),
    [
        (np.zeros((3, 2)), TRIANGLE, (4, 4), "flat", "expected shape"),
        (np.full((3, 3), np.nan), TRIANGLE, (4, 4), "flat", "finite"),
        (CORNERS, np.array([[0, 1, 3]]), (4, 4), "flat", "do not fit 3 vertices"),
        (CORNERS, np.array([[0, 1, -1]]), (4, 4), "flat", "do not fit"),
        (CORNERS, np.array([[0.0, 1.0, 2.0]]), (4, 4), "flat", "integers"),
        (CORNERS, TRIANGLE, (0, 4), "flat", "height, width"),
        (CORNERS, TRIANGLE, (4, 4), "smooth", "expected one of"),
    ],
)
def test_bad_input_is_named(vertices, triangles, size, rule, words):
    with pytest.raises(ValueError, match=words):
        rasterize(vertices, triangles, size, rule=rule)


def test_numba_is_not_imported_before_it_is_needed():
    code = "import sys, prnet, prnet.rasterize; assert not {'numba', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
