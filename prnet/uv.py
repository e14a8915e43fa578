"""The UV layout: which pixels of a position map are vertices of the face, and how they form a mesh.

A layout is a mask over the position map. Its non-zero pixels, row by row, are the vertices; neighbouring pixels are
joined into triangles; 68 of the pixels are the iBUG landmarks. The released model's mask (256x256) gives 43,867
vertices and 86,906 triangles, the same list as the `triangles.txt` that came with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prnet.errors import WeightsError

MASK = "uv_face_mask.png"
INDICES = "face_ind.txt"
LANDMARKS = "uv_kpt_ind.txt"
# what `to_tensors` calls its parts inside a weights file
PREFIX = "uv."


@dataclass(frozen=True, eq=False)
class UVLayout:
    """Vertices, triangles and landmarks of a position map of `size` x `size`.

    `vertex_index` (V,) int64: flat indices (row * size + column) into a position map, ascending.
    `triangles` (T,3) int32 and `landmarks68` (68,) int64: vertex numbers.
    """

    size: int
    vertex_index: NDArray[np.int64]
    triangles: NDArray[np.int32]
    landmarks68: NDArray[np.int64]

    @classmethod
    def from_mask(cls, mask: NDArray[np.generic], landmarks: NDArray[np.generic], name: str = "mask") -> UVLayout:
        """Layout of a mask (S,S), non-zero where a vertex is, and landmarks (68,2): column u and row v of each.

        Raises WeightsError, which begins with `name`, if the mask is not square, gives no triangle, or if a landmark is
        not on it.
        """
        if mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
            raise WeightsError(f"{name}: expected a square mask with one channel, got shape {mask.shape}")
        inside = mask != 0
        number = np.full(mask.shape, -1, np.int64)
        number[inside] = np.arange(inside.sum())
        triangles = _triangles(number)
        if not len(triangles):
            raise WeightsError(f"{name}: the mask of {inside.sum()} pixels gives no triangle")
        if landmarks.shape != (68, 2):
            raise WeightsError(f"{name}: expected 68 landmarks (u, v), got shape {landmarks.shape}")
        places = np.asarray(landmarks, np.int64)
        within = ((places >= 0) & (places < len(mask))).all(1)
        if not (within.all() and (number[places[:, 1], places[:, 0]] >= 0).all()):
            raise WeightsError(
                f"{name}: not all of the 68 landmarks lie on the mask; these files do not belong together"
            )
        return cls(len(mask), np.flatnonzero(inside), triangles, number[places[:, 1], places[:, 0]])

    def mask(self) -> NDArray[np.uint8]:
        """(S,S) uint8: 255 where a vertex is."""
        mask = np.zeros(self.size * self.size, np.uint8)
        mask[self.vertex_index] = 255
        return mask.reshape(self.size, self.size)

    def landmark_places(self) -> NDArray[np.int32]:
        """(68,2) int32: column u and row v of the landmarks in a position map."""
        row, column = np.divmod(self.vertex_index[self.landmarks68], self.size)
        return np.stack([column, row], 1).astype(np.int32)


def _triangles(number: NDArray[np.int64]) -> NDArray[np.int32]:
    """Triangles of a picture (S,S) of vertex numbers, -1 = none: per quad, row by row, (TL,TR,BL) then (TR,BR,BL).

    What touches vertex 0 is left out: the original took the number 0 for "no vertex", and so lacks one triangle. To be
    equal to the published list this lacks it too.
    """
    tl, tr, bl, br = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    pairs = np.stack([np.stack([tl, tr, bl], -1), np.stack([tr, br, bl], -1)], axis=2)
    triangles = pairs.reshape(-1, 3)
    return triangles[(triangles > 0).all(1)].astype(np.int32)


def read_uv_data(folder: Path) -> UVLayout:
    """Layout from a `uv-data` folder as PRNet ships it.

    It needs `uv_kpt_ind.txt` and `uv_face_mask.png` or `face_ind.txt` (both must agree when both are there). Raises
    WeightsError if files are missing or do not fit.
    """
    masks = {}
    if (folder / MASK).is_file():
        from PIL import Image

        with Image.open(folder / MASK) as picture:
            masks[MASK] = np.asarray(picture.convert("L")) != 0
    if (folder / INDICES).is_file():
        indices = _numbers(folder / INDICES).astype(np.int64).ravel()
        side = len(next(iter(masks.values()))) if masks else 256
        if not len(indices) or indices.min() < 0 or indices.max() >= side * side:
            raise WeightsError(f"{folder / INDICES}: expected indices into {side}x{side} pixels")
        masks[INDICES] = np.isin(np.arange(side * side), indices).reshape(side, side)
    if not masks:
        raise WeightsError(f"{folder}: expected {MASK} or {INDICES} in it; give PRNet's Data/uv-data folder")
    if len(masks) == 2 and not np.array_equal(masks[MASK], masks[INDICES]):
        raise WeightsError(f"{folder}: {MASK} and {INDICES} name different vertices; take both from one download")
    if not (folder / LANDMARKS).is_file():
        raise WeightsError(f"{folder}: expected {LANDMARKS} in it; give PRNet's Data/uv-data folder")
    landmarks = _numbers(folder / LANDMARKS)
    if landmarks.shape != (2, 68):
        raise WeightsError(f"{folder / LANDMARKS}: expected 2 rows of 68 numbers, got {landmarks.shape}")
    return UVLayout.from_mask(next(iter(masks.values())), landmarks.T, str(folder))


def _numbers(path: Path) -> NDArray[np.float64]:
    try:
        return np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise WeightsError(f"{path}: expected a table of numbers: {error}") from error
