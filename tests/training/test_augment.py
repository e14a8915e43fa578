"""Colour changes RGB and nothing else, by the sample and not by its place."""

import colorsys

import numpy as np
import pytest
import torch

from training.augment import (
    AugmentConfig,
    ColourConfig,
    GeometryConfig,
    SpoofConfig,
    _grid,
    apply,
    apply_torch,
    colour_affines,
    move_depth,
    recipe,
    uniforms,
)
from training.recipe import Recipe

OFF = ColourConfig(brightness=0, hue=0, saturation=0, temperature=0)


def bytes_of(n=5, side=24, seed=0):
    return (torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 255).to(torch.uint8)


def coloured(config, numbers, images):
    n = len(images)
    affines = colour_affines(np.tile(np.array([numbers], float), (n, 1)), config)
    return apply(images, Recipe(affines, None, None, np.zeros(n, bool)))


def one(rgb):
    return (torch.tensor(rgb) * 255).to(torch.uint8).reshape(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("config", "numbers"), [(OFF, [0.1, 0.9, 0.3, 0.7, 0.2]), (ColourConfig(contrast=0.5), [0.5] * 5)]
)
def test_ranges_of_zero_and_the_middle_of_every_range_change_nothing(config, numbers):
    images = bytes_of()
    assert torch.allclose(coloured(config, numbers, images), images.float() / 255, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "numbers", "expected"),
    [
        ({"brightness": 0.5}, [1, 0, 0, 0, 0], [0.75, 0.6, 0.45]),  # x 1.5
        ({"temperature": 0.2}, [0, 0, 0, 1, 0], [0.6, 0.4, 0.24]),  # red up, blue down
        ({"temperature": 0.2}, [0, 0, 0, 0, 0], [0.4, 0.4, 0.36]),  # the other way
        ({"saturation": 1}, [0, 0, 0, 0, 0], [0.4185, 0.4185, 0.4185]),  # to its luma
        ({"contrast": 0.5}, [0, 0, 0, 0, 1], [0.5, 0.35, 0.2]),  # away from mid-grey
    ],
)
def test_each_knob_does_what_it_says(config, numbers, expected):
    pixel = coloured(OFF.model_copy(update=config), numbers, one([0.5, 0.4, 0.3]))
    assert pixel.flatten().tolist() == pytest.approx(expected, abs=5e-3)


def test_hue_turns_and_keeps_luma():
    turned = coloured(OFF.model_copy(update={"hue": 20}), [0.5, 1, 0.5, 0.5, 0.5], one([0.5, 0.35, 0.3])).flatten()
    luma = torch.tensor([0.299, 0.587, 0.114])
    assert float(turned @ luma) == pytest.approx(float(torch.tensor([0.5, 0.35, 0.3]) @ luma), abs=5e-3)
    assert abs(colorsys.rgb_to_hsv(*turned.tolist())[0] - colorsys.rgb_to_hsv(0.5, 0.35, 0.3)[0]) > 0.02


STRONG = AugmentConfig(
    colour=ColourConfig(brightness=0.9, hue=180, saturation=1, temperature=0.9),
    geometry=GeometryConfig(rotation=180, scale=0.5, shift=0.3),
    spoof=SpoofConfig(share=0.5),
)


def plan_of(config, n=64, side=24, label=None, seed=1):
    return recipe(
        config, seed, 0, np.arange(n, dtype=np.uint64), np.zeros(n, np.int64) if label is None else label, side
    )


