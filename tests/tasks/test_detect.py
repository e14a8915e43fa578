"""Detection: the packaged network against its own package, sizes and batches, and which face is chosen."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tasks.detect import DetectConfig, Faces, choose_face, suppress
from tasks.detectors import load_detector
from tasks.detectors.retinaface import priors
from tasks.errors import BuildError
from tests.fixtures.photos import ASTRONAUT, GRACE_HOPPER, PHOTOS, photo

# the package's own answer, in a process of its own because it imports cv2 and owns the name retinaface
REFERENCE = """
import dataclasses, json, sys
import numpy as np, retinaface
from PIL import Image
faces = [retinaface.detect_faces(np.asarray(Image.open(path).convert("RGB"))) for path in sys.argv[1:]]
print(json.dumps([[dataclasses.asdict(face) for face in image] for image in faces], default=float))
"""


@pytest.fixture(scope="module")
def detector():
    return load_detector(DetectConfig())


def resized(image, width, height):
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))


def iou(a, b):
    common = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    return common / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - common)


def test_photographs_give_what_the_carrier_s_own_detector_gives(detector):
    run = subprocess.run(
        [sys.executable, "-c", REFERENCE, *map(str, PHOTOS)], check=True, capture_output=True, text=True
    )
    for theirs, ours in zip(json.loads(run.stdout), detector([photo(path) for path in PHOTOS]), strict=True):
        assert len(theirs) == len(ours) == 1
        face = theirs[0]
        box = np.array([face["x"], face["y"], face["x"] + face["width"], face["y"] + face["height"]])
        points = np.array([[point["x"], point["y"]] for point in face["landmarks"]])
        # they truncate to whole pixels, and subtract 127 instead of the trained 123 from red
        assert np.abs(ours.boxes[0] - box).max() < 4
        assert np.abs(ours.points[0] - points).max() < 3
        assert abs(ours.scores[0] - face["score"]) < 0.01


def test_points_come_in_the_order_of_the_image(detector):
    for path in PHOTOS:
        left_eye, right_eye, nose, left_mouth, right_mouth = detector([photo(path)])[0].points[0]
        assert left_eye[0] < nose[0] < right_eye[0]
        assert left_mouth[0] < nose[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_a_batch_of_mixed_sizes_equals_one_at_a_time(detector):
    upright, other = photo(ASTRONAUT), photo(GRACE_HOPPER)
    small = resized(upright, 160, 160)
    images = [upright, small, other, upright[:, ::-1].copy(), small[:, ::-1].copy()]
    together, alone = detector(images), [detector([image])[0] for image in images]
    for many, one in zip(together, alone, strict=True):  # to the bit: a frame's crop never depends on its neighbours
        assert len(many) > 0
        assert np.array_equal(many.boxes, one.boxes)
        assert np.array_equal(many.points, one.points)
        assert np.array_equal(many.scores, one.scores)
    assert detector([]) == []


def test_large_images_are_searched_small_and_answered_in_their_own_pixels(detector):
    image = photo(ASTRONAUT)
    plain = detector([image])[0]
    large = image.repeat(4, axis=0).repeat(4, axis=1)  # a pixel's centre x is now at 4 x + 1.5
    faces = load_detector(DetectConfig(max_side=512))([large])[0]
    assert len(faces) == 1
    assert np.abs(faces.boxes[0] - (plain.boxes[0] * 4 + 1.5)).max() < 4 * 0.5
    assert np.abs(faces.points[0] - (plain.points[0] * 4 + 1.5)).max() < 4 * 0.5


@pytest.mark.parametrize("size", [(32, 40), (67, 67), (331, 77), (512, 1), (640, 33)])
def test_images_of_odd_sizes_need_no_padding(detector, size):
    faces = detector([resized(photo(ASTRONAUT), *size)])[0]
    assert np.isfinite(faces.boxes).all()


def test_a_tight_crop_still_shows_its_face(detector):
    image = photo(GRACE_HOPPER)
    x1, y1, x2, y2 = detector([image])[0].boxes[0].astype(int)
    faces = detector([image[y1:y2, x1:x2]])[0]
    assert faces.scores[0] > 0.95
    assert iou(faces.boxes[0], np.array([0, 0, x2 - x1, y2 - y1])) > 0.7


def test_pictures_without_faces_have_none(detector):
    data = ASTRONAUT.parent
    names = ["chelsea.png", "coffee.png", "rocket.jpg", "gravel.png", "color.png", "motorcycle_left.png"]
    images = [photo(data / name) for name in names if (data / name).exists()]
    assert len(images) >= 3
    assert [len(faces) for faces in detector(images)] == [0] * len(images)


def test_several_faces_come_best_first(detector):
    image = np.concatenate([photo(ASTRONAUT), resized(photo(GRACE_HOPPER), 512, 600)[:512]], axis=1)
    faces = detector([image])[0]
    assert len(faces) == 2
    assert faces.scores[0] >= faces.scores[1]


def test_priors_cover_the_image_by_stride_row_column_and_size():
    found = priors(40, 64)
    assert found.shape == (2 * (5 * 8 + 3 * 4 + 2 * 2), 3)
    assert found[:3].tolist() == [[4, 4, 16], [4, 4, 32], [12, 4, 16]]
    assert found[-1].tolist() == [48, 48, 512]


def test_suppression_keeps_the_best_of_each_pile():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [5, 0, 15, 10], [0, 0, 0, 0]], np.float32)
    scores = np.array([0.8, 0.9, 0.7, 0.6, 0.1], np.float32)
    assert suppress(boxes, scores, 0.4).tolist() == [1, 2, 4]  # 3 overlaps 1 by 6/14
    assert suppress(boxes, scores, 0.5).tolist() == [1, 2, 3, 4]
    assert suppress(boxes[:0], scores[:0], 0.4).tolist() == []


def faces_at(*boxes):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Faces(boxes, np.zeros((len(boxes), 5, 2), np.float32), np.linspace(1, 0.9, len(boxes), dtype=np.float32))


def test_the_largest_face_is_chosen_without_a_given_box():
    faces = faces_at([0, 0, 50, 50], [100, 0, 180, 90], [200, 0, 400, 20])
    assert choose_face(faces, None, DetectConfig()) == 1  # the third is larger, but under 32 px high
    assert choose_face(faces, None, DetectConfig(min_size=10)) == 1
    assert choose_face(faces, [0, 0, 60, 60], DetectConfig(choose="largest")) == 1


def test_the_face_nearest_to_the_given_box_is_chosen_if_it_touches_it():
    faces = faces_at([0, 0, 50, 50], [100, 0, 180, 90])
    assert choose_face(faces, [10, 0, 60, 60], DetectConfig()) == 0
    assert choose_face(faces, [60, 0, 170, 90], DetectConfig()) == 1
    assert choose_face(faces, [300, 300, 400, 400], DetectConfig()) is None


def test_no_face_or_only_tiny_ones_is_none():
    assert choose_face(faces_at(), None, DetectConfig()) is None
    assert choose_face(faces_at(), [0, 0, 9, 9], DetectConfig()) is None
    assert choose_face(faces_at([0, 0, 31, 90]), None, DetectConfig()) is None


def test_own_weights_are_used_or_refused_with_the_reason(detector, tmp_path):
    path = tmp_path / "mine.onnx"
    with pytest.raises(BuildError, match=r"mine\.onnx.*detect\.weights"):
        load_detector(DetectConfig(weights=path))
    path.write_bytes(b"not a network")
    with pytest.raises(BuildError, match=r"mine\.onnx is no ONNX model"):
        load_detector(DetectConfig(weights=path))
    from tasks.detectors.retinaface import FILE, ONNX_SHA256, PACKAGE
    from tasks.weights import carrier_bytes
    from tests.fixtures.onnx_model import resnet50_like

    path.write_bytes(resnet50_like()[0])
    with pytest.raises(BuildError, match=r"mine\.onnx is not a RetinaFace model"):
        load_detector(DetectConfig(weights=path))
    path.write_bytes(carrier_bytes(PACKAGE, FILE, ONNX_SHA256, "WEIGHTS"))
    mine = load_detector(DetectConfig(weights=path))
    assert mine.weights_sha256 == detector.weights_sha256 == ONNX_SHA256
    assert np.array_equal(mine([photo(ASTRONAUT)])[0].boxes, detector([photo(ASTRONAUT)])[0].boxes)


def test_given_boxes_need_no_detector():
    with pytest.raises(BuildError, match="boxes of the dataset"):
        load_detector(DetectConfig(detector="given"))
