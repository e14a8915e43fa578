"""The quality gate: what each part sees, on the two packaged photographs, and that the lowest one decides."""

import numpy as np
import pytest

from tasks.align import FIVE_OF_68, AlignConfig, Alignment, align
from tasks.aligners import load_aligner
from tasks.aligners.face_alignment import ThreeDFAN
from tasks.augment import ViewConfig, view_affine
from tasks.detect import DetectConfig
from tasks.detectors import load_detector
from tasks.quality import (
    AGREEMENT_LIMIT,
    LANDMARKS_LIMIT,
    Quality,
    QualityConfig,
    five_points,
    judge,
    landmark_distance,
    mesh_distance,
    part,
    second_look,
    share_inside,
)
from tests.fixtures.photos import ASTRONAUT, GRACE_HOPPER, PHOTOS, photo
from tests.fixtures.prnet_layout import small_layout, write_slim_weights

IDENTITY = np.eye(2, 3)


@pytest.fixture(scope="module")
def mesh():
    return load_aligner(AlignConfig(aligner="facemesh"))


@pytest.fixture(scope="module")
def portraits():
    """(image, box, points) of both photographs."""
    images = [photo(path) for path in PHOTOS]
    found = load_detector(DetectConfig())(images)
    return [(image, f.boxes[0], f.points[0]) for image, f in zip(images, found, strict=True)]


def quality(mesh, image, box, points=None, config=None):
    face = align([image], np.asarray(box, float)[None], [points], mesh)[0]
    crop = view_affine(box, 0, np.random.default_rng(0), ViewConfig())
    return judge([image], [points], [crop], 224, [face], mesh, config or QualityConfig())[0]


def aligned(mesh, portrait):
    image, box, points = portrait
    return align([image], box[None], [points], mesh)[0]


class TestFaces:
    def test_a_good_face_is_good_in_every_part(self, mesh, portraits):
        for image, box, points in portraits:
            found = quality(mesh, image, box, points)
            assert min(found.landmarks, found.inside, found.confidence, found.agreement) == found.value > 0.8

    def test_a_batch_is_judged_as_its_faces_one_by_one(self, mesh, portraits):
        images, boxes, points = (list(values) for values in zip(*portraits, strict=True))
        faces = align(images, np.stack(boxes), points, mesh)
        crops = [view_affine(box, 0, np.random.default_rng(0), ViewConfig()) for box in boxes]
        together = judge(images, points, crops, 224, faces, mesh, QualityConfig())
        assert together == [quality(mesh, *portrait) for portrait in portraits]

    def test_boxes_beside_a_face_far_too_small_or_far_too_large_are_caught_without_points(self, mesh, portraits):
        for image, box, _ in portraits:
            middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
            for centre, size in ((middle + half * [2.4, 0], half), (middle, half * 0.25), (middle, half * 4)):
                found = quality(mesh, image, np.concatenate([centre - size, centre + size]))
                assert found.landmarks is None
                assert found.value < 0.5, (centre, size)

    def test_a_face_upside_down_that_the_aligner_is_not_told_of_is_caught(self, mesh, portraits):
        for image, box, _ in portraits:
            height, width = image.shape[:2]
            turned = np.array([width - 1 - box[2], height - 1 - box[3], width - 1 - box[0], height - 1 - box[1]])
            assert quality(mesh, np.ascontiguousarray(image[::-1, ::-1]), turned).value < 0.5

    def test_a_face_of_which_little_is_seen_is_caught(self, mesh, portraits):
        for image, box, points in portraits:
            hidden = image.copy()
            hidden[int(box[1] + 0.2 * (box[3] - box[1])) :] = (90, 60, 40)
            assert quality(mesh, hidden, box, points).value < 0.5

    def test_what_is_no_face_is_caught(self, mesh):
        noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
        sky = np.full((300, 300, 3), (120, 160, 220), np.uint8)
        for image in (noise, sky, photo(ASTRONAUT)[300:, 200:]):
            assert quality(mesh, image, np.array([40.0, 40.0, 200.0, 200.0])).value < 0.5

    def test_points_of_another_face_are_caught_by_the_landmarks(self, mesh, portraits):
        image, box, points = portraits[0]
        found = quality(mesh, image, box, points + 0.6 * (points[1] - points[0]))
        assert found.landmarks == found.value < 0.3
        assert found.agreement > 0.8

    def test_a_face_cut_by_the_picture_is_caught_by_what_is_inside(self, mesh, portraits):
        image, box, points = portraits[1]
        edge = int(points[:, 0].mean())
        found = quality(mesh, image[:, :edge], box, points)
        assert found.inside < 0.5


