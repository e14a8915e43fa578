"""PRNet.load, positions and vertices."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from prnet import PRNet
from prnet.errors import WeightsError
from tests.fixtures.prnet_layout import random_network, small_layout, write_slim_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_slim_weights(tmp_path_factory.mktemp("prnet") / "prnet.safetensors")


@pytest.fixture(scope="module")
def model(weights):
    return PRNet.load(weights, device="cpu")


def crops(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), np.uint8)


def test_a_position_map_is_the_networks_output_in_crop_pixels(model):
    batch = crops(3)
    pixels = torch.from_numpy(batch).float().permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = random_network()(pixels).permute(0, 2, 3, 1) * 1.1 * 64
    got = model.positions(batch)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-2)


def test_vertices_are_the_position_map_read_at_the_layouts_pixels(model):
    batch = crops(2)
    layout = small_layout()
    expected = model.positions(batch).reshape(2, -1, 3)[:, layout.vertex_index]
    np.testing.assert_array_equal(model.vertices(batch), expected)
    assert model.triangles.max() < expected.shape[1]


def test_kinds_of_input_agree(model):
    batch = crops(5)
    whole = model.vertices(batch)
    np.testing.assert_allclose(model.vertices((batch / 255).astype(np.float32)), whole, atol=1e-3)
    np.testing.assert_allclose(model.vertices(batch / 255), whole, atol=1e-3)
    as_tensor = model.vertices(torch.from_numpy(batch))
    assert isinstance(as_tensor, torch.Tensor)
    np.testing.assert_array_equal(as_tensor.numpy(), whole)
    np.testing.assert_allclose(model.vertices(batch[4:]), whole[4:], atol=1e-3)
    assert model.vertices(batch[:0]).shape == (0, whole.shape[1], 3)


def test_what_a_model_says_of_itself(model, weights):
    import hashlib

    assert model.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert model.about["width"] == 1 / 16
    assert model.about["source"] == "random numbers"
    assert (model.size, model.device.type, model.dtype) == (64, "cpu", torch.float32)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (np.zeros((64, 64, 3), np.uint8), "expected shape"),
        (np.zeros((1, 32, 32, 3), np.uint8), "expected shape"),
        (np.full((1, 64, 64, 3), 200.0), r"must be in \[0, 1\]"),
        (np.full((1, 64, 64, 3), np.nan), r"must be in \[0, 1\]"),
        (np.zeros((1, 64, 64, 3), np.int32), "uint8 or floating"),
    ],
)
def test_wrong_crops_are_refused(model, batch, words):
    with pytest.raises(ValueError, match=words):
        model.positions(batch)


def test_a_weights_file_that_is_missing_foreign_cut_or_changed_is_refused(tmp_path, weights):
    with pytest.raises(WeightsError, match="no such weights file"):
        PRNet.load(tmp_path / "none.safetensors")
    whole = weights.read_bytes()
    path = tmp_path / "spoilt.safetensors"
    changed = bytearray(whole)
    changed[-70000] ^= 1  # one bit of a tensor: safetensors itself does not notice
    for content, words in [
        (whole[:-5], "not a readable safetensors"),
        (b"", "not a readable safetensors"),
        (b"PK\x03\x04 not this", "not a readable safetensors"),
        (bytes(changed), "damaged"),
    ]:
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=words):
            PRNet.load(path)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="but not one of"):
        PRNet.load(path)


def test_writing_weights_twice_gives_the_same_bytes_and_leaves_nothing_else(tmp_path):
    first, second = (write_slim_weights(tmp_path / name) for name in ("a.safetensors", "b.safetensors"))
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_import_of_the_package_is_cheap():
    code = "import sys, prnet; assert 'torch' not in sys.modules; prnet.PRNet; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_openvino_computes_the_same_maps_for_any_number_of_crops(weights, model):
    pytest.importorskip("openvino", reason="an extra")
    fast = PRNet.load(weights, engine="openvino")
    assert fast.device.type == "cpu"
    for count in (1, 2, 5):
        batch = crops(count, seed=count)
        np.testing.assert_allclose(fast.positions(batch), model.positions(batch), atol=1e-3)
    with pytest.raises(ValueError, match="float16"):
        PRNet.load(weights, engine="openvino", dtype=torch.float16)
    with pytest.raises(ValueError, match="runs on the CPU"):
        PRNet.load(weights, engine="openvino", device="cuda")


def test_an_engine_that_is_not_installed_names_its_extra(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(WeightsError, match=r"pseudodepth\[openvino\]"):
        PRNet.load(weights, engine="openvino")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_crops_from_the_host_and_from_the_device_give_the_same_on_cuda(weights):
    gpu = PRNet.load(weights, device="cuda", dtype=torch.float32)
    batch = crops(150)  # two full steps and a rest
    from_host = gpu.positions(batch)
    torch.testing.assert_close(gpu.positions(torch.from_numpy(batch).cuda()).cpu().numpy(), from_host)
    np.testing.assert_allclose(from_host, PRNet.load(weights, device="cpu").positions(batch), atol=2e-2)
