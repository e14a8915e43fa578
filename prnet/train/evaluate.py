"""How far a network's faces are from held-out ones, in the measure of the field: NME by yaw.

The normalised mean error is the mean distance of points over the square root of the area of the true face's box (Feng
et al. 2018, section 4.2), in percent. In three dimensions the mean offset in z is taken off first: it is arbitrary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from prnet.errors import WeightsError
from prnet.model import PRNet
from prnet.train.augment import crop_batch
from prnet.train.faces import Face, Faces
from prnet.train.uv_grid import MeshUV, UVGrid

YAW_EDGES = (0.0, 30.0, 60.0, 90.0)
# meshes (B,V,3) or grid points (B,P,3), crop px, of faces
Predict = Callable[[list[Face]], NDArray[np.float32]]


@dataclass(frozen=True)
class Figures:
    """Mean errors in percent over `faces` held-out faces of one source with |yaw| in [`yaw_from`, `yaw_to`) degrees.

    `source` "rendered": against the truth, "teacher": against the teacher. Of the 68 landmarks and of all points, in
    the picture's plane and in space.
    """

    source: str
    yaw_from: float
    yaw_to: float
    faces: int
    landmarks_2d: float
    landmarks_3d: float
    dense_2d: float
    dense_3d: float


def network_predicts(model: PRNet, mesh: MeshUV) -> Predict:
    """Points of the layout, as `model` sees plain crops."""
    mirror = mesh.mirror()

    def predict(faces: list[Face]) -> NDArray[np.float32]:
        crops, _ = crop_batch(faces, model.size, mirror)
        vertices = model.vertices(crops.permute(0, 2, 3, 1).contiguous())
        return vertices.cpu().numpy()

    return predict


def evaluate(predict: Predict, faces: Faces, chosen: Sequence[int], mesh: MeshUV, size: int) -> list[Figures]:
    """Errors on the faces `chosen` (indices), one row a source and yaw bin, and one a source over all.

    `predict` gives the layout's points, or the mesh's vertices, in the plain crop's px. Raises WeightsError if nothing
    is chosen.
    """
    if not len(chosen):
        raise WeightsError("no face is held out; give more pictures, or a larger share to hold out")
    grid, mirror = UVGrid.of_mesh(mesh, size), mesh.mirror()
    errors = []
    for start in range(0, len(chosen), 16):
        batch = [faces[int(index)] for index in chosen[start : start + 16]]
        _, meshes = crop_batch(batch, size, mirror)
        points = torch.from_numpy(predict(batch))
        if points.shape[1] != len(grid.corners):
            points = grid.points(points)
        errors.append(point_errors(points.numpy(), grid.points(meshes).numpy(), meshes.numpy(), grid))
    table = np.concatenate(errors)  # (N, 4)
    sources, yaws = faces.sources[list(chosen)], np.abs(faces.yaws[list(chosen)])
    rows = []
    for source in sorted(set(sources)):
        bins = [*pairwise(YAW_EDGES), (YAW_EDGES[0], YAW_EDGES[-1])]
        for low, high in bins:
            inside = (sources == source) & (yaws >= low) & (yaws < high)
            if inside.any():
                means = (float(value) for value in table[inside].mean(0))
                rows.append(Figures(str(source), low, high, int(inside.sum()), *means))
    return rows


def point_errors(
    points: NDArray[np.float32], truth: NDArray[np.float32], meshes: NDArray[np.float32], grid: UVGrid
) -> NDArray[np.float64]:
    """(B,4) percent: 68 landmarks in the plane and in space, all points in the plane and in space."""
    off = points.astype(np.float64) - truth
    off[..., 2] -= off[..., 2].mean(1, keepdims=True)
    side = np.sqrt(np.ptp(meshes[..., :2].astype(np.float64), axis=1).prod(1))
    plane, space = np.linalg.norm(off[..., :2], axis=2), np.linalg.norm(off, axis=2)
    marks = grid.layout.landmarks68
    means = [plane[:, marks].mean(1), space[:, marks].mean(1), plane.mean(1), space.mean(1)]
    return 100 * np.stack(means, 1) / side[:, None]
