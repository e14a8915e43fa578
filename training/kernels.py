"""A batch's recipe in one pass over its bytes (warp, colour, clamp), compiled and free of the interpreter lock."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from training.recipe import Floats, Recipe


def render(images: NDArray[np.uint8], plan: Recipe) -> Floats:
    """(B, S, S, 3) uint8 RGB -> (B, S, S, 3) float32 in [0, 1]."""
    out: Floats = np.empty(images.shape, np.float32)
    colour = np.divide(plan.colour, [255, 255, 255, 1], dtype=np.float32)
    if plan.source is None:
        _tint(images, colour, out)
    else:
        _warp(images, colour, plan.source.astype(np.float32), out)
    if plan.moire is not None:
        _ripple(out, plan.moire)
    return out


def move(maps: Floats, plan: Recipe) -> Floats:
    """(B, S, S) float32 maps by the recipe's geometry, 0 from outside; a map that is all zero costs nothing."""
    assert plan.source is not None
    out: Floats = np.zeros(maps.shape, np.float32)
    _warp_maps(maps, plan.source.astype(np.float32), np.asarray(maps.any(axis=(1, 2))), out)
    return out


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _between(value: np.float32, low: np.float32, high: np.float32) -> np.float32:
    return min(max(value, low), high)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _warp_maps(maps: Floats, source: Floats, wanted: NDArray[np.bool_], out: Floats) -> None:
    n, h, w = maps.shape
    zero, one = np.float32(0), np.float32(1)
    edged = np.zeros((h + 2, w + 2), np.float32)  # a rim of zeros instead of a question at every pixel
    flat = edged.reshape(-1)
    for b in range(n):
        if not wanted[b]:
            continue
        edged[1:-1, 1:-1] = maps[b]
        (xx, xy, x0), (yx, yy, y0) = source[b]
        for y in range(h):
            for x in range(w):
                u, v = np.float32(x), np.float32(y)
                sx = _between(xx * u + xy * v + x0 + one, zero, np.float32(w + 1))
                sy = _between(yx * u + yy * v + y0 + one, zero, np.float32(h + 1))
                left, top = min(int(sx), w), min(int(sy), h)
                fx, fy = sx - np.float32(left), sy - np.float32(top)
                here = np.uint64(top * (w + 2) + left)  # unsigned: no test for an index from the end
                below = here + np.uint64(w + 2)
                up, low = flat[here], flat[below]
                up += fx * (flat[here + np.uint64(1)] - up)
                low += fx * (flat[below + np.uint64(1)] - low)
                out[b, y, x] = up + fy * (low - up)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _tint(images: NDArray[np.uint8], colour: Floats, out: Floats) -> None:
    for b in range(len(images)):
        _tint_one(images[b], colour[b], np.float32(0), np.float32(1), out[b])


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _tint_one(image: NDArray[np.uint8], m: Floats, low: np.float32, high: np.float32, out: Floats) -> None:
    h, w, _ = image.shape
    # read once: the compiler cannot know that `out` is not where they stand (107 us a sample became 70)
    m00, m01, m02, m03 = m[0]
    m10, m11, m12, m13 = m[1]
    m20, m21, m22, m23 = m[2]
    for y in range(h):
        for x in range(w):
            red, green, blue = np.float32(image[y, x, 0]), np.float32(image[y, x, 1]), np.float32(image[y, x, 2])
            out[y, x, 0] = _between(m00 * red + m01 * green + m02 * blue + m03, low, high)
            out[y, x, 1] = _between(m10 * red + m11 * green + m12 * blue + m13, low, high)
            out[y, x, 2] = _between(m20 * red + m21 * green + m22 * blue + m23, low, high)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _warp(images: NDArray[np.uint8], colour: Floats, source: Floats, out: Floats) -> None:
    n, h, w, _ = images.shape
    zero, one, far = np.float32(0), np.float32(1), np.float32(1e6)
    # Colour first: both are linear, so the result is the same, and bytes become floats once instead of four times. With
    # four places a pixel its channels are loaded together (720 us a sample became 360).
    tinted = np.empty((h, w, 4), np.float32)
    flat = tinted.reshape(-1)
    for b in range(n):
        _tint_one(images[b], colour[b], -far, far, tinted)
        (xx, xy, x0), (yx, yy, y0) = source[b]
        for y in range(h):
            for x in range(w):
                u, v = np.float32(x), np.float32(y)  # an integer times a float32 would be a float64
                # outside, the border's pixels go on
                sx = _between(xx * u + xy * v + x0, zero, np.float32(w - 1))
                sy = _between(yx * u + yy * v + y0, zero, np.float32(h - 1))
                left, top = int(sx), int(sy)
                fx, fy = sx - np.float32(left), sy - np.float32(top)
                right = np.uint64(4 if left < w - 1 else 0)
                p00 = np.uint64(4 * (top * w + left))  # unsigned: no test for an index from the end
                p10 = p00 + np.uint64(4 * w if top < h - 1 else 0)
                for c in range(3):
                    k = np.uint64(c)
                    up, low = flat[p00 + k], flat[p10 + k]
                    up += fx * (flat[p00 + right + k] - up)
                    low += fx * (flat[p10 + right + k] - low)
                    out[b, y, x, c] = _between(up + fy * (low - up), zero, one)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _ripple(out: Floats, moire: Floats) -> None:
    n, h, w, _ = out.shape
    for b in range(n):
        amplitude, ax, ay, bx, by, phase = moire[b]
        if amplitude == 0:
            continue
        for y in range(h):
            for x in range(w):
                wave = math.sin(ax * x + ay * y + phase) * math.sin(bx * x + by * y)
                gain = np.float32(1 + amplitude * wave)
                for c in range(3):
                    out[b, y, x, c] = min(out[b, y, x, c] * gain, np.float32(1))
