"""Vertices and triangles to a depth map: an orthographic z-buffer on the CPU.

Pixel centres are at integer coordinates, a larger z is nearer, the nearest surface wins and the background is 0.
Callers therefore pass z > 0 where they want `depth > 0` to be the mask. Two rules:

* `flat`: the rule of PRNet's own `get_depth_image` (reference for published pseudo-depth). A triangle has one depth,
  the mean of its three z; a pixel is inside where u >= 0, v >= 0 and u + v < 1 (one edge is exclusive).
* `barycentric`: z is interpolated over the triangle, edges are inclusive, a closed mesh has no cracks. The default.

Triangles of either orientation are drawn; one without area is not. numba is imported at the first call.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rule = Literal["flat", "barycentric"]


def _checked(
    vertices: ArrayLike, triangles: ArrayLike, size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    points = np.ascontiguousarray(vertices, dtype=np.float64)
    if points.ndim not in (2, 3) or points.shape[-1] != 3:
        raise ValueError(f"vertices: expected shape (V, 3) or (B, V, 3), got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("vertices: every coordinate must be finite, got NaN or infinity")
    faces = np.asarray(triangles)
    if faces.ndim != 2 or faces.shape[1] != 3 or not np.issubdtype(faces.dtype, np.integer):
        raise ValueError(f"triangles: expected integers of shape (T, 3), got {faces.dtype} of shape {faces.shape}")
    count = points.shape[-2]
    if faces.size and not (faces.min() >= 0 and faces.max() < count):
        raise ValueError(f"triangles: indices {faces.min()}..{faces.max()} do not fit {count} vertices")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size: expected (height, width) of at least one pixel each, got {size}")
    return points, np.ascontiguousarray(faces, dtype=np.int32)


def rasterize(
    vertices: ArrayLike, triangles: ArrayLike, size: tuple[int, int], rule: Rule = "barycentric"
) -> NDArray[np.float32]:
    """Depth of the nearest surface at every pixel centre.

    `vertices` (V,3) or (B,V,3) floats: x, y in pixels, z larger = nearer. `triangles` (T,3) integers.
    `size` = (h, w). Returns (h,w), or (B,h,w) for a batch, float32 in the units of z, 0 where nothing is seen.
    Raises ValueError for shapes, indices or coordinates that make no sense.
    """
    from prnet import raster_kernels as kernels

    if rule not in get_args(Rule):
        raise ValueError(f"rule: expected one of {get_args(Rule)}, got {rule!r}")
    points, faces = _checked(vertices, triangles, size)
    batch = points if points.ndim == 3 else points[None]
    depth = np.full((len(batch), *size), -np.inf, np.float32)
    no_winner = np.empty((0, 0), np.int32)
    for one, out in zip(batch, depth, strict=True):
        if rule == "flat":
            kernels.flat(one, faces, out)
        else:
            kernels.barycentric(one, faces, out, no_winner)
    depth[np.isneginf(depth)] = 0.0
    return depth if points.ndim == 3 else depth[0]


def rasterize_attributes(
    vertices: ArrayLike, triangles: ArrayLike, attributes: ArrayLike, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Vertex attributes (texture coordinates, colours, normals) of the nearest surface, barycentric rule.

    `vertices` (V,3), `triangles` (T,3), `attributes` (V,C). Returns attributes (h,w,C) float32, depth (h,w) float32 and
    covered (h,w) bool; where nothing is seen the first two are 0. Raises ValueError as `rasterize` does.
    """
    from prnet import raster_kernels as kernels

    points, faces = _checked(vertices, triangles, size)
    values = np.ascontiguousarray(attributes, dtype=np.float32)
    if points.ndim != 2:
        raise ValueError(f"vertices: expected one mesh (V, 3), got {points.shape}")
    if values.ndim != 2 or len(values) != len(points):
        raise ValueError(f"attributes: expected shape ({len(points)}, C), got {values.shape}")
    depth = np.full(size, -np.inf, np.float32)
    winner = np.full(size, -1, np.int32)
    kernels.barycentric(points, faces, depth, winner)
    out = np.zeros((*size, values.shape[1]), np.float32)
    kernels.attributes(points, faces, values, winner, out)
    covered = winner >= 0
    depth[~covered] = 0.0
    return out, depth, covered
