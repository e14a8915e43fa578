"""The paper's loss: how far each point of the position map is off, weighted by what it is (section 3.2, figure 4).

The published weights are 16 : 4 : 3 : 0 for the 68 landmarks, for eyes, nose and mouth, for the rest of the face and
for the neck. A layout of the face mesh has no neck: what is outside the mask has no weight, as the neck.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prnet.uv import UVLayout

LANDMARK, FEATURE, FACE = 16.0, 4.0, 3.0
# of the 68 iBUG points; the hull around each group is a region of features
FEATURES = (range(36, 42), range(42, 48), range(27, 36), range(48, 68))


def weights_of(layout: UVLayout) -> NDArray[np.float32]:
    """The weight of each vertex (V,) of a layout: 16 landmark, 4 eyes, nose, mouth, 3 elsewhere."""
    row, column = np.divmod(layout.vertex_index, layout.size)
    weights = np.full(len(row), FACE, np.float32)
    landmarks = layout.landmark_places()
    for group in FEATURES:
        weights[_in_hull(np.stack([column, row], 1), landmarks[list(group)])] = FEATURE
    weights[layout.landmarks68] = LANDMARK
    return weights


def _in_hull(points: NDArray[np.integer], corners: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which points (N,2) lie in the convex hull of `corners` (K,2), edges included."""
    from scipy.spatial import ConvexHull

    hull = ConvexHull(corners)
    inside: NDArray[np.bool_] = (points @ hull.equations[:, :2].T + hull.equations[:, 2] <= 1e-6).all(1)
    return inside


def position_loss(predicted: Tensor, target: Tensor, weights: Tensor, depth_trust: Tensor) -> Tensor:
    """Weighted mean distance, a scalar.

    `predicted`, `target` (B,P,3) in parts of the crop's reach; `weights` (P,); `depth_trust` (B,) scales the error in
    z: a teacher's depth may be worth less than a renderer's.
    """
    off = predicted - target
    off = off * torch.stack([torch.ones_like(depth_trust)] * 2 + [depth_trust], 1)[:, None]
    # the root of a square has no slope at 0: a ten-thousandth of the crop takes its place
    distance = (off.square().sum(2) + 1e-8).sqrt()
    return (distance * weights).sum(1).mean() / weights.sum()
