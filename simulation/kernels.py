"""Pixel loops of the renderer, compiled. Imported late: numba takes a second."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = NDArray[np.float32]


@njit(cache=True, nogil=True, fastmath=True)
def shade(attributes: F32, covered: NDArray[np.bool_], texture: F32, background: F32, factor: int, out: F32) -> None:
    """Texture lookup, light, matte over background and the mean of factor x factor samples.

    attributes (h*f,w*f,7): texture x, y, light r, g, b, gloss, darkness; texture (th,tw,5): linear r, g, b, matte,
    skin; background (h,w,3) linear; out (h,w,4) linear r, g, b and the person's coverage.
    """
    height, width = out.shape[0], out.shape[1]
    last_x, last_y = texture.shape[1] - 1.001, texture.shape[0] - 1.001
    share = 1.0 / (factor * factor)
    for y in range(height):
        for x in range(width):
            r = g = b = person = 0.0
            for sy in range(y * factor, y * factor + factor):
                for sx in range(x * factor, x * factor + factor):
                    back_r, back_g, back_b = background[y, x, 0], background[y, x, 1], background[y, x, 2]
                    if not covered[sy, sx]:
                        r += back_r
                        g += back_g
                        b += back_b
                        continue
                    u = min(max(attributes[sy, sx, 0], 0.0), last_x)
                    v = min(max(attributes[sy, sx, 1], 0.0), last_y)
                    i, j = int(v), int(u)
                    fv, fu = v - i, u - j
                    w00, w01, w10, w11 = (1 - fv) * (1 - fu), (1 - fv) * fu, fv * (1 - fu), fv * fu
                    matte = (
                        w00 * texture[i, j, 3] + w01 * texture[i, j + 1, 3]
                        + w10 * texture[i + 1, j, 3] + w11 * texture[i + 1, j + 1, 3]
                    )  # fmt: skip
                    if matte < 0.004:
                        r += back_r
                        g += back_g
                        b += back_b
                        continue
                    skin = (
                        w00 * texture[i, j, 4] + w01 * texture[i, j + 1, 4]
                        + w10 * texture[i + 1, j, 4] + w11 * texture[i + 1, j + 1, 4]
                    )  # fmt: skip
                    dark = 1.0 - attributes[sy, sx, 6]
                    gloss = attributes[sy, sx, 5] * skin
                    for c in range(3):
                        value = (
                            w00 * texture[i, j, c] + w01 * texture[i, j + 1, c]
                            + w10 * texture[i + 1, j, c] + w11 * texture[i + 1, j + 1, c]
                        )  # fmt: skip
                        value = (value * attributes[sy, sx, 2 + c] + gloss) * dark
                        value = value * matte + (1.0 - matte) * background[y, x, c]
                        if c == 0:
                            r += value
                        elif c == 1:
                            g += value
                        else:
                            b += value
                    person += matte
            out[y, x, 0] = r * share
            out[y, x, 1] = g * share
            out[y, x, 2] = b * share
            out[y, x, 3] = person * share


@njit(cache=True, nogil=True, fastmath=True)
def convolve(pixels: F32, taps: F32) -> F32:
    """Separable convolution of (h,w,C) with the same taps down and across; the border is repeated."""
    height, width, channels = pixels.shape
    radius = taps.shape[0] // 2
    row_length = width * channels
    flat = pixels.reshape(height, row_length)
    pad = radius * channels
    down = np.empty(row_length + 2 * pad, np.float32)
    out = np.zeros((height, row_length), np.float32)
    for y in range(height):
        down[:] = 0.0
        for k in range(-radius, radius + 1):
            row = min(max(y + k, 0), height - 1)
            tap = taps[k + radius]
            for i in range(row_length):
                down[pad + i] += tap * flat[row, i]
        for i in range(pad):
            down[i] = down[pad + i % channels]
            down[pad + row_length + i] = down[pad + row_length - channels + i % channels]
        for k in range(2 * radius + 1):
            tap = taps[k]
            shift = k * channels
            for i in range(row_length):
                out[y, i] += tap * down[shift + i]
    return out.reshape(height, width, channels)


@njit(cache=True, nogil=True, fastmath=True)
def develop(
    light: F32, haze: F32, saturation: float, gain: F32, vignette: float, read: float, shot: float,
    noise: F32, shared: F32, curve: F32, out: F32,
) -> None:  # fmt: skip
    """Sensor and tone curve: light (h,w,3) linear -> out (h,w,3) encoded.

    haze (3,): stray light everywhere; gain (3,): exposure times white balance; noise (h,w,3) and shared (h,w): standard
    normal; read, shot: noise of the electronics and of the photons; curve: encoded value over linear 0..4.
    """
    height, width, _ = light.shape
    last = curve.shape[0] - 1
    for y in range(height):
        dy = 2.0 * y / height - 1.0
        for x in range(width):
            dx = 2.0 * x / width - 1.0
            corner = 1.0 - vignette * (dx * dx + dy * dy) * 0.5
            grey = (light[y, x, 0] + light[y, x, 1] + light[y, x, 2]) / 3.0
            for c in range(3):
                seen = grey + saturation * (light[y, x, c] - grey) + haze[c]
                value = max(seen * gain[c] * corner, 0.0)
                sigma = np.sqrt(read * read + shot * shot * value)
                value += sigma * (0.6 * noise[y, x, c] + 0.7 * shared[y, x])
                at = min(max(value * 0.25 * last, 0.0), last - 0.001)
                i = int(at)
                out[y, x, c] = curve[i] + (curve[i + 1] - curve[i]) * (at - i)


@njit(cache=True, nogil=True, fastmath=True)
def medium_coordinates(
    inverse: NDArray[np.float64], bend: float, barrel: float, middle: float, half: float, out: F32
) -> None:
    """Where on a flat or bent medium every picture pixel looks: out (h,w,2) medium px.

    `inverse` (3,3) picture -> medium; `bend` radians of a cylinder between its middle and its edge (`middle`, `half`:
    its axis and half width, medium px); `barrel` lens distortion at the picture's corner.
    """
    height, width = out.shape[0], out.shape[1]
    cx, cy = (width - 1) / 2, (height - 1) / 2
    norm = 1.0 / (cx * cx + cy * cy)
    top = np.sin(bend)
    for y in range(height):
        for x in range(width):
            dx, dy = x - cx, y - cy
            lens = 1.0 + barrel * (dx * dx + dy * dy) * norm
            px, py = cx + dx * lens, cy + dy * lens
            d = inverse[2, 0] * px + inverse[2, 1] * py + inverse[2, 2]
            u = (inverse[0, 0] * px + inverse[0, 1] * py + inverse[0, 2]) / d
            v = (inverse[1, 0] * px + inverse[1, 1] * py + inverse[1, 2]) / d
            if bend > 1e-3:
                across = (u - middle) / half
                if abs(across) * top < 1.0:
                    u = middle + half * np.arcsin(across * top) / bend
                else:
                    u = -1e6
            out[y, x, 0] = u
            out[y, x, 1] = v


@njit(cache=True, nogil=True, fastmath=True)
def look_up(source: F32, coordinates: F32, factor: int, out: F32) -> None:
    """Mean of factor x factor bilinear looks into source (h,w,C) a pixel; zero beyond it. out (H,W,C).

    Between pixel centres the coordinates (H,W,2) are followed linearly.
    """
    height, width, channels = out.shape
    rows, cols = source.shape[0], source.shape[1]
    share = 1.0 / (factor * factor)
    for y in range(height):
        up = y - 1 if y == height - 1 else y
        for x in range(width):
            left = x - 1 if x == width - 1 else x
            ux = coordinates[up, left + 1, 0] - coordinates[up, left, 0]
            vx = coordinates[up, left + 1, 1] - coordinates[up, left, 1]
            uy = coordinates[up + 1, left, 0] - coordinates[up, left, 0]
            vy = coordinates[up + 1, left, 1] - coordinates[up, left, 1]
            for c in range(channels):
                out[y, x, c] = 0.0
            for k in range(factor * factor):
                fx = ((k % factor) + 0.5) / factor - 0.5
                fy = ((k // factor) + 0.5) / factor - 0.5
                u = coordinates[y, x, 0] + fx * ux + fy * uy
                v = coordinates[y, x, 1] + fx * vx + fy * vy
                if not (u >= 0.0 and v >= 0.0 and u < cols - 1 and v < rows - 1):
                    continue
                i, j = int(v), int(u)
                fv, fu = v - i, u - j
                w00, w01, w10, w11 = (1 - fv) * (1 - fu), (1 - fv) * fu, fv * (1 - fu), fv * fu
                for c in range(channels):
                    out[y, x, c] += share * (
                        w00 * source[i, j, c] + w01 * source[i, j + 1, c]
                        + w10 * source[i + 1, j, c] + w11 * source[i + 1, j + 1, c]
                    )  # fmt: skip
