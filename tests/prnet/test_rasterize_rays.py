"""The barycentric rule against an independent renderer: embree's rays through the pixel centres."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from prnet import UVLayout, rasterize
from prnet.train.uv_grid import MeshUV, UVGrid
from simulation.heads import heads
from simulation.packaged import packaged_photographs
from tasks.aligners.facemesh import LANDMARKS68, canonical_face

SIZE = 224


def ray_depth(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(SIZE,SIZE) float64: z where a ray from the camera first meets the mesh, NaN where it meets nothing."""
    mesh = trimesh.Trimesh(vertices, triangles, process=False)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    start = np.stack([x, y, np.full_like(x, 10 * SIZE)], -1).reshape(-1, 3).astype(float)
    down = np.broadcast_to([0.0, 0.0, -1.0], start.shape)
    places, ray, _ = RayMeshIntersector(mesh).intersects_location(start, down, multiple_hits=False)
    depth = np.full(SIZE * SIZE, np.nan)
    depth[ray] = places[:, 2]
    return depth.reshape(SIZE, SIZE)


def demo_heads() -> list[tuple[float, np.ndarray]]:
    """Yaw and mesh (468,3) px of heads that the demo's renderer drew, in a picture of SIZE; z of the farthest is 1."""
    photos = [(path, path.stem) for path in packaged_photographs()]
    found = []
    for face in islice(heads(photos, 128, seed=7), 16):
        vertices = face.vertices * (SIZE / len(face.window))
        vertices[:, 2] += 1 - vertices[:, 2].min()
        found.append((face.yaw, vertices))
    return found


@pytest.fixture(scope="module")
def drawn() -> list[tuple[float, np.ndarray]]:
    return demo_heads()


@pytest.mark.parametrize("fineness", ["468 vertices", "as fine as PRNet's"])
def test_heads_of_the_demo_are_drawn_as_rays_see_them(drawn: list[tuple[float, np.ndarray]], fineness: str) -> None:
    face = canonical_face()
    grid = UVGrid.of_mesh(MeshUV(face.uv, face.triangles, np.array(LANDMARKS68, np.int64)), 256)
    assert isinstance(grid.layout, UVLayout)
    assert max(abs(yaw) for yaw, _ in drawn) > 40
    for yaw, coarse in drawn:
        vertices, triangles = coarse.astype(np.float32), face.triangles
        if fineness != "468 vertices":
            import torch

            vertices = grid.points(torch.from_numpy(vertices)[None])[0].numpy()
            triangles = grid.layout.triangles
        depth = rasterize(vertices, triangles, (SIZE, SIZE))
        rays = ray_depth(vertices, triangles)
        covered, hit = depth > 0, ~np.isnan(rays)
        assert (covered & hit).sum() / (covered | hit).sum() > 0.995, f"yaw {yaw:.0f}"
        off = np.abs(depth - rays)[covered & hit].mean() / np.ptp(vertices[:, 2])
        assert off < 0.005, f"yaw {yaw:.0f}"
