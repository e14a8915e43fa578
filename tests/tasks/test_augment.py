"""Views: image and depth move as one, and a view's randomness is its own."""

import numpy as np
import pytest

from tasks.augment import ViewConfig, view_affine, view_rng
from tasks.depth import DepthConfig, depth_map
from tasks.errors import MediumError
from tasks.warp import affine_scale, apply_affine, invert_affine, warp
from tests.tasks.test_depth import dome

BOX = (60, 40, 160, 180)
CONFIG = ViewConfig(views=50)


def affine(view: int, config: ViewConfig = CONFIG, seed: int = 0, path: str = "a.jpg") -> np.ndarray:
    return view_affine(BOX, view, view_rng(seed, "d", path, 0, view), config)


def test_view_0_is_the_square_around_the_box() -> None:
    corners = apply_affine(affine(0), [(110 - 84, 110 - 84), (110 + 84, 110 + 84), (110, 110)])  # 1.2 * 140 / 2 = 84
    assert np.allclose(corners, [(-0.5, -0.5), (223.5, 223.5), (111.5, 111.5)])


def test_a_view_depends_on_its_key_alone() -> None:
    assert np.array_equal(affine(3), affine(3))
    assert not np.allclose(affine(3), affine(4))
    assert not np.allclose(affine(3), affine(3, seed=1))
    assert not np.allclose(affine(3), affine(3, path="b.jpg"))
    assert np.array_equal(affine(0), affine(0, seed=1))  # the plain crop has none


def test_the_draws_stay_within_their_ranges_and_use_them() -> None:
    shifts, scales, angles, aspects, flips = [], [], [], [], []
    for view in range(1, 400):
        step = affine(view)
        shifts.append((apply_affine(step, [(110, 110)])[0] - 111.5) / 224)
        scales.append(affine_scale(step) / affine_scale(affine(0)))
        flips.append(np.linalg.det(step[:, :2]) < 0)
        linear = np.diag([-1 if flips[-1] else 1, 1]) @ step[:, :2]
        angles.append(np.degrees(np.arctan2(linear[1, 0], linear[0, 0])))
        aspects.append(np.linalg.norm(linear[:, 0]) / np.linalg.norm(linear[:, 1]))
    for values, low, high in ((shifts, -0.08, 0.08), (scales, 0.9, 1.15), (angles, -15, 15), (aspects, 0.92, 1.08)):
        assert np.min(values) == pytest.approx(low, abs=(high - low) / 40)
        assert np.max(values) == pytest.approx(high, abs=(high - low) / 40)
        assert np.min(values) >= low - 1e-9
        assert np.max(values) <= high + 1e-9
    assert 0.4 < np.mean(flips) < 0.6


def test_switching_one_variation_off_leaves_the_others_as_they_were() -> None:
    without = CONFIG.model_copy(update={"flip": 0.0})
    for view in range(1, 10):
        other = affine(view, without)
        mirrored = np.linalg.det(affine(view)[:, :2]) < 0
        expected = affine(view) if not mirrored else None
        if expected is not None:
            assert np.allclose(other, expected)
        assert np.linalg.det(other[:, :2]) > 0


@pytest.mark.parametrize("box", [(10, 10, 10, 20), (20, 10, 10, 20), (0, 0, np.nan, 5), (0, 0, np.inf, 5)])
def test_a_box_without_area_is_rejected(box: tuple[float, ...]) -> None:
    with pytest.raises(MediumError) as caught:
        view_affine(box, 0, view_rng(0, "d", "a", 0, 0), CONFIG)
    assert caught.value.reason == "bad-box"


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture of the dome in which each pixel's grey level is its depth, so a crop can be compared to its map."""
    vertices, triangles = dome(radius=60, centre=(110, 110), n=61)
    grey = depth_map(vertices, triangles, 230, DepthConfig())
    return np.repeat(grey[..., None], 3, -1), vertices, triangles


@pytest.mark.parametrize("view", range(12))
def test_image_and_depth_agree_in_every_view(view: int) -> None:
    image, vertices, triangles = scene()
    step = affine(view)
    crop = warp(image, step, CONFIG.size)[..., 0].astype(float)
    moved = np.column_stack([apply_affine(step, vertices[:, :2]), vertices[:, 2] * affine_scale(step)])
    depth = depth_map(moved, triangles, CONFIG.size, DepthConfig()).astype(float)
    # away from the outline, where the warped picture blends face and background
    inside = (depth > 0) & (crop > 0)
    for axis in (0, 1):
        for by in (-2, 2):
            inside &= np.roll(depth > 0, by, axis)
    error = (crop - depth)[inside]
    assert inside.sum() > 10_000
    assert abs(error.mean()) < 1.0
    assert np.abs(error).max() <= 3  # one pixel of slip is up to 6 grey levels here


def test_a_flip_moves_both() -> None:
    image, vertices, triangles = scene()
    image = image.copy()
    image[:, :110] //= 2  # the picture's left half is marked
    plain, mirror = affine(0), np.array([[-1, 0, 223.0], [0, 1, 0]])
    flipped = np.column_stack([mirror[:, :2] @ plain[:, :2], mirror[:, :2] @ plain[:, 2] + mirror[:, 2]])
    crops, depths = [], []
    for step in (plain, flipped):
        crops.append(warp(image, step, 224))
        moved = np.column_stack([apply_affine(step, vertices[:, :2]), vertices[:, 2]])
        depths.append(depth_map(moved, triangles, 224, DepthConfig()))
    assert np.abs(crops[1][:, ::-1].astype(int) - crops[0]).max() <= 1
    assert np.abs(depths[1][:, ::-1].astype(int) - depths[0]).max() <= 1
    assert np.allclose(apply_affine(invert_affine(flipped), [(0, 5)]), apply_affine(invert_affine(plain), [(223, 5)]))
