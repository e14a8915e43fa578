"""Where PRNet looks: its crop rules, the crop itself, and the way back to image pixels.

A crop is a square around the face, mapped onto the pixel centres 0..size-1 (so a square of s pixels is scaled by
(size-1)/s), without rotation, sampled bilinearly, with zeros outside the image. As the original does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


@dataclass(frozen=True)
class CropRule:
    """The square's side is `scale` times the mean of the box's sides; its centre is `shift` of that mean lower."""

    scale: float
    shift: float


CROP_RULES = {
    # the box of a face detector that ends at the eyebrows (dlib's, in the original)
    "detector": CropRule(1.58, 0.14),
    # a box around the whole face, or around its 68 landmarks
    "box": CropRule(1.6, 0.0),
    "landmarks": CropRule(1.6, 0.0),
}


def landmarks_box(landmarks: ArrayLike) -> NDArray[np.float64]:
    """Box (4,) x1, y1, x2, y2 of landmarks (N,2+) in image px."""
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 2 or points.shape[1] < 2 or len(points) < 3:
        raise ValueError(f"landmarks: expected shape (N, 2) or (N, 3) with N >= 3, got {points.shape}")
    return np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])


def crop_affine(box: ArrayLike, rule: str = "box", size: int = 256) -> NDArray[np.float64]:
    """Affine (2,3), image px -> crop px, for a box (4,) x1, y1, x2, y2 in image px.

    `rule` is a name of CROP_RULES; for "landmarks" pass `landmarks_box(points)`. The square's side is cut to whole
    pixels. Raises ValueError for an unknown rule, a box that is not finite, or one smaller than a pixel.
    """
    if rule not in CROP_RULES:
        raise ValueError(f"rule: expected one of {sorted(CROP_RULES)}, got {rule!r}")
    edges = np.asarray(box, np.float64)
    if edges.shape != (4,) or not np.isfinite(edges).all() or (edges[2:] < edges[:2]).any():
        raise ValueError(f"box: expected finite x1 <= x2, y1 <= y2, got {edges.tolist()}")
    left, top, right, bottom = edges
    mean_side = (right - left + bottom - top) / 2
    side = int(CROP_RULES[rule].scale * mean_side)
    if side < 1:
        raise ValueError(f"box: {edges.tolist()} is smaller than a pixel")
    centre = np.array([(left + right) / 2, (top + bottom) / 2 + CROP_RULES[rule].shift * mean_side])
    scale = (size - 1) / side
    offset = -(centre - side / 2) * scale
    return np.array([[scale, 0.0, offset[0]], [0.0, scale, offset[1]]])


def crop_images(images: Sequence[Tensor] | Tensor, affines: Tensor, size: int = 256) -> Tensor:
    """Crops (B,size,size,3) float32 in [0,1] of images, on the device the images are on.

    `images`: B tensors (H,W,3), or one (B,H,W,3), uint8 or float in [0,1]. `affines` (B,2,3) float64, image px -> crop
    px, any affine. Sizes may differ: each image is sampled on its own then.
    """
    if len(images) != len(affines):
        raise ValueError(f"{len(images)} images and {len(affines)} affines do not match")
    if isinstance(images, Tensor):
        return _crop_batch(images, affines, size)
    crops = [_crop_batch(image[None], affine[None], size) for image, affine in zip(images, affines, strict=True)]
    return torch.cat(crops) if crops else torch.empty(0, size, size, 3)


def _crop_batch(images: Tensor, affines: Tensor, size: int) -> Tensor:
    h, w = images.shape[1:3]
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    affines = affines.to(images.device, torch.float64)
    # grid_sample wants, for each crop pixel, the image place as -1..1 between the first and the last pixel centre
    inverse = torch.linalg.inv(affines[:, :, :2])
    line = torch.arange(size, device=images.device, dtype=torch.float64)
    target = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)  # (size, size, xy)
    place = torch.einsum("bij,byxj->byxi", inverse, target - affines[:, None, None, :, 2])
    place = place * (2.0 / torch.tensor([max(w - 1, 1), max(h - 1, 1)], device=images.device)) - 1
    crops = F.grid_sample(pixels.permute(0, 3, 1, 2), place.float(), mode="bilinear", align_corners=True)
    return crops.permute(0, 2, 3, 1).contiguous()


def restore(points: Tensor, affines: Tensor) -> Tensor:
    """Points (B,...,3) in crop px -> image px: x, y by the inverse affine, z divided by its scale.

    `affines` (B,2,3), image px -> crop px. The result has the dtype of `points`; z keeps the unit of x and y.
    """
    affines = affines.to(points.device, torch.float64)
    inverse = torch.linalg.inv(affines[:, :, :2])
    flat = points.reshape(len(points), -1, 3).double()
    plane = (flat[..., :2] - affines[:, None, :, 2]) @ inverse.transpose(1, 2)
    depth = flat[..., 2:] * torch.linalg.det(inverse).abs().sqrt()[:, None, None]
    return torch.cat([plane, depth], -1).to(points.dtype).reshape(points.shape)
