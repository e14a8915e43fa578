"""What a depth camera measured of a face, in the normalisation of pseudo-depth: near = large, background = 0.

The face is where its mesh lies in the picture, so that real and pseudo-depth cover the same pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from prnet.rasterize import rasterize
from tasks.depth import Depth, DepthConfig
from tasks.errors import MediumError
from tasks.warp import Affine, apply_affine, invert_affine

_FACE_MM = 150  # a face is no deeper on either side of its middle: what is beyond is background seen past its edge
_MEASURED = 0.5  # share of the face that the camera must have measured


def real_depth_map(
    distance: npt.NDArray[np.number],
    vertices: npt.NDArray[np.floating],
    triangles: npt.NDArray[np.integer],
    affine: Affine,
    size: int,
    config: DepthConfig,
) -> Depth:
    """The crop (size, size) of a face's measured depth, as `face-minmax` makes it of a mesh.

    `distance` (H, W) mm from the camera, registered with the picture, 0 where nothing was measured; `vertices` (V, 3)
    in px of the picture; `affine` (2, 3) picture px -> crop px. The range is that of the whole face, from the 1st to
    the 99th percentile, whatever the crop shows; pixels of the face that were not measured take the nearest one that
    was; nothing is interpolated. Raises MediumError `align-failed` if too little was measured.
    """
    height, width = distance.shape
    flat = vertices * [1, 1, 0] + [0, 0, 1]
    face = rasterize(flat, triangles, (height, width), config.rule) > 0
    measured = face & (distance > 0)
    if measured.any():
        measured &= np.abs(distance - np.median(distance[measured])) <= _FACE_MM
    if not measured.any() or measured.sum() < _MEASURED * face.sum():
        share = measured.sum() / max(face.sum(), 1)
        raise MediumError("align-failed", f"the depth camera measured {share:.0%} of the face")
    near, far = np.percentile(distance[measured], [1, 99])
    if not far > near:
        raise MediumError("align-failed", f"the face is flat: {near:g} mm from the depth camera everywhere")
    levels = np.iinfo(config.dtype).max
    grey = 1 + (np.clip((far - distance) / (far - near), 0, 1) * (levels - 1))
    nearest = distance_transform_edt(~measured, return_distances=False, return_indices=True)
    whole = np.where(face, np.rint(grey[tuple(nearest)]), 0).astype(config.dtype)
    return _sampled(whole, affine, size)


def _sampled(image: Depth, affine: Affine, size: int) -> Depth:
    """The crop's pixels, each the nearest one of `image` (H, W), 0 outside it."""
    ys, xs = np.mgrid[:size, :size]
    at = np.rint(apply_affine(invert_affine(affine), np.column_stack([xs.ravel(), ys.ravel()]))).astype(np.int64)
    inside = ((at >= 0) & (at < (image.shape[1], image.shape[0]))).all(axis=1)
    crop = np.zeros(size * size, image.dtype)
    crop[inside] = image[at[inside, 1], at[inside, 0]]
    return crop.reshape(size, size)
