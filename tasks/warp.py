"""One affine, one resampling: from the decoded image to a square crop.

Pixel centres lie at integer coordinates (the top-left pixel's centre is (0, 0)), for images, boxes, points and vertices
alike. An affine is a (2, 3) float64 matrix that takes image pixels to crop pixels.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

Affine = npt.NDArray[np.float64]  # (2, 3)

# From this scale down (crop pixels per image pixel) plain bilinear sampling would skip image pixels, and the fine
# patterns of print and screens would come out as moiré that the camera never saw.
_ANTIALIAS_BELOW = 0.8


def apply_affine(affine: Affine, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Map points (N, 2) px by `affine` -> (N, 2) float64 px."""
    xy = np.asarray(points, np.float64)
    mapped: npt.NDArray[np.float64] = xy @ affine[:, :2].T + affine[:, 2]
    return mapped


def invert_affine(affine: Affine) -> Affine:
    """The affine that undoes `affine`. Raises `numpy.linalg.LinAlgError` if it flattens the plane."""
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack([linear, -linear @ affine[:, 2]])


def compose(b: Affine, a: Affine) -> Affine:
    """First `a`, then `b`: `apply_affine(compose(b, a), p) == apply_affine(b, apply_affine(a, p))`."""
    return np.column_stack([b[:, :2] @ a[:, :2], b[:, :2] @ a[:, 2] + b[:, 2]])


def affine_scale(affine: Affine) -> float:
    """Crop pixels per image pixel, as the square root of the area ratio: what z has to be multiplied by."""
    return math.sqrt(abs(float(np.linalg.det(affine[:, :2]))))


def warp(image: npt.NDArray[np.uint8], affine: Affine, size: int, *, antialias: bool = True) -> npt.NDArray[np.uint8]:
    """Cut `size` x `size` pixels out of `image` (H, W, 3) uint8, black where the image ends.

    Bilinear; when the image is shrunk, it is filtered first (only the part that the crop shows). Raises
    `numpy.linalg.LinAlgError` if `affine` flattens the plane.
    """
    to_image = invert_affine(affine)
    corners = apply_affine(to_image, [(-1, -1), (size, -1), (-1, size), (size, size)])
    step = np.abs(to_image[:, :2]).sum(axis=1)  # image pixels that one crop pixel can reach, along x and y
    low = np.floor(corners.min(axis=0) - 2 * step - 1)
    high = np.ceil(corners.max(axis=0) + 2 * step + 2)
    bounds = (image.shape[1], image.shape[0])
    x0, y0 = (int(v) for v in np.clip(low, 0, bounds))
    x1, y1 = (int(v) for v in np.clip(high, 0, bounds))
    if x0 >= x1 or y0 >= y1:
        return np.zeros((size, size, 3), np.uint8)
    part = Image.fromarray(np.ascontiguousarray(image[y0:y1, x0:x1]))
    to_part = np.column_stack([to_image[:, :2], to_image[:, 2] - (x0, y0)])
    scales = np.linalg.norm(affine[:, :2], axis=0)  # crop pixels per image pixel, along the image's x and y
    if antialias and scales.min() < _ANTIALIAS_BELOW:
        wanted = [max(1, math.ceil(length * min(1.0, scale))) for length, scale in zip(part.size, scales, strict=True)]
        shrink = np.array(wanted) / part.size
        # Hamming: as wide as the bilinear filter, but it keeps more of the detail that the crop can still hold
        part = part.resize((wanted[0], wanted[1]), Image.Resampling.HAMMING, reducing_gap=2.0)
        # centres are integers, so a length is scaled about the pixel's outer corner at -0.5
        to_part = (to_part + [[0, 0, 0.5]] * 2) * shrink[:, None] - [[0, 0, 0.5]] * 2
    # Pillow measures from pixel corners: p = centre + 0.5 on both sides
    offset = to_part[:, 2] + 0.5 - to_part[:, :2].sum(axis=1) * 0.5
    (a, b), (d, e) = to_part[:, :2]
    crop = part.transform(
        (size, size), Image.Transform.AFFINE, (a, b, offset[0], d, e, offset[1]), Image.Resampling.BILINEAR
    )
    return np.asarray(crop)
