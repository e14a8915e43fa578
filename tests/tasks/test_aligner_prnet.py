"""PRNet as an aligner, with slim random weights: the interface, the crop rule, the confidence, the errors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from prnet.errors import WeightsError
from prnet.train.faces import face_square
from simulation.packaged import packaged_photographs
from tasks.align import AlignConfig, align
from tasks.aligners import load_aligner
from tasks.aligners.prnet import sanity
from tests.fixtures.prnet_layout import small_layout, write_slim_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_slim_weights(tmp_path_factory.mktemp("prnet") / "prnet.safetensors")


@pytest.fixture(scope="module")
def aligner(weights):
    return load_aligner(AlignConfig(aligner="prnet", prnet_weights=weights))


def test_auto_is_prnet_when_its_weights_are_given(weights):
    chosen = load_aligner(AlignConfig(prnet_weights=weights))
    assert chosen.name == "prnet"
    assert len(chosen.weights_sha256) == 64
    assert chosen.version == f"resfcn256 width 0.0625 ({chosen.weights_sha256[:12]})"


def test_crops_become_vertices_in_crop_pixels(aligner):
    crops = np.random.default_rng(0).integers(0, 256, (3, aligner.size, aligner.size, 3), np.uint8)
    vertices, confidence = aligner(crops)
    assert vertices.dtype == confidence.dtype == np.float32
    assert vertices.shape == (3, len(small_layout().vertex_index), 3)
    assert confidence.shape == (3,)
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert aligner.triangles.max() < vertices.shape[1]


def test_a_box_is_cropped_by_the_rule_for_given_boxes(aligner):
    affine = aligner.first_crop(np.array([10.0, 20.0, 60.0, 90.0]), None)
    corners = affine[:, :2] @ (np.array([35.0, 55.0]) - 96 / 2) + affine[:, 2]  # 1.6 x the mean side of 60
    np.testing.assert_allclose(corners, [0, 0], atol=1e-9)
    assert affine[0, 0] == pytest.approx(63 / 96)
    assert aligner.next_crop(np.zeros((4, 3), np.float32)) is None


def test_align_brings_the_vertices_back_to_the_image(aligner):
    image = np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8)
    boxes = np.array([[30.0, 20.0, 100.0, 100.0], [60.0, 40.0, 90.0, 80.0]])
    large, small = align([image, image], boxes, [None, None], aligner)
    for face, box in ((large, boxes[0]), (small, boxes[1])):
        centre, side = (box[:2] + box[2:]) / 2, 1.6 * (box[2:] - box[:2]).mean()
        assert (np.abs(face.vertices[:, :2] - centre) < side * 0.61).all(), "0 to 1.1 of the square"
        assert np.ptp(face.vertices[:, 2]) < side * 1.1


def test_confidence_falls_with_what_lies_outside_and_with_tears():
    layout = small_layout(64)
    row, column = np.divmod(layout.vertex_index, 64)
    depth = 30 * np.sqrt(np.clip(1 - ((row - 32) / 30) ** 2 - ((column - 32) / 32) ** 2, 0, 1))
    sheet = np.stack([column, row, depth], 1).astype(np.float32)
    assert sanity(sheet, layout.triangles, 64) == 1
    half = sheet + np.float32([32, 0, 0])
    assert 0.4 < sanity(half, layout.triangles, 64) < 0.6
    noise = np.random.default_rng(0).uniform(0, 63, sheet.shape).astype(np.float32)
    assert sanity(noise, layout.triangles, 64) < 0.4
    assert sanity(np.zeros_like(sheet), layout.triangles, 64) == 0


def test_missing_weights_say_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match=r"gone.safetensors: no such weights file.*prnet import"):
        load_aligner(AlignConfig(prnet_weights=tmp_path / "gone.safetensors"))


def test_a_box_without_extent_is_taken_as_a_pixel(aligner):
    affine = aligner.first_crop(np.array([5.0, 5.0, 5.0, 4.0]), None)
    assert np.isfinite(affine).all()
    assert affine[0, 0] == 63


def test_without_weights_of_your_own_it_is_the_network_that_comes_along():
    small = load_aligner(AlignConfig(aligner="prnet"))
    assert (small.size, len(small.weights_sha256)) == (128, 64)
    assert load_aligner(AlignConfig()).name == "facemesh", "auto takes prnet only where somebody chose its weights"
    picture = np.asarray(Image.open(packaged_photographs()[0]).convert("RGB"))
    teacher = load_aligner(AlignConfig(aligner="facemesh"))
    (mesh,) = align([picture], np.array([[180.0, 70, 270, 190]]), [None], teacher)
    centre, side = face_square(mesh.vertices)
    box = np.concatenate([centre - side / 2, centre + side / 2])
    (face,) = align([picture], box[None], [None], small)
    found, expected = (
        np.array([a.vertices[list(point), :2].mean(0) for point in by.five_points])
        for a, by in ((face, small), (mesh, teacher))
    )
    off = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected[0] - expected[1])
    assert off[:3].max() < 0.1, "eyes and nose, of the distance between the eyes"
    assert off[3:].max() < 0.3, "a wide open smile is hard for it"
    assert face.confidence > 0.9


def test_another_engine_gives_the_same_vertices(weights, aligner):
    pytest.importorskip("openvino", reason="an extra")
    crops = np.random.default_rng(3).integers(0, 256, (5, aligner.size, aligner.size, 3), np.uint8)
    fast = load_aligner(AlignConfig(aligner="prnet", prnet_weights=weights, prnet_engine="openvino"))
    np.testing.assert_allclose(fast(crops)[0], aligner(crops)[0], atol=1e-3)  # px
    half = load_aligner(AlignConfig(aligner="prnet", prnet_weights=weights, prnet_precision="bfloat16"))
    assert 0 < np.abs(half(crops)[0] - aligner(crops)[0]).max() < 1


def test_the_module_is_light_until_a_network_is_loaded():
    code = "import sys, tasks.aligners.prnet; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
