"""Detectors whose weights a user places: what is read, how it is decoded, and what is said when a file is missing.

The published weights cannot be part of a test. With a random ResNet-50 exported from retina-face 0.0.19's own PyTorch
model, scores, boxes and points of all candidates were equal to its `detect_faces` (to its whole-pixel boxes); the small
model here has the same outputs, and the expectation is written out as that package's anchors and formulas say.
"""

import shutil

import numpy as np
import pytest

from tasks.detect import DetectConfig
from tasks.detectors import load_detector
from tasks.errors import BuildError
from tests.fixtures.onnx_model import resnet50_like
from tests.fixtures.photos import ASTRONAUT, photo

# retina-face's base anchors: x1, y1, x2, y2 of the first cell, last pixel included
BASE = {32: [(-248, 263), (-120, 135)], 16: [(-56, 71), (-24, 39)], 8: [(-8, 23), (0, 15)]}
SCORE = 0.7


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    model, weights = resnet50_like()
    path = tmp_path_factory.mktemp("deepface") / ".deepface" / "weights" / "retinaface.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(model)
    return path, weights


def candidates(image, weights):
    """Every anchor above SCORE as (score, box, points), one cell at a time."""
    found = []
    for stride, bases in BASE.items():
        for row in range(image.shape[0] // stride):
            for column in range(image.shape[1] // stride):
                cell = image[row * stride : (row + 1) * stride, column * stride : (column + 1) * stride]
                out = {c: weights[stride, c][0] @ cell.mean(axis=(0, 1)) + weights[stride, c][1] for c in (4, 8, 20)}
                for a, (low, high) in enumerate(bases):
                    side = high - low + 1
                    centre = np.array([column, row]) * stride + low + (side - 1) / 2
                    dx, dy, dw, dh = out[8][4 * a : 4 * a + 4]
                    middle, length = centre + np.array([dx, dy]) * side, np.exp([dw, dh]) * side
                    box = np.concatenate([middle - (length - 1) / 2, middle + (length - 1) / 2])
                    points = centre + out[20][10 * a : 10 * a + 10].reshape(5, 2) * side
                    if out[4][2 + a] >= SCORE:
                        found.append((out[4][2 + a], box, points))
    return found


def test_resnet50_finds_what_the_package_s_formulas_say(small_model):
    path, weights = small_model
    image = photo(ASTRONAUT)[:320, :416]
    faces = load_detector(DetectConfig(detector="retinaface-resnet50", weights=path, min_score=SCORE))([image])[0]
    expected = candidates(image.astype(np.float64), weights)
    assert 3 < len(faces) < len(expected)  # overlapping ones are gone
    assert faces.scores[0] == pytest.approx(max(score for score, _, _ in expected), abs=1e-4)
    boxes = np.array([box for _, box, _ in expected])
    for score, box, points in zip(faces.scores, faces.boxes, faces.points, strict=True):
        nearest = expected[np.abs(boxes - box).sum(axis=1).argmin()]
        assert nearest[0] == pytest.approx(score, abs=1e-4)
        np.testing.assert_allclose(box, nearest[1], atol=1e-2)
        np.testing.assert_allclose(points, nearest[2], atol=1e-2)


def test_resnet50_batches_equal_sizes(small_model):
    image = photo(ASTRONAUT)
    images = [image[:96, :96], image[200:264, :128], image[96:192, :96]]
    detector = load_detector(DetectConfig(detector="retinaface-resnet50", weights=small_model[0], min_score=SCORE))
    for many, one in zip(detector(images), [detector([image])[0] for image in images], strict=True):
        np.testing.assert_allclose(many.boxes, one.boxes, atol=1e-3)


def test_resnet50_weights_are_looked_for_where_retina_face_keeps_them(small_model, monkeypatch):
    home = small_model[0].parents[2]
    monkeypatch.setenv("DEEPFACE_HOME", str(home))
    assert load_detector(DetectConfig(detector="retinaface-resnet50")).name == "retinaface-resnet50"
    monkeypatch.setenv("DEEPFACE_HOME", str(home / "elsewhere"))
    message = r"cannot read .*elsewhere/\.deepface/weights/retinaface\.onnx.*retina-face.*put it at .*retinaface\.onnx"
    with pytest.raises(BuildError, match=message + ".*--detector-weights"):
        load_detector(DetectConfig(detector="retinaface-resnet50"))


def test_resnet50_refuses_another_network(tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(resnet50_like(channels=(4, 8, 16))[0])
    with pytest.raises(BuildError, match=r"other\.onnx is not retina-face's ResNet-50.*\[4, 8, 16"):
        load_detector(DetectConfig(detector="retinaface-resnet50", weights=path))


@pytest.mark.slow
def test_sfd_finds_what_the_package_s_own_detector_finds(tmp_path, monkeypatch):
    """Random weights, placed where the package keeps its downloads; it then reads the same file."""
    import torch
    from face_alignment.detection.sfd import FaceDetector
    from face_alignment.detection.sfd.net_s3fd import s3fd

    torch.manual_seed(1)
    network = s3fd()
    with torch.no_grad():  # enough candidates, at a stride where they are few
        network.fc7_mbox_conf.bias[1] = 1.0
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "s3fd-619a316812.pth"
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    images = [np.ascontiguousarray(photo(ASTRONAUT)[top : top + 128, :160]) for top in (0, 128)]
    faces = load_detector(DetectConfig(detector="face-alignment", min_score=0.5))(images)
    theirs = FaceDetector(device="cpu", path_to_detector=str(path), filter_threshold=0.5)
    for ours, image in zip(faces, images, strict=True):
        expected = np.array(theirs.detect_from_image(image))
        assert len(ours) == len(expected) > 0
        np.testing.assert_allclose(ours.boxes, expected[:, :4], rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(ours.scores, expected[:, 4], rtol=1e-5)
        assert np.isnan(ours.points).all()
    shutil.rmtree(tmp_path / "hub")


def test_sfd_says_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = r"hub/checkpoints/s3fd-619a316812\.pth"
    with pytest.raises(BuildError, match=rf"S3FD\): cannot read .*{place}.*face-alignment.*put it at .*{place}"):
        load_detector(DetectConfig(detector="face-alignment"))
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"\x80\x02junk")
    with pytest.raises(BuildError, match=r"damaged\.pth is damaged or no checkpoint"):
        load_detector(DetectConfig(detector="face-alignment", weights=damaged))


def test_a_checkpoint_that_would_run_code_is_not_loaded(tmp_path):
    import os
    import pickle

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "s3fd-619a316812.pth"
    path.write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(BuildError, match="no checkpoint that is safe to load"):
        load_detector(DetectConfig(detector="face-alignment", weights=path))
    assert not (tmp_path / "ran").exists()
