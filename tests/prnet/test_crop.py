"""Crop rules, the crop itself and the way back, against the published arithmetic and scikit-image's warp."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.transform import SimilarityTransform, warp

from prnet.crop import crop_affine, crop_images, landmarks_box, restore


@pytest.mark.parametrize(
    ("rule", "scale", "shift"),
    [
        ("detector", 1.58, 0.14),  # dlib's box: the face's middle lies lower
        ("box", 1.6, 0.0),
        ("landmarks", 1.6, 0.0),
    ],
)
def test_a_rule_puts_its_square_onto_the_pixel_centres(rule, scale, shift):
    box = np.array([40.0, 50.0, 141.0, 171.0])
    mean = (101 + 121) / 2
    side = int(scale * mean)
    corner = np.array([90.5, 110.5 + shift * mean]) - side / 2
    affine = crop_affine(box, rule, 256)
    np.testing.assert_allclose(affine[:, :2] @ corner + affine[:, 2], [0, 0], atol=1e-9)
    np.testing.assert_allclose(affine[:, :2] @ (corner + side) + affine[:, 2], [255, 255], atol=1e-9)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_crops_are_those_of_skimage_warp(dtype):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 120, 170, 3), np.uint8)
    boxes = [[20, 10, 100, 95], [110, 60, 190, 150]]  # the second hangs over the picture's corner
    affines = np.stack([crop_affine(box, "box", 128) for box in boxes])
    given = torch.from_numpy(images if dtype == "uint8" else (images / 255).astype(dtype))
    crops = crop_images(given, torch.from_numpy(affines), 128).numpy()
    for image, affine, crop in zip(images, affines, crops, strict=True):
        transform = SimilarityTransform(np.vstack([affine, [0, 0, 1]]))
        expected = warp(image / 255, transform.inverse, output_shape=(128, 128), order=1)
        assert np.abs(crop - expected).max() < 1e-4
        assert np.abs(crop - expected).mean() < 1e-5
    assert crops[1][-1, -1].max() == 0


def test_images_of_different_sizes_are_cropped_one_by_one():
    rng = np.random.default_rng(1)
    images = [torch.from_numpy(rng.integers(0, 256, (side, side + 9, 3), np.uint8)) for side in (60, 90)]
    affines = torch.from_numpy(np.stack([crop_affine([10, 10, 50, 50], size=64)] * 2))
    crops = crop_images(images, affines, 64)
    assert crops.shape == (2, 64, 64, 3)
    torch.testing.assert_close(crops[1:], crop_images(images[1][None], affines[1:], 64))


def test_restore_undoes_the_crop_and_scales_z_as_x_and_y():
    rng = np.random.default_rng(2)
    affines = np.stack([crop_affine([30, 40, 130, 150], "detector"), crop_affine([5, 5, 45, 65])])
    points = rng.uniform(0, 255, (2, 50, 3))
    there = np.einsum("bij,bnj->bni", affines[:, :, :2], points[..., :2]) + affines[:, None, :, 2]
    crop_points = np.concatenate([there, points[..., 2:] * affines[:, None, :1, 0]], -1)
    back = restore(torch.from_numpy(crop_points), torch.from_numpy(affines))
    np.testing.assert_allclose(back.numpy(), points, atol=1e-9)
    maps = torch.from_numpy(crop_points).reshape(2, 10, 5, 3).float()
    assert restore(maps, torch.from_numpy(affines)).shape == (2, 10, 5, 3)


def test_a_box_around_landmarks():
    landmarks = np.random.default_rng(3).uniform(20, 80, (68, 3))
    np.testing.assert_array_equal(landmarks_box(landmarks), [*landmarks[:, :2].min(0), *landmarks[:, :2].max(0)])
    with pytest.raises(ValueError, match=r"expected shape \(N, 2\)"):
        landmarks_box(landmarks[:2])


@pytest.mark.parametrize(
    ("box", "rule"),
    [([0, 0, 10, 10], "dlib"), ([0, 0, np.nan, 4], "box"), ([9, 0, 4, 4], "box"), ([3, 3, 3.2, 3.2], "box")],
)
def test_boxes_and_rules_that_make_no_sense_are_refused(box, rule):
    with pytest.raises(ValueError, match=r"expected|smaller than a pixel"):
        crop_affine(box, rule)
