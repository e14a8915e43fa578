"""Warping agrees with an independent bilinear sampler, to the pixel centre."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from tasks.warp import affine_scale, apply_affine, compose, invert_affine, warp

RNG = np.random.default_rng(0)


def smooth_image(height: int, width: int, sigma: float = 1.5) -> np.ndarray:
    noise = RNG.random((height, width, 3))
    image = gaussian_filter(noise, (sigma, sigma, 0))
    image = (image - image.min()) / (image.max() - image.min())
    return (image * 255).astype(np.uint8)


def reference(image: np.ndarray, affine: np.ndarray, size: int) -> np.ndarray:
    ys, xs = np.mgrid[:size, :size]
    back = apply_affine(invert_affine(affine), np.stack([xs.ravel(), ys.ravel()], 1))
    channels = [map_coordinates(image[..., c].astype(float), back.T[::-1], order=1, cval=np.nan) for c in range(3)]
    return np.stack(channels, 1).reshape(size, size, 3)


def similarity(scale: float, degrees: float, tx: float, ty: float, flip: bool = False) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)) * scale, math.sin(math.radians(degrees)) * scale
    affine = np.array([[c, -s, tx], [s, c, ty]])
    if flip:
        affine[:, 0] *= -1
    return affine


@pytest.mark.parametrize(
    "affine",
    [
        similarity(1, 0, 0, 0),  # identity
        similarity(1, 0, -10, -7),  # whole pixels
        similarity(1, 0, -10.5, -7.25),  # half and quarter pixels: where a +0.5 slip shows
        similarity(1.7, 20, 5, -40),  # enlarged and turned
        similarity(0.9, -33, 20, 30),  # just above the antialias threshold
        similarity(1.2, 10, 110, 3, flip=True),  # mirrored
        np.array([[1.3, 0.1, -9.0], [-0.2, 0.9, 4.0]]),  # aspect and shear
    ],
)
def test_warp_equals_an_independent_bilinear_sampler(affine: np.ndarray) -> None:
    image = smooth_image(90, 120)
    expected = reference(image, affine, 64)
    inside = ~np.isnan(expected)
    got = warp(image, affine, 64)
    assert inside.mean() > 0.3
    assert np.abs(got.astype(float) - expected)[inside].max() <= 1.001  # Pillow cuts the fraction off


@pytest.mark.parametrize("scale", [0.5, 0.31, 0.11])
def test_shrinking_keeps_positions_exact(scale: float) -> None:
    # ramps up and down: their difference cancels the rounding and leaves the shift, in image pixels
    ys, xs = np.mgrid[:600, :800]
    ramps = np.stack([xs * 0.3, 255 - xs * 0.3, ys * 0.4], -1)
    image = np.round(ramps).astype(np.uint8)
    affine = similarity(scale, 12, -20 * scale, -15 * scale)
    expected = reference(ramps, affine, 48)
    inner = slice(8, 40)
    error = (warp(image, affine, 48).astype(float) - expected)[inner, inner]
    shift = (error[..., 0] - error[..., 1]) / 2 / 0.3
    assert abs(np.nanmean(shift)) * scale < 0.03  # crop pixels
    assert np.nanmax(np.abs(error)) < 2.0


def test_shrinking_does_not_fake_moire() -> None:
    # a one-pixel checkerboard holds no detail that a 3x smaller crop can show: it must turn grey
    ys, xs = np.mgrid[:400, :400]
    image = np.repeat((((xs + ys) % 2) * 255).astype(np.uint8)[..., None], 3, -1)
    affine = similarity(1 / 3.1, 7, 4, 4)
    inner = (slice(30, 90), slice(30, 90))
    assert warp(image, affine, 128)[inner].std() < 4
    assert warp(image, affine, 128, antialias=False)[inner].std() > 30


def test_outside_the_image_is_black_and_a_crop_off_the_image_is_all_black() -> None:
    image = np.full((20, 20, 3), 200, np.uint8)
    crop = warp(image, similarity(1, 0, 5, 5), 40)
    assert (crop[:5] == 0).all()
    assert (crop[25:] == 0).all()
    assert (crop[5:25, 5:25] == 200).all()
    assert (warp(image, similarity(1, 0, 500, 0), 16) == 0).all()


def test_only_the_shown_part_decides_the_pixels() -> None:
    # the crop is cut before it is filtered; that must not change what it shows
    image = smooth_image(500, 500)
    affine = similarity(0.4, 5, -60, -60)
    wide = np.pad(image, ((64, 64), (64, 64), (0, 0)), mode="edge")
    shifted = compose(affine, np.array([[1, 0, -64.0], [0, 1, -64.0]]))
    difference = warp(image, affine, 64).astype(int) - warp(wide, shifted, 64)
    assert np.abs(difference).max() <= 6


def test_compose_and_invert_are_consistent() -> None:
    a, b = similarity(1.3, 20, 3, 4), similarity(0.6, -70, 8, -2, flip=True)
    points = RNG.random((10, 2)) * 100
    assert np.allclose(apply_affine(compose(b, a), points), apply_affine(b, apply_affine(a, points)))
    assert np.allclose(apply_affine(invert_affine(b), apply_affine(b, points)), points)
    assert affine_scale(compose(b, a)) == pytest.approx(1.3 * 0.6)
