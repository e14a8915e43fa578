"""The torch rasteriser gives the bits of the compiled one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prnet import rasterize
from prnet.rasterize_torch import rasterize_torch


def sheets(batch, side, spread, size, seed=0):
    """(B,V,3) wrinkled sheets larger than the picture, and their triangles."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[0:side, 0:side] / (side - 1)
    flat = np.stack(
        [column * size * 1.3 - size * 0.15, row * size * 1.3 - size * 0.15, 50 + 20 * np.sin(9 * column)], -1
    )
    vertices = flat.reshape(1, -1, 3) + rng.normal(0, spread, (batch, side * side, 3))
    index = np.arange(side * side).reshape(side, side)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return vertices, triangles


@pytest.mark.parametrize("rule", ["flat", "barycentric"])
@pytest.mark.parametrize(
    ("side", "spread", "size"),
    [
        (200, 0.5, 96),  # triangles of a pixel or less
        (6, 8.0, 90),  # triangles of tens of pixels
        (13, 0.0, 60),  # corners exactly on pixel centres
    ],
)
def test_bit_equal_to_the_compiled_rasteriser(side, spread, size, rule):
    vertices, triangles = sheets(3, side, spread, size)
    vertices = vertices if spread else np.round(vertices)
    expected = rasterize(vertices, triangles, (size, size + 7), rule=rule)
    depth = rasterize_torch(torch.from_numpy(vertices), torch.from_numpy(triangles), (size, size + 7), rule=rule)
    assert (expected > 0).mean() > 0.8
    np.testing.assert_array_equal(depth.numpy(), expected)


@pytest.mark.parametrize("rule", ["flat", "barycentric"])
def test_small_rounds_change_nothing(monkeypatch, rule):
    vertices, triangles = (torch.from_numpy(array) for array in sheets(2, 12, 1.0, 50))
    whole = rasterize_torch(vertices, triangles, (50, 50), rule=rule)
    monkeypatch.setattr("prnet.rasterize_torch.CANDIDATES", {"cpu": 17})
    assert torch.equal(rasterize_torch(vertices, triangles, (50, 50), rule=rule), whole)


@pytest.mark.parametrize("rule", ["flat", "barycentric"])
def test_float32_vertices_single_mesh_and_shapes_without_area(rule):
    vertices, triangles = sheets(1, 9, 1.0, 40)
    vertices = vertices[0].astype(np.float32)
    triangles = np.concatenate([triangles, [[0, 0, 5], [1, 1, 1]]])
    expected = rasterize(vertices, triangles, (40, 40), rule=rule)
    depth = rasterize_torch(torch.from_numpy(vertices), torch.from_numpy(triangles), (40, 40), rule=rule)
    np.testing.assert_array_equal(depth.numpy(), expected)


def test_nothing_in_the_picture_is_an_empty_picture():
    far = torch.full((2, 3, 3), 1e30)
    assert not rasterize_torch(far, torch.tensor([[0, 1, 2]]), (5, 6)).any()


def test_bad_input_is_named():
    triangle = torch.tensor([[0, 1, 2]])
    with pytest.raises(ValueError, match="finite"):
        rasterize_torch(torch.full((3, 3), torch.nan), triangle, (4, 4))
    with pytest.raises(ValueError, match="expected shape"):
        rasterize_torch(torch.zeros(3, 2), triangle, (4, 4))
    with pytest.raises(ValueError, match="expected one of"):
        rasterize_torch(torch.zeros(3, 3), triangle, (4, 4), rule="smooth")
