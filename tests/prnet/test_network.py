"""The network is the published one, and folding does not change it."""

from __future__ import annotations

import pytest
import torch

from prnet.checkpoint import tf_names
from prnet.fold import Folded
from prnet.network import Resfcn256
from tests.fixtures.prnet_layout import random_network


def test_full_width_has_the_published_number_of_floats_and_variables():
    tensors = Resfcn256().tensors()
    moving = sum(value.numel() for name, value in tensors.items() if "running" in name)
    assert len(tensors) == 245
    assert sum(value.numel() for value in tensors.values()) == 13_365_508
    assert moving == 11_890


def test_names_of_the_tensorflow_graph():
    names = tf_names(Resfcn256(width=1 / 16, size=32))
    assert len(set(names.values())) == 245
    assert names["stem.conv.weight"] == "resfcn256/Conv/weights"
    assert names["stem.norm.running_var"] == "resfcn256/Conv/BatchNorm/moving_variance"
    assert names["blocks.0.shortcut.weight"] == "resfcn256/resBlock/shortcut/weights"
    assert names["blocks.3.spatial.norm.weight"] == "resfcn256/resBlock_3/Conv_1/BatchNorm/gamma"
    assert names["blocks.9.norm.bias"] == "resfcn256/resBlock_9/BatchNorm/beta"
    assert names["blocks.9.expand.weight"] == "resfcn256/resBlock_9/Conv_2/weights"
    assert names["decoder.0.conv.weight"] == "resfcn256/Conv2d_transpose/weights"
    assert names["decoder.16.norm.running_mean"] == "resfcn256/Conv2d_transpose_16/BatchNorm/moving_mean"
    assert "blocks.1.shortcut.weight" not in names


@pytest.mark.parametrize(("width", "size"), [(1 / 16, 32), (0.25, 64), (0.5, 96)])
def test_slim_widths_and_other_sizes_map_a_crop_to_a_position_map(width, size):
    with torch.no_grad():
        out = Resfcn256(width, size).eval()(torch.rand(2, 3, size, size))
    assert out.shape == (2, 3, size, size)
    assert out.min() > 0
    assert out.max() < 1


@pytest.mark.parametrize(("width", "size"), [(0.1, 256), (0, 256), (1, 100), (1, 0)])
def test_sizes_that_cannot_be_are_refused(width, size):
    with pytest.raises(ValueError, match="expected a positive multiple"):
        Resfcn256(width, size)


def test_folding_keeps_the_function():
    network = random_network(width=0.25, size=64)
    crops = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(Folded(network)(crops), network(crops), atol=2e-5, rtol=0)


def test_folded_in_half_precision_still_ends_in_float32():
    network = Folded(random_network(size=64), torch.bfloat16)
    with torch.no_grad():
        out = network(torch.rand(1, 3, 64, 64))
    assert out.dtype == torch.float32
    assert {weight.dtype for weight in network.tail.parameters()} == {torch.float32}
    assert {weight.dtype for weight in network.body.parameters()} == {torch.bfloat16}


def test_a_training_step_reaches_every_weight():
    network = Resfcn256(1 / 16, 64).train()
    network(torch.rand(4, 3, 64, 64)).square().mean().backward()
    without = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert not without
