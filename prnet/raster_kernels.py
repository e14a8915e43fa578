"""The compiled loops of `prnet.rasterize`. Importing this module imports numba.

No `fastmath` and no fused multiply-add: the flat rule must give the same bits here, in plain Python and in torch.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


@njit(cache=True, nogil=True)
def _first(value: float) -> int:
    """The first pixel centre at or right of `value`, never outside on the left."""
    return int(max(math.ceil(value), 0.0))


@njit(cache=True, nogil=True)
def _last(value: float, side: int) -> int:
    """The last pixel centre at or left of `value`, never outside on the right (clipped first: 1e30 is no int)."""
    return int(max(min(math.floor(value), side - 1.0), -1.0))


@njit(cache=True, nogil=True)
def flat(vertices: F64, triangles: I32, out: F32) -> None:
    """One depth a triangle; `out` (h,w) starts at -inf and keeps the largest."""
    h, w = out.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, bx, cx = vertices[a, 0], vertices[b, 0], vertices[c, 0]
        left, right = _first(min(ax, bx, cx)), _last(max(ax, bx, cx), w)
        if right < left:
            continue
        ay, by, cy = vertices[a, 1], vertices[b, 1], vertices[c, 1]
        top, bottom = _first(min(ay, by, cy)), _last(max(ay, by, cy), h)
        if bottom < top:
            continue
        ux, uy, vx, vy = cx - ax, cy - ay, bx - ax, by - ay
        uu, uv, vv = ux * ux + uy * uy, ux * vx + uy * vy, vx * vx + vy * vy
        determinant = uu * vv - uv * uv
        if determinant == 0.0:  # no area, nothing to see
            continue
        inverse = 1.0 / determinant
        depth = np.float32((vertices[a, 2] + vertices[b, 2] + vertices[c, 2]) / 3.0)
        for y in range(top, bottom + 1):
            dy = y - ay
            for x in range(left, right + 1):
                if depth <= out[y, x]:
                    continue
                dx = x - ax
                du, dv = ux * dx + uy * dy, vx * dx + vy * dy
                u = (vv * du - uv * dv) * inverse
                v = (uu * dv - uv * du) * inverse
                if u >= 0.0 and v >= 0.0 and u + v < 1.0:
                    out[y, x] = depth


@njit(cache=True, nogil=True)
def barycentric(vertices: F64, triangles: I32, out: F32, winner: I32) -> None:
    """Depth interpolated over each triangle; `out` (h,w) starts at -inf.

    `winner` (h,w), or (0,0) when it is not wanted, gets the index of the triangle that is seen.

    Edge functions are taken relative to the pixel, which makes them exactly antisymmetric: a pixel near an edge that
    two triangles share is never outside both, so a closed mesh has no cracks. Edges are inclusive.
    """
    h, w = out.shape
    keep = winner.shape[0] > 0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, bx, cx = vertices[a, 0], vertices[b, 0], vertices[c, 0]
        left, right = _first(min(ax, bx, cx)), _last(max(ax, bx, cx), w)
        if right < left:
            continue
        ay, by, cy = vertices[a, 1], vertices[b, 1], vertices[c, 1]
        top, bottom = _first(min(ay, by, cy)), _last(max(ay, by, cy), h)
        if bottom < top:
            continue
        az, bz, cz = vertices[a, 2], vertices[b, 2], vertices[c, 2]
        for y in range(top, bottom + 1):
            dya, dyb, dyc = ay - y, by - y, cy - y
            for x in range(left, right + 1):
                dxa, dxb, dxc = ax - x, bx - x, cx - x
                wa = dxb * dyc - dyb * dxc
                wb = dxc * dya - dyc * dxa
                wc = dxa * dyb - dya * dxb
                if not ((wa >= 0.0 and wb >= 0.0 and wc >= 0.0) or (wa <= 0.0 and wb <= 0.0 and wc <= 0.0)):
                    continue
                area = wa + wb + wc
                if area == 0.0:
                    continue
                depth = np.float32((wa * az + wb * bz + wc * cz) / area)
                if depth > out[y, x]:
                    out[y, x] = depth
                    if keep:
                        winner[y, x] = t


@njit(cache=True, nogil=True)
def attributes(vertices: F64, triangles: I32, values: F32, winner: I32, out: F32) -> None:
    """Values (V,C) of the triangles in `winner` (h,w; -1 = none) interpolated into `out` (h,w,C)."""
    h, w, channels = out.shape
    for y in range(h):
        for x in range(w):
            t = winner[y, x]
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            dxa, dya = vertices[a, 0] - x, vertices[a, 1] - y
            dxb, dyb = vertices[b, 0] - x, vertices[b, 1] - y
            dxc, dyc = vertices[c, 0] - x, vertices[c, 1] - y
            wa = dxb * dyc - dyb * dxc
            wb = dxc * dya - dyc * dxa
            wc = dxa * dyb - dya * dxb
            area = wa + wb + wc
            for k in range(channels):
                out[y, x, k] = (wa * values[a, k] + wb * values[b, k] + wc * values[c, k]) / area
