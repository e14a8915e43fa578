"""From a mesh to a position map: a UV layout made of a mesh's own texture coordinates.

Every pixel of the grid whose place in texture space lies in a triangle of the mesh belongs to the mask; its position is
that triangle's, interpolated. Which triangle and with which weights is worked out once for a mesh and a size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prnet.errors import WeightsError
from prnet.uv import UVLayout


@dataclass(frozen=True, eq=False)
class MeshUV:
    """A mesh that is drawn on a plane: `uv` (V,2) in [0,1] (u to the right, v down) and `triangles` (T,3).

    `landmarks68` (68,): the vertices that are the iBUG landmarks.
    """

    uv: NDArray[np.float32]
    triangles: NDArray[np.int32]
    landmarks68: NDArray[np.int64]

    def mirror(self) -> NDArray[np.int64]:
        """The vertex on the other side of the face for each vertex (V,). WeightsError if the mesh is not symmetric."""
        other = np.column_stack([1.0 - self.uv[:, 0], self.uv[:, 1]])
        distance = np.linalg.norm(other[:, None] - self.uv[None], axis=2)
        pairs = distance.argmin(1)
        if distance.min(1).max() > 0.01 or not np.array_equal(pairs[pairs], np.arange(len(pairs))):
            raise WeightsError("the mesh's texture coordinates are not symmetric about u = 0.5; it cannot be mirrored")
        return pairs.astype(np.int64)


@dataclass(frozen=True, eq=False)
class UVGrid:
    """`layout`, and for each of its P vertices the mesh's three `corners` (P,3) int64 and `weights` (P,3) float32."""

    layout: UVLayout
    corners: Tensor
    weights: Tensor

    @classmethod
    def of_mesh(cls, mesh: MeshUV, size: int) -> UVGrid:
        """Draw the mesh on a grid of `size` x `size`: u = 0..1 is column 0..size-1, v row 0..size-1.

        Raises WeightsError if it covers no triangle of the grid.
        """
        places = np.asarray(mesh.uv, np.float64) * (size - 1)
        owner = np.full((size, size), -1, np.int64)
        weights = np.zeros((size, size, 3))
        for number, triangle in enumerate(mesh.triangles):
            a, b, c = places[triangle]
            low = np.maximum(np.ceil(np.minimum(np.minimum(a, b), c) - 1e-9), 0).astype(int)
            high = np.minimum(np.floor(np.maximum(np.maximum(a, b), c) + 1e-9), size - 1).astype(int)
            area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
            if (high < low).any() or abs(area) < 1e-12:
                continue
            row, column = np.mgrid[low[1] : high[1] + 1, low[0] : high[0] + 1]
            second = ((column - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (row - a[1])) / area
            third = ((b[0] - a[0]) * (row - a[1]) - (column - a[0]) * (b[1] - a[1])) / area
            share = np.stack([1 - second - third, second, third], -1)
            inside = (share >= -1e-9).all(-1) & (owner[row, column] < 0)
            owner[row[inside], column[inside]] = number
            weights[row[inside], column[inside]] = share[inside]
        mask = owner >= 0
        row, column = np.nonzero(mask)
        if not len(row):
            raise WeightsError(f"the mesh covers no pixel of a {size}x{size} grid; are its uv in [0, 1]?")
        # a landmark on the border takes the nearest pixel that is in the mask
        wanted = places[mesh.landmarks68]
        nearest = ((row[None] - wanted[:, 1:]) ** 2 + (column[None] - wanted[:, :1]) ** 2).argmin(1)
        layout = UVLayout.from_mask(mask, np.stack([column[nearest], row[nearest]], 1), "the mesh's UV layout")
        return cls(
            layout,
            torch.from_numpy(mesh.triangles[owner[mask]].astype(np.int64)),
            torch.from_numpy(weights[mask].astype(np.float32)),
        )

    def points(self, vertices: Tensor) -> Tensor:
        """The position map's pixels (B,P,3), in the order of `layout.vertex_index`, of meshes (B,V,3)."""
        corners = vertices[:, self.corners.to(vertices.device)]  # (B, P, 3 corners, 3)
        return (corners * self.weights.to(vertices.device)[..., None]).sum(2)

    def map(self, vertices: Tensor) -> Tensor:
        """Position maps (B,3,S,S) of meshes (B,V,3); 0 outside the mask."""
        size = self.layout.size
        whole = vertices.new_zeros(len(vertices), 3, size * size)
        whole[..., torch.from_numpy(self.layout.vertex_index)] = self.points(vertices).transpose(1, 2)
        return whole.reshape(-1, 3, size, size)


def mesh_from_map(position_map: NDArray[np.floating], mesh: MeshUV, layout: UVLayout) -> NDArray[np.float64]:
    """The mesh (V,3) back out of a position map (S,S,3): bilinear at its uv, from the pixels of the mask alone.

    A vertex between pixels of which none is in the mask takes the nearest that is.
    """
    size = layout.size
    inside = layout.mask() > 0
    place = np.asarray(mesh.uv, np.float64) * (size - 1)
    base = np.clip(np.floor(place).astype(int), 0, size - 2)
    part = place - base
    total, weight = np.zeros((len(place), 3)), np.zeros(len(place))
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = base[:, 1] + dy, base[:, 0] + dx
            share = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1]) * inside[row, column]
            total += position_map[row, column] * share[:, None]
            weight += share
    rows, columns = np.nonzero(inside)
    for vertex in np.flatnonzero(weight < 1e-6):
        nearest = ((columns - place[vertex, 0]) ** 2 + (rows - place[vertex, 1]) ** 2).argmin()
        total[vertex], weight[vertex] = position_map[rows[nearest], columns[nearest]], 1.0
    return total / weight[:, None]
