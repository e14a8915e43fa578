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
def _warp_maps(maps: Floats, source: Floats, wanted: NDArray[np.bool_], out: Floats) -> None:
    n, h, w = maps.shape
    for b in range(n):
        if not wanted[b]:
            continue
        a = source[b]
        for y in range(h):
            for x in range(w):
                sx, sy = a[0, 0] * x + a[0, 1] * y + a[0, 2], a[1, 0] * x + a[1, 1] * y + a[1, 2]
                left, top = math.floor(sx), math.floor(sy)
                fx, fy = sx - np.float32(left), sy - np.float32(top)
                value = np.float32(0)
                for dy in range(2):
                    for dx in range(2):
                        if 0 <= top + dy < h and 0 <= left + dx < w:
                            weight = (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
                            value += weight * maps[b, top + dy, left + dx]
                out[b, y, x] = value


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _tint(images: NDArray[np.uint8], colour: Floats, out: Floats) -> None:
    n, h, w, _ = images.shape
    for b in range(n):
        m = colour[b]
        for y in range(h):
            for x in range(w):
                red = np.float32(images[b, y, x, 0])
                green = np.float32(images[b, y, x, 1])
                blue = np.float32(images[b, y, x, 2])
                for c in range(3):
                    value = m[c, 0] * red + m[c, 1] * green + m[c, 2] * blue + m[c, 3]
                    out[b, y, x, c] = min(max(value, np.float32(0)), np.float32(1))


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _warp(images: NDArray[np.uint8], colour: Floats, source: Floats, out: Floats) -> None:
    n, h, w, _ = images.shape
    one = np.float32(1)
    for b in range(n):
        m, a = colour[b], source[b]
        for y in range(h):
            for x in range(w):
                # outside, the border's pixels go on
                sx = min(max(a[0, 0] * x + a[0, 1] * y + a[0, 2], np.float32(0)), np.float32(w - 1))
                sy = min(max(a[1, 0] * x + a[1, 1] * y + a[1, 2], np.float32(0)), np.float32(h - 1))
                left, top = int(sx), int(sy)
                right, bottom = min(left + 1, w - 1), min(top + 1, h - 1)
                fx, fy = sx - np.float32(left), sy - np.float32(top)
                w00, w01, w10, w11 = (one - fx) * (one - fy), fx * (one - fy), (one - fx) * fy, fx * fy
                p00, p01 = images[b, top, left], images[b, top, right]
                p10, p11 = images[b, bottom, left], images[b, bottom, right]
                red = w00 * p00[0] + w01 * p01[0] + w10 * p10[0] + w11 * p11[0]
                green = w00 * p00[1] + w01 * p01[1] + w10 * p10[1] + w11 * p11[1]
                blue = w00 * p00[2] + w01 * p01[2] + w10 * p10[2] + w11 * p11[2]
                for c in range(3):
                    value = m[c, 0] * red + m[c, 1] * green + m[c, 2] * blue + m[c, 3]
                    out[b, y, x, c] = min(max(value, np.float32(0)), one)


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