@pytest.mark.parametrize("config", [STRONG, AugmentConfig(), STRONG.model_copy(update={"geometry": None})])
def test_kernel_and_torch_operators_agree_and_stay_in_range(config):
    images, plan = bytes_of(64), plan_of(config)
    ours, theirs = apply(images, plan), apply_torch(images, plan)
    assert torch.allclose(ours, theirs, atol=2e-4)
    assert 0 <= ours.min() < 0.01
    assert 0.99 < ours.max() <= 1
    assert ours.shape == images.shape
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_maps_move_by_the_kernel_as_by_torch():
    plan = plan_of(STRONG.model_copy(update={"spoof": None}), 16)
    maps = torch.rand(16, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    maps[3] = 0
    grid = _grid(plan.source, 24, 24, maps.device)
    expected = torch.nn.functional.grid_sample(maps, grid, padding_mode="zeros", align_corners=True)
    assert torch.allclose(move_depth(maps, plan), expected, atol=2e-4)


def test_image_and_depth_move_in_lock_step():
    """A checkerboard that is the image and the depth: wherever both come from inside, they stay the same."""
    side = 48
    board = ((torch.arange(side)[:, None] // 8 + torch.arange(side) // 8) % 2).float()
    images = (board * 255).to(torch.uint8).expand(32, 3, side, side)
    config = AugmentConfig(colour=None, geometry=GeometryConfig(rotation=30, scale=0.2, shift=0.1))
    plan = plan_of(config, 32, side)
    image, depth = apply(images, plan)[:, 0], move_depth(board.expand(32, 1, side, side), plan)[:, 0]
    inside = move_depth(torch.ones(32, 1, side, side), plan)[:, 0] > 0.9999
    assert inside.float().mean() > 0.5
    assert (image - depth).abs()[inside].max() < 1e-3
    assert (image - board).abs().mean() > 0.2  # and they did move


def test_a_mirror_image_is_one_and_a_quarter_turn_is_one():
    images = bytes_of(1, 9)
    flip = AugmentConfig(colour=None, geometry=GeometryConfig(rotation=0, scale=0, shift=0, flip=1))
    assert torch.allclose(apply(images, plan_of(flip, 1, 9))[0], images[0].flip(2) / 255, atol=1e-4)
    plan = plan_of(flip, 1, 9)
    turned = np.array([[[0.0, -1, 8], [1, 0, 0]]])  # result (x, y) is taken from (8 - y, x)
    got = apply(images, Recipe(plan.colour, turned, None, plan.turned))
    assert torch.allclose(got[0], images[0].rot90(1, (1, 2)) / 255, atol=1e-4)


def test_only_live_samples_are_turned_and_their_depth_goes():
    label = (np.arange(400) % 2).astype(np.int64)
    plan = plan_of(AugmentConfig(colour=None, spoof=SpoofConfig(share=0.3)), 400, label=label)
    assert not plan.turned[label == 1].any()
    assert plan.turned[label == 0].mean() == pytest.approx(0.3, abs=0.1)
    depth = move_depth(torch.ones(400, 1, 4, 4), plan)
    assert torch.equal(depth.amax(dim=(1, 2, 3)) == 0, torch.from_numpy(plan.turned))
    images = bytes_of(400)
    changed = ((apply(images, plan) - images / 255).abs().amax(dim=(1, 2, 3)) > 0.02).numpy()
    assert not changed[~plan.turned].any()
    assert changed[plan.turned].mean() > 0.95
    screens = plan.moire[:, 0] > 0
    assert screens[plan.turned].mean() == pytest.approx(0.5, abs=0.2)
    grey = apply(torch.full((400, 3, 24, 24), 128, dtype=torch.uint8), plan)
    spread = grey.std(dim=(2, 3)).mean(dim=1).numpy()
    assert (spread[screens] > 0.005).all()  # moire is a pattern, print a shift of colour
    assert (spread[~screens] < 1e-6).all()


def test_numbers_belong_to_the_sample_and_not_to_its_place():
    keys = np.array([2**63 + 5, 17, 4], np.uint64)
    numbers = uniforms(3, 1, keys, 4)
    assert np.array_equal(uniforms(3, 1, keys[::-1], 4), numbers[::-1])
    assert np.array_equal(uniforms(3, [1, 1, 1], keys, 4), numbers)
    for other in (uniforms(4, 1, keys, 4), uniforms(3, 2, keys, 4)):
        assert not np.isclose(other, numbers).any()


def test_numbers_are_uniform_and_unrelated():
    numbers = uniforms(0, 0, np.arange(20_000), 4)
    assert 0 <= numbers.min() < 1e-3
    assert 1 - 1e-3 < numbers.max() < 1
    assert np.abs(numbers.mean(axis=0) - 0.5).max() < 0.01
    assert np.abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.03
