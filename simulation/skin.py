"""Which pixels of a portrait are skin, and how skin and hair get another tone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def skin_matte(
    texture: NDArray[np.uint8], matte: NDArray[np.float32], oval: Floats, holes: Sequence[tuple[Floats, float]]
) -> NDArray[np.float32]:
    """Soft skin coverage (h,w) float32 in [0,1]: colours like those of the cheeks and the nose, near the head.

    `texture` (h,w,3) uint8, `matte` (h,w) the person, `oval` (n,2) contour px, `holes` outlines (n,2)
    of the eyes and the open mouth and how much of each counts as skin.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.color import rgb2lab
    from skimage.draw import polygon2mask

    lab = rgb2lab(texture)
    centre = oval.mean(axis=0)
    width = float(np.ptp(oval[:, 0]))
    face = polygon2mask(matte.shape, (centre + (oval - centre) * 0.96)[:, ::-1])
    core = polygon2mask(matte.shape, (centre + (oval - centre) * 0.75)[:, ::-1])
    sample = lab[core]
    middle = np.median(sample, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(sample - middle), axis=0), [5.0, 2.5, 3.0])
    # light falls off towards ears and neck, hue hardly changes
    distance = np.sqrt((((lab - middle) / (spread * [3.2, 2.4, 2.4])) ** 2).sum(axis=2))
    likely = 1.0 / (1.0 + np.exp((distance - 1.15) * 6.0))
    y, x = np.mgrid[: matte.shape[0], : matte.shape[1]].astype(float)
    far = np.hypot(x - centre[0], (y - centre[1]) * 0.8) / width
    near = np.clip((1.05 - far) / 0.35, 0.0, 1.0)
    # inside the face also shaded and shiny places are skin; eyes, brows and glasses keep most of their own colour
    loose = 1.0 / (1.0 + np.exp((distance - 1.9) * 4.0))
    skin = np.where(face, np.maximum(likely, loose), likely * matte) * near
    # eyes and teeth keep their own colour, but not all of it: their light is the face's
    for hole, share in holes:
        skin[polygon2mask(matte.shape, hole[:, ::-1])] *= share
    return np.clip(gaussian_filter(skin, 1.2), 0.0, 1.0).astype(np.float32)


def retone(
    colour: NDArray[np.float32], where: NDArray[np.float32], target: Floats, strength: float, contrast: float = 1.0
) -> NDArray[np.float32]:
    """Move the mean colour under `where` towards `target` (3,) linear RGB, in log light so that shading stays.

    `colour` (h,w,3) linear; `strength` 0 leaves it, 1 reaches the target; `contrast` scales the deviations.
    """
    log = np.log(colour + 0.004)
    weight = where[..., None]
    total = float(weight.sum())
    if total < 50.0 or strength == 0.0:
        return colour
    mean = (log * weight).sum(axis=(0, 1)) / total
    wanted = mean + strength * (np.log(np.asarray(target) + 0.004) - mean)
    moved = wanted + (log - mean) * contrast
    return np.maximum(np.exp(log + weight * (moved - log)) - 0.004, 0.0).astype(np.float32)