class TestParts:
    def test_a_part_is_one_without_error_one_half_at_its_limit_and_none_for_nonsense(self):
        assert part(0.0, 0.3) == 1
        assert part(0.3, 0.3) == 0.5
        assert part(3.0, 0.3) < 0.01
        assert part(np.inf, 0.3) == part(np.nan, 0.3) == 0

    def test_the_lowest_part_decides_and_what_was_not_to_be_had_does_not_count(self):
        assert Quality(0.9, 0.8, 0.7, 0.6).value == 0.6
        assert Quality(None, 0.8, 0.7, None).value == 0.7
        text = str(Quality(None, 0.8, 0.7, 0.25))
        assert text == "0.25 (inside 0.80, confidence 0.70, agreement 0.25)"

    def test_landmarks_are_measured_between_the_eyes_of_the_mesh(self, mesh, portraits):
        face = aligned(mesh, portraits[0])
        five = five_points(face.vertices, mesh)
        eyes = np.linalg.norm(five[1] - five[0])
        assert landmark_distance(face.vertices, five[:, :2], mesh) == 0
        moved = five[:, :2] + [LANDMARKS_LIMIT * eyes, 0]
        assert landmark_distance(face.vertices, moved, mesh) == pytest.approx(LANDMARKS_LIMIT)

    def test_meshes_are_compared_without_the_offset_of_z(self, mesh, portraits):
        vertices = aligned(mesh, portraits[0]).vertices
        five = five_points(vertices, mesh)
        eyes = np.linalg.norm(five[1] - five[0])
        assert mesh_distance(vertices, vertices + np.float32([0, 0, 99]), mesh) == pytest.approx(0, abs=1e-6)
        assert mesh_distance(vertices, vertices + np.float32([3, 4, 0]), mesh) == pytest.approx(5 / eyes, rel=1e-4)

    def test_a_turned_head_has_the_same_unit(self, mesh, portraits):
        vertices = aligned(mesh, portraits[0]).vertices.astype(np.float64)
        turned = vertices[:, [2, 1, 0]]  # seen from the side: the eyes are one above the other
        moved = np.array([0, 10, 0])
        assert mesh_distance(turned, turned + moved, mesh) == pytest.approx(
            mesh_distance(vertices, vertices + moved, mesh)
        )

    def test_the_share_inside_is_of_the_area_that_is_seen(self):
        rows, columns = np.mgrid[0:11, 0:11]
        vertices = np.column_stack([columns.ravel() * 10.0, rows.ravel() * 10.0, np.zeros(121)]).astype(np.float32)
        corner = (rows[:-1, :-1] * 11 + columns[:-1, :-1]).ravel()
        triangles = np.concatenate([corner[:, None] + [0, 1, 11], corner[:, None] + [1, 12, 11]]).astype(np.int32)
        assert share_inside(vertices, triangles, (101, 101), IDENTITY, 101) == 1
        assert share_inside(vertices, triangles, (101, 51), IDENTITY, 101) == pytest.approx(0.5)
        assert share_inside(vertices, triangles, (101, 51), IDENTITY, 51) == pytest.approx(0.25)
        aside = np.array([[1.0, 0, -50], [0, 1, 0]])  # the crop shows the right half, the picture the left one
        assert share_inside(vertices, triangles, (101, 51), aside, 101) == 0
        assert share_inside(vertices * np.float32(0), triangles, (101, 101), IDENTITY, 101) == 0
        assert share_inside(vertices * np.float32(np.nan), triangles, (101, 101), IDENTITY, 101) == 0

    def test_a_second_look_agrees_on_a_face_and_costs_nothing_when_it_is_off(self, mesh, portraits):
        image, box, points = portraits[0]
        face = aligned(mesh, portraits[0])
        [apart] = second_look([image], [face], mesh)
        assert 0 < apart < AGREEMENT_LIMIT / 2
        assert second_look([], [], mesh) == []
        found = quality(mesh, image, box, points, QualityConfig(second_look=False))
        assert found.agreement is None

    def test_vertices_that_make_no_sense_have_no_quality(self, mesh, portraits):
        image, _, points = portraits[0]
        face = aligned(mesh, portraits[0])
        for vertices in (np.zeros_like(face.vertices), np.full_like(face.vertices, np.nan)):
            broken = Alignment(vertices, 1.0, face.crop)
            [found] = judge([image], [points], [IDENTITY], 224, [broken], mesh, QualityConfig())
            assert found.value == 0
        [found] = judge(
            [image], [None], [IDENTITY], 600, [Alignment(face.vertices, np.nan, face.crop)], mesh, QualityConfig()
        )
        assert found.value == 0

    @pytest.mark.parametrize("value", [-0.1, 1.1])
    def test_a_threshold_outside_the_range_is_refused(self, value):
        with pytest.raises(ValueError, match="min_quality"):
            QualityConfig(min_quality=value)


class TestEveryAligner:
    def test_the_five_points_of_the_face_mesh_are_eyes_nose_and_mouth(self, mesh, portraits):
        for portrait in portraits:
            five = five_points(aligned(mesh, portrait).vertices, mesh)[:, :2]
            eyes = np.linalg.norm(five[1] - five[0])
            assert np.linalg.norm(five - portrait[2], axis=1).max() < 0.2 * eyes

    def test_those_of_the_others_are_named_by_their_68_landmarks(self, tmp_path):
        prnet = load_aligner(AlignConfig(prnet_weights=write_slim_weights(tmp_path / "prnet.safetensors")))
        assert prnet.five_points == tuple(tuple(small_layout().landmarks68[list(group)]) for group in FIVE_OF_68)
        assert ThreeDFAN.five_points == FIVE_OF_68

    def test_prnet_is_judged_too(self, tmp_path):
        prnet = load_aligner(AlignConfig(prnet_weights=write_slim_weights(tmp_path / "prnet.safetensors")))
        image, box = photo(GRACE_HOPPER), np.array([150.0, 50, 400, 350])  # random weights: no face is to be seen
        points = np.array([[220.0, 170], [320, 170], [270, 230], [230, 290], [310, 290]])
        found = quality(prnet, image, box, points)
        assert found.landmarks is not None
        assert found.agreement is not None
        assert 0 <= found.value < 0.5
