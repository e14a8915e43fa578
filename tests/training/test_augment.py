"""Colour changes RGB and nothing else, by the sample and not by its place."""

import colorsys

import numpy as np
import pytest
import torch

from training.augment import ColourConfig, colour, colour_matrices, uniforms

OFF = ColourConfig(brightness=0, hue=0, saturation=0, temperature=0)


def apply(config, numbers, images):
    return colour(images, colour_matrices(np.array([numbers], float), config))


def test_all_ranges_at_zero_change_nothing():
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(colour(images, colour_matrices(uniforms(0, 0, np.arange(5), 4), OFF)), images, atol=1e-6)


def test_middle_of_every_range_changes_nothing():
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(apply(ColourConfig(), [0.5] * 4, images), images, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "numbers", "expected"),
    [
        (OFF.model_copy(update={"brightness": 0.5}), [1, 0, 0, 0], [0.75, 0.6, 0.45]),  # x 1.5
        (OFF.model_copy(update={"temperature": 0.2}), [0, 0, 0, 1], [0.6, 0.4, 0.24]),  # red up, blue down
        (OFF.model_copy(update={"temperature": 0.2}), [0, 0, 0, 0], [0.4, 0.4, 0.36]),  # the other way
        (OFF.model_copy(update={"saturation": 1}), [0, 0, 0, 0], [0.4185, 0.4185, 0.4185]),  # to its luma
    ],
)
def test_each_knob_does_what_it_says(config, numbers, expected):
    pixel = torch.tensor([0.5, 0.4, 0.3]).reshape(1, 3, 1, 1)
    assert apply(config, numbers, pixel).flatten().tolist() == pytest.approx(expected, abs=1e-3)


def test_hue_turns_and_keeps_luma():
    pixel = torch.tensor([0.5, 0.35, 0.3]).reshape(1, 3, 1, 1)
    turned = apply(OFF.model_copy(update={"hue": 20}), [0.5, 1, 0.5, 0.5], pixel).flatten()
    luma = torch.tensor([0.299, 0.587, 0.114])
    assert float(turned @ luma) == pytest.approx(float(pixel.flatten() @ luma), abs=1e-4)
    assert abs(colorsys.rgb_to_hsv(*turned.tolist())[0] - colorsys.rgb_to_hsv(0.5, 0.35, 0.3)[0]) > 0.02


def test_values_stay_in_range():
    images = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    strong = ColourConfig(brightness=0.9, hue=180, saturation=1, temperature=0.9)
    changed = colour(images, colour_matrices(uniforms(1, 0, np.arange(64), 4), strong))
    assert 0 <= changed.min() < 0.01
    assert 0.99 < changed.max() <= 1
    assert changed.shape == images.shape


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
