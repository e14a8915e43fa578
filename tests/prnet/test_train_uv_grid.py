"""A mesh becomes a position map and comes back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from prnet.errors import WeightsError
from prnet.train.loss import position_loss, weights_of
from prnet.train.uv_grid import UVGrid, mesh_from_map
from tasks.aligners.facemesh import EYE_LEFT_OUTER, EYE_RIGHT_OUTER, NOSE_TIP
from tests.fixtures.faces import mesh, rendered

FACE_WIDTH = 15.4  # of the canonical face


@pytest.mark.parametrize(("size", "mean", "worst"), [(64, 0.5, 3.0), (128, 0.25, 2.1), (256, 0.15, 1.4)])
def test_a_mesh_comes_back_out_of_its_position_map(size: int, mean: float, worst: float) -> None:
    from tasks.aligners.facemesh import canonical_face

    vertices = canonical_face().vertices
    grid = UVGrid.of_mesh(mesh(), size)
    position_map = grid.map(torch.from_numpy(vertices)[None])[0].permute(1, 2, 0).numpy()
    error = np.linalg.norm(mesh_from_map(position_map, mesh(), grid.layout) - vertices, axis=1) / FACE_WIDTH * 100
    assert error.mean() < mean, "percent of the face's width"
    assert error.max() < worst, "the border lies up to a pixel outside the mask"


def test_the_layout_is_one_that_weights_files_hold() -> None:
    layout = UVGrid.of_mesh(mesh(), 256).layout
    assert 40_000 < len(layout.vertex_index) < 45_000
    assert len(layout.triangles) > 1.9 * len(layout.vertex_index)
    # the average face's mouth is closed: on its plane two of the inner lips' points lie on those across
    assert len(set(layout.landmarks68.tolist())) == 66


def test_landmarks_of_the_layout_are_those_of_the_mesh() -> None:
    grid = UVGrid.of_mesh(mesh(), 256)
    vertices = torch.from_numpy(np.stack([face.vertices for face in rendered()]))
    off = grid.points(vertices)[:, grid.layout.landmarks68] - vertices[:, torch.from_numpy(mesh().landmarks68)]
    inner = off[:, 17:].norm(dim=2)  # the jaw lies on the mask's border
    assert float(inner.mean()) < 0.3
    assert float(off.norm(dim=2).max()) < 2.5


def test_the_mirror_image_of_an_eye_is_the_other_eye() -> None:
    mirror = mesh().mirror()
    assert mirror[EYE_LEFT_OUTER] == EYE_RIGHT_OUTER
    assert mirror[NOSE_TIP] == NOSE_TIP
    lopsided = replace(mesh(), uv=mesh().uv * np.float32([0.5, 1.0]))
    with pytest.raises(WeightsError, match="not symmetric"):
        lopsided.mirror()


def test_a_mesh_off_the_grid_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"are its uv in \[0, 1\]"):
        UVGrid.of_mesh(replace(mesh(), uv=mesh().uv + 5), 64)


def test_the_papers_weights() -> None:
    layout = UVGrid.of_mesh(mesh(), 256).layout
    weights = weights_of(layout)
    assert set(np.unique(weights)) == {3.0, 4.0, 16.0}
    assert (weights == 16).sum() == 66
    row, column = np.divmod(layout.vertex_index, 256)
    # between the points of an eye and of the mouth, and on the forehead
    for group, wanted in ((slice(36, 42), 4.0), (slice(48, 60), 4.0)):
        middle = layout.landmark_places()[group].mean(0)
        nearest = np.argsort((column - middle[0]) ** 2 + (row - middle[1]) ** 2)[:9]
        assert set(weights[nearest]) <= {wanted, 16.0}
    assert weights[row < 40].max() == 3.0


def test_the_loss_counts_distance_by_weight_and_depth_by_trust() -> None:
    target = torch.zeros(2, 3, 3)
    off = target.clone()
    off[:, 0] = torch.tensor([0.3, 0.4, 0.0])  # 0.5 away, weight 16
    weights = torch.tensor([16.0, 3.0, 1.0])
    assert float(position_loss(off, target, weights, torch.ones(2))) == pytest.approx(0.5 * 16 / 20, abs=1e-3)
    deep = target.clone()
    deep[..., 2] = 0.2
    assert float(position_loss(deep, target, weights, torch.tensor([1.0, 0.5]))) == pytest.approx(0.15, abs=1e-3)
