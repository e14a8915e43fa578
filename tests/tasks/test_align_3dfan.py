"""The 68-point aligner: equal to its package on random weights, coarse but whole as a mesh, clear when files miss."""

import numpy as np
import pytest

from tasks.align import AlignConfig
from tasks.aligners import load_aligner
from tasks.aligners.face_alignment import DEPTH_FILE, POINTS_FILE, peak_points, triangles68
from tasks.errors import BuildError
from tests.fixtures.photos import ASTRONAUT, photo


def place(folder, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(folder))
    place = folder / "hub" / "checkpoints"
    place.mkdir(parents=True)
    return place


@pytest.mark.slow
def test_points_and_depth_are_those_of_the_package(tmp_path, monkeypatch):
    """Random weights where the package keeps its downloads; both see the same crop."""
    import face_alignment.api
    import torch
    from face_alignment import FaceAlignment, LandmarksType
    from face_alignment.models import FAN, ResNetDepth

    folder = place(tmp_path, monkeypatch)
    torch.manual_seed(0)
    torch.save(FAN(4).state_dict(), folder / POINTS_FILE)
    depth = {f"module.{name}": value for name, value in ResNetDepth().state_dict().items()}
    torch.save({"state_dict": depth}, folder / DEPTH_FILE)
    aligner = load_aligner(AlignConfig(aligner="face-alignment"))
    crop = np.ascontiguousarray(photo(ASTRONAUT)[20:276, 100:356])
    vertices, confidence = aligner(crop[None])

    monkeypatch.setattr(face_alignment.api, "crop", lambda image, center, scale: image)
    theirs = FaceAlignment(LandmarksType.THREE_D, device="cpu", face_detector="folder", compile=False, flip_input=True)
    # the box for which the package's square is these 256 px: w + h = 195 / 200 of 2 * 128, its centre 0.12 h lower
    side = 128 * 195 / 200
    box = np.array([128, 128 + 0.12 * side] * 2) + np.array([-0.5, -0.5, 0.5, 0.5]) * side
    [expected], [scores], _ = theirs.get_landmarks_from_image(
        crop, detected_faces=[np.append(box, 1)], return_landmark_score=True
    )
    assert vertices.shape == (1, 68, 3)
    assert np.abs(vertices[0, :, :2] + 0.5 - expected[:, :2]).max() <= 1  # the package cuts to whole pixels
    np.testing.assert_allclose(vertices[0, :, 2], expected[:, 2], rtol=1e-3, atol=1e-3)
    assert confidence[0] == pytest.approx(float(np.mean(scores)) / 2, abs=1e-4)
    # and the square is the one that the aligner would cut: pixel centres at integers here, at halves there
    np.testing.assert_allclose(aligner.first_crop(box - 0.5, None), [[1, 0, 0], [0, 1, 0]], atol=1e-6)
    for name in (POINTS_FILE, DEPTH_FILE):
        (folder / name).unlink()


def test_peaks_are_read_to_a_quarter_cell():
    maps = np.zeros((1, 68, 64, 64), np.float32)
    maps[0, 0, 10, 20], maps[0, 0, 10, 21], maps[0, 0, 9, 20] = 0.8, 0.5, 0.4
    maps[0, 1, 0, 63] = 0.6  # at the border: not moved
    points, peaks = peak_points(maps)
    assert points[0, 0].tolist() == [(20 + 0.5 + 0.25) * 4, (10 + 0.5 - 0.25) * 4]
    assert points[0, 1].tolist() == [63.5 * 4, 0.5 * 4]
    assert peaks[0, :2].tolist() == pytest.approx([0.8, 0.6])


def test_the_68_points_make_one_sheet_without_folds():
    triangles = triangles68()
    assert len(np.unique(triangles)) == 68
    assert triangles.dtype == np.int32


def test_all_missing_files_are_named_at_once_with_their_places(tmp_path, monkeypatch):
    place(tmp_path, monkeypatch)
    message = r"put .*hub/checkpoints/3DFAN4-7835d9f11d\.pth\.tar, .*hub/checkpoints/depth-2a464da4ea\.pth\.tar there"
    with pytest.raises(BuildError, match=message):
        load_aligner(AlignConfig(aligner="face-alignment"))
