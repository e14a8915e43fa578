"""UV layouts: from a mask to vertices, triangles and landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from prnet import UVLayout
from prnet.errors import WeightsError
from prnet.weights_file import read_layout
from tests.fixtures.prnet_layout import landmarks_on, oval_mask, small_layout, write_slim_weights, write_uv_folder


def test_triangles_of_a_mask_that_is_done_by_hand():
    mask = np.zeros((20, 20), np.uint8)
    mask[0, 10] = 1  # vertex 0: whatever touches it is left out, as in the published list
    mask[1, 9:13] = 1  # vertices 1-4
    mask[2, 9:12] = 1  # vertices 5-7
    mask[10:, :] = 1  # somewhere to put landmarks
    layout = UVLayout.from_mask(mask, np.add(landmarks_on(mask[10:]), [0, 10]))
    top = layout.triangles[(layout.triangles < 8).all(1)]
    # quads row by row; in each (TL, TR, BL) before (TR, BR, BL)
    assert top.tolist() == [[1, 2, 5], [2, 6, 5], [2, 3, 6], [3, 7, 6], [3, 4, 7]]
    assert layout.vertex_index[:6].tolist() == [10, 29, 30, 31, 32, 49]
    assert layout.triangles.dtype == np.int32


def test_every_pixel_of_the_mask_is_a_vertex_in_reading_order():
    mask = oval_mask(64)
    layout = UVLayout.from_mask(mask, landmarks_on(mask))
    row, column = np.divmod(layout.vertex_index, 64)
    assert len(row) == (mask > 0).sum()
    assert (np.diff(layout.vertex_index) > 0).all()
    assert (mask[row, column] > 0).all()
    np.testing.assert_array_equal(layout.mask(), mask)
    np.testing.assert_array_equal(layout.landmark_places(), landmarks_on(mask))
    # a sheet without holes (Euler: V - E + F = 1), but for the triangle that is left out
    edges = {tuple(sorted(pair)) for t in layout.triangles for pair in ((t[0], t[1]), (t[1], t[2]), (t[2], t[0]))}
    vertices = len(np.unique(layout.triangles))
    assert vertices - len(edges) + len(layout.triangles) == 1


@pytest.mark.parametrize("gone", [None, "uv_face_mask.png", "face_ind.txt"])
def test_a_folder_needs_only_one_of_mask_and_indices(tmp_path, gone):
    folder = write_uv_folder(tmp_path / "uv-data", size=256)
    if gone:
        (folder / gone).unlink()
    layout, expected = read_layout(folder), small_layout(256)
    np.testing.assert_array_equal(layout.vertex_index, expected.vertex_index)
    np.testing.assert_array_equal(layout.triangles, expected.triangles)
    np.testing.assert_array_equal(layout.landmarks68, expected.landmarks68)


def test_a_weights_file_carries_its_layout(tmp_path):
    layout, expected = read_layout(write_slim_weights(tmp_path / "prnet.safetensors")), small_layout()
    np.testing.assert_array_equal(layout.triangles, expected.triangles)
    np.testing.assert_array_equal(layout.landmarks68, expected.landmarks68)


def spoil_landmarks(folder):
    np.savetxt(folder / "uv_kpt_ind.txt", np.zeros((2, 68)))


def spoil_numbers(folder):
    (folder / "uv_kpt_ind.txt").write_text("version https://git-lfs")


def spoil_indices(folder):
    np.savetxt(folder / "face_ind.txt", [5, 6, 7])


def no_mask(folder):
    (folder / "uv_face_mask.png").unlink()
    (folder / "face_ind.txt").unlink()


def no_landmarks(folder):
    (folder / "uv_kpt_ind.txt").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_landmarks, "do not belong together"),
        (spoil_numbers, r"uv_kpt_ind.txt: expected a table"),
        (spoil_indices, "name different vertices"),
        (no_mask, r"expected uv_face_mask.png or face_ind.txt"),
        (no_landmarks, r"expected uv_kpt_ind.txt"),
    ],
)
def test_a_spoilt_folder_is_refused_with_its_name(tmp_path, spoil, words):
    folder = write_uv_folder(tmp_path / "uv-data")
    spoil(folder)
    with pytest.raises(WeightsError, match=words) as caught:
        read_layout(folder)
    assert "uv-data" in str(caught.value)


def test_masks_that_give_no_mesh_are_refused():
    with pytest.raises(WeightsError, match="square"):
        UVLayout.from_mask(np.ones((4, 5)), np.zeros((68, 2)))
    with pytest.raises(WeightsError, match="no triangle"):
        UVLayout.from_mask(np.eye(8), np.zeros((68, 2)))
    with pytest.raises(WeightsError, match="68 landmarks"):
        UVLayout.from_mask(np.ones((8, 8)), np.zeros((5, 2)))
