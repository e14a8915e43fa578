"""The face mesh on real photographs: where its vertices are, and that tilt, batch and passes do not change them."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from tasks.align import AlignConfig, align, to_image
from tasks.aligners import facemesh, load_aligner
from tasks.aligners.facemesh import FaceMesh, canonical_face
from tasks.aligners.facemesh_bundle import FILE, PACKAGE, SHA256, read_bundle
from tasks.detect import DetectConfig
from tasks.detectors import load_detector
from tasks.errors import BuildError
from tasks.warp import apply_affine, warp
from tasks.weights import carrier_file
from tests.fixtures.photos import PHOTOS, photo

EYES = [facemesh.EYE_LEFT_OUTER, facemesh.EYE_RIGHT_OUTER]


@pytest.fixture(scope="module")
def mesh():
    return load_aligner(AlignConfig(aligner="facemesh"))


@pytest.fixture(scope="module")
def detector():
    return load_detector(DetectConfig())


@pytest.fixture(scope="module")
def portraits(detector):
    """(image, box, points) of both photographs."""
    images = [photo(path) for path in PHOTOS]
    return [(image, f.boxes[0], f.points[0]) for image, f in zip(images, detector(images), strict=True)]


def one(portrait, aligner):
    image, box, points = portrait
    return align([image], box[None], [points], aligner)[0]


def inter_ocular(vertices):
    return float(np.linalg.norm(vertices[EYES[1], :2] - vertices[EYES[0], :2]))


def test_vertices_lie_on_the_face(portraits, mesh):
    for portrait in portraits:
        _, box, points = portrait
        found = one(portrait, mesh)
        assert found.vertices.shape == (468, 3)
        assert found.vertices.dtype == np.float32
        assert found.confidence > 0.99
        plane, unit = found.vertices[:, :2], inter_ocular(found.vertices)
        eyes = [plane[[33, 133]].mean(axis=0), plane[[362, 263]].mean(axis=0)]
        mesh_points = [*eyes, plane[facemesh.NOSE_TIP], plane[facemesh.MOUTH_LEFT], plane[facemesh.MOUTH_RIGHT]]
        # the detector's nose and mouth are coarse: a fifth of the distance between the eyes
        assert np.linalg.norm(np.array(mesh_points) - points, axis=1).max() < 0.2 * unit
        low, high = plane.min(axis=0), plane.max(axis=0)
        assert (low > box[:2] - 0.3 * unit).all()
        assert (high < box[2:] + 0.3 * unit).all()


def test_the_nose_is_nearest_and_the_border_farthest(portraits, mesh):
    for portrait in portraits:
        vertices = one(portrait, mesh).vertices
        z = vertices[:, 2]
        assert z.argmax() in (1, 4)  # tip of the nose
        assert z[list(facemesh.FACE_OVAL)].mean() < np.quantile(z, 0.2)
        # same scale as x and y: a face is about as deep as it is wide between the eyes
        assert 0.7 < (z.max() - z.min()) / inter_ocular(vertices) < 1.6


@pytest.mark.parametrize("degrees", [-30, 30])
def test_a_tilted_photograph_gives_the_tilted_mesh(portraits, mesh, detector, degrees):
    for portrait in portraits:
        image, box, _ = portrait
        upright = one(portrait, mesh).vertices
        cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        linear = np.array([[cos, -sin], [sin, cos]])
        turn = np.column_stack([linear, np.array([300, 300]) - linear @ (box[:2] + box[2:]) / 2])
        tilted = warp(image, turn, 600)
        faces = detector([tilted])[0]
        found = align([tilted], faces.boxes[:1], [faces.points[0]], mesh)[0].vertices
        error = np.linalg.norm(found[:, :2] - apply_affine(turn, upright[:, :2]), axis=1) / inter_ocular(upright)
        assert error.mean() < 0.01  # measured 0.003 to 0.005; 60 to 115 px lie between the eyes
        assert error.max() < 0.04
        depth = found[:, 2] - upright[:, 2]
        assert np.abs(depth - depth.mean()).mean() < 0.01 * inter_ocular(upright)


def test_crops_are_level_and_hold_the_face(portraits, mesh):
    _, box, points = portraits[1]
    affine = mesh.first_crop(box, points)
    eyes = apply_affine(affine, points[:2])
    assert eyes[0, 1] == pytest.approx(eyes[1, 1], abs=1e-6)
    assert np.allclose(apply_affine(affine, [(box[:2] + box[2:]) / 2]), 127.5)
    # 1.5 times the longer side
    assert 256 / np.sqrt(np.linalg.det(affine[:, :2])) == pytest.approx(1.5 * (box[2:] - box[:2]).max(), rel=1e-5)
    assert np.allclose(mesh.first_crop(box, None)[0, 1], 0)
    vertices = one(portraits[1], mesh).vertices
    again = apply_affine(mesh.next_crop(vertices), vertices[:, :2])
    low, high = again.min(axis=0), again.max(axis=0)
    assert (high - low).max() == pytest.approx(256 / 1.5, rel=1e-4)
    np.testing.assert_allclose((low + high) / 2, 127.5, atol=1e-2)


def test_further_passes_make_up_for_a_bad_box(portraits):
    """A box 1.4 times too large and off by 0.15 of its side, no points: each pass comes closer to the good mesh."""
    for portrait in portraits:
        image, box, _ = portrait
        good = one(portrait, FaceMesh(passes=4)).vertices
        side = (box[2:] - box[:2]).max()
        middle = (box[:2] + box[2:]) / 2 - 0.15 * side
        bad = np.concatenate([middle - 0.7 * side, middle + 0.7 * side])
        errors = []
        for passes in (1, 2, 3):
            found = align([image], bad[None], [None], FaceMesh(passes=passes))[0].vertices
            errors.append(np.linalg.norm(found[:, :2] - good[:, :2], axis=1).mean() / inter_ocular(good))
        assert errors[0] > 0.05  # measured: 0.09, 0.02, 0.006 of the distance between the eyes
        assert errors[1] < 0.4 * errors[0]
        assert errors[2] < 0.01


def test_a_second_pass_changes_little_after_a_good_box(portraits):
    for portrait in portraits:
        passes = [one(portrait, FaceMesh(passes=n)) for n in (1, 2)]
        moved = np.linalg.norm(passes[1].vertices[:, :2] - passes[0].vertices[:, :2], axis=1)
        assert 0 < moved.mean() < 0.03 * inter_ocular(passes[0].vertices)
        assert passes[1].confidence >= passes[0].confidence - 1e-3


def test_a_batch_equals_one_at_a_time(portraits, mesh):
    images, boxes, points = zip(*portraits, *portraits[:1], strict=True)
    together = align(images, np.array(boxes), points, mesh)
    for portrait, found in zip([*portraits, portraits[0]], together, strict=True):
        alone = one(portrait, mesh)
        assert np.array_equal(alone.vertices, found.vertices)
        assert alone.confidence == found.confidence
    assert align([], np.zeros((0, 4)), [], mesh) == []


def test_points_that_are_not_known_count_as_none(portraits, mesh):
    image, box, _ = portraits[0]
    unknown = align([image, image], np.array([box, box]), [None, np.full((5, 2), np.nan)], mesh)
    assert np.array_equal(unknown[0].vertices, unknown[1].vertices)


def test_what_is_no_face_has_low_confidence(portraits, mesh):
    image = portraits[0][0]
    boxes = np.array([[20.0, 20, 100, 100], [400, 20, 480, 100], [600, 600, 700, 700], [50, 50, 50, 50]])
    found = align([image] * 4, boxes, [None] * 4, mesh)
    assert max(face.confidence for face in found) < 0.5
    assert all(np.isfinite(face.vertices).all() for face in found)


def test_mirrored_crops_give_mirrored_vertices(portraits, mesh):
    """Which is how it was found that the network measures from the corner of the first pixel: 255, not 256."""
    vertices = canonical_face().vertices
    twin = np.array([np.linalg.norm(vertices * [-1, 1, 1] - v, axis=1).argmin() for v in vertices])
    assert (twin[twin] == np.arange(468)).all()
    sums = []
    for image, box, points in portraits:
        crop = warp(image, mesh.first_crop(box, points), 256)
        plain, mirrored = mesh(np.stack([crop, crop[:, ::-1]]))[0]
        sums.append(plain[:, 0] + mirrored[twin, 0])
    assert np.mean(sums) == pytest.approx(255, abs=0.5)


def test_the_canonical_face_is_one_closed_sheet_with_the_oval_as_border():
    face = canonical_face()
    assert (face.vertices.shape, face.uv.shape, face.triangles.shape) == ((468, 3), (468, 2), (898, 3))
    assert (face.uv >= 0).all()
    assert (face.uv <= 1).all()
    assert face.vertices[:, 2].argmax() in (1, 4)
    edges = {}
    for triangle in face.triangles.tolist():
        for a, b in zip(triangle, triangle[1:] + triangle[:1], strict=True):
            edges[min(a, b), max(a, b)] = edges.get((min(a, b), max(a, b)), 0) + 1
    assert set(edges.values()) == {1, 2}
    border = {edge for edge, count in edges.items() if count == 1}
    oval = facemesh.FACE_OVAL
    assert border == {(min(a, b), max(a, b)) for a, b in zip(oval, oval[1:] + oval[:1], strict=True)}
    assert len(np.unique(face.triangles)) == 468


def test_the_68_landmarks_are_symmetric_and_named_like_the_rest():
    points = canonical_face().vertices[list(facemesh.LANDMARKS68)]
    jaw = points[:17]
    np.testing.assert_allclose(jaw[:, 0], -jaw[::-1, 0], atol=0.8)
    assert jaw[:, 1].argmin() == 8
    assert facemesh.LANDMARKS68[8] == facemesh.CHIN
    assert facemesh.LANDMARKS68[30] == facemesh.NOSE_TIP
    assert [facemesh.LANDMARKS68[i] for i in (36, 39, 42, 45)] == [33, 133, 362, 263]
    assert [facemesh.LANDMARKS68[i] for i in (48, 54)] == [facemesh.MOUTH_LEFT, facemesh.MOUTH_RIGHT]


def test_to_image_keeps_z_in_the_unit_of_x_and_y():
    affine = np.array([[0.0, 2, 5], [-2, 0, 7]])
    vertices = np.array([[5, 7, 4], [7, 7, 0]], np.float32)
    np.testing.assert_allclose(to_image(vertices, affine), [[0, 0, 2], [0, 1, 0]], atol=1e-6)


def test_weights_are_pinned_and_one_s_own_bundle_is_recorded(mesh, tmp_path):
    assert mesh.weights_sha256 == SHA256
    assert SHA256[:12] in mesh.version
    mine = tmp_path / "mine.task"
    packaged = carrier_file(PACKAGE, FILE)
    with zipfile.ZipFile(packaged) as source, zipfile.ZipFile(mine, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    other = load_aligner(AlignConfig(face_landmarker=mine))
    assert other.name == "facemesh"
    assert other.weights_sha256 != SHA256
    crop = np.asarray(Image.new("RGB", (256, 256), (90, 120, 60)))[None]
    assert np.array_equal(other(crop)[0], mesh(crop)[0])


def rewritten(path, changes):
    """The packaged bundle with some members replaced (None: left out)."""
    with zipfile.ZipFile(carrier_file(PACKAGE, FILE)) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = changes.get(name, source.read(name))
            if data is not None:
                target.writestr(name, data)
    return path


NETWORK, GEOMETRY = "face_landmarks_detector.tflite", "geometry_pipeline_metadata_landmarks.binarypb"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({NETWORK: None}, "holds no face_landmarks_detector.tflite, only"),
        ({GEOMETRY: None}, "holds no geometry_pipeline"),
        ({NETWORK: b"junk" * 100}, "no network that LiteRT can run"),
        ({GEOMETRY: b"\x0a\xff\xff\x03junk"}, "is damaged"),
        ({GEOMETRY: b"\x0a\x02\x08\x00"}, "has 0 vertices"),
        ({GEOMETRY: b"\xff" * 40}, "is damaged"),
        ({NETWORK: bytes((16 << 20) + 1)}, "unpacks to more than 16 MiB"),
    ],
)
def test_a_bundle_with_wrong_parts_is_refused(tmp_path, changes, message):
    path = rewritten(tmp_path / "mine.task", changes)
    with pytest.raises(BuildError, match=message) as error:
        FaceMesh(path)
    assert str(path) in str(error.value)


def test_another_network_of_the_bundle_is_refused(tmp_path):
    with zipfile.ZipFile(carrier_file(PACKAGE, FILE)) as bundle:
        detector = bundle.read("face_detector.tflite")
    with pytest.raises(BuildError, match=r"shapes \[\(1, 128, 128, 3\).*expected \[\(1, 256, 256, 3\)"):
        FaceMesh(rewritten(tmp_path / "mine.task", {NETWORK: detector}))


def test_a_missing_or_damaged_bundle_says_what_to_do(tmp_path):
    with pytest.raises(
        BuildError, match=r"cannot read .*none\.task.*align\.face_landmarker \(--face-landmarker\) must name"
    ):
        load_aligner(AlignConfig(face_landmarker=tmp_path / "none.task"))
    data = bytearray(carrier_file(PACKAGE, FILE).read_bytes())
    for name, change in {"cut": data[:-1000], "flipped": data[:900_000] + b"\0\0\0\0" + data[900_004:]}.items():
        path = tmp_path / f"{name}.task"
        path.write_bytes(change)
        with pytest.raises(BuildError, match=rf"{name}\.task is damaged"):
            read_bundle(path)


def test_lists_that_do_not_match_are_refused(mesh):
    with pytest.raises(BuildError, match="0 images, 1 boxes and 0 sets"):
        align([], np.zeros((1, 4)), [], mesh)
