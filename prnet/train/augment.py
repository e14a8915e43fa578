"""One training example: a face's window is turned, moved, scaled and sometimes mirrored into a crop, mesh and all.

The ranges are the paper's (section 3.3): rotation 45 degrees to either side, translation 10 % of the crop, scale 0.9 to
1.2, each colour channel times 0.6 to 1.4, and patches of noise or of another picture in front of the face. The position
map is made from the moved mesh, so it agrees with the crop exactly.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from prnet.crop import crop_images
from prnet.train.faces import Face


class AugmentConfig(BaseModel):
    """How far an example may be from the plain crop of its face."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotation: float = Field(default=45.0, ge=0, le=180, description="degrees, to either side")
    upright: float = Field(default=0.0, ge=0, le=1, description="share of examples turned by a fifth of that at most")
    translation: float = Field(default=0.1, ge=0, le=0.5, description="of the crop's side, along x and y")
    scale: tuple[float, float] = Field(default=(0.9, 1.2), description="of the face in the crop")
    colour: tuple[float, float] = Field(default=(0.6, 1.4), description="factor of each colour channel")
    mirror: float = Field(default=0.5, ge=0, le=1, description="share of examples that are mirrored")
    occluders: float = Field(default=0.3, ge=0, le=1, description="share of examples with something in front")


def crop_batch(
    faces: list[Face],
    size: int,
    mirror: NDArray[np.int64],
    rngs: list[np.random.Generator] | None = None,
    config: AugmentConfig | None = None,
) -> tuple[Tensor, Tensor]:
    """Crops (B,3,size,size) float32 in [0,1] and their meshes (B,V,3) float32 in crop px, z from 0 at the farthest.

    With one generator a face the crops are augmented as `config` says; without, they are the plain ones. `mirror` (V,)
    is `MeshUV.mirror()`.
    """
    side = faces[0].window.shape[0]
    affines, flips = np.repeat(plain_crop(side, size)[None], len(faces), 0), np.zeros(len(faces), bool)
    if rngs is not None and config is not None:
        drawn = [_affine(rng, size, side, config) for rng in rngs]
        affines = np.stack([affine for affine, _ in drawn])
        flips = np.array([flip for _, flip in drawn])
    windows = torch.from_numpy(np.stack([face.window for face in faces]))
    crops = crop_images(windows, torch.from_numpy(affines), size)  # (B, size, size, 3)
    if rngs is not None and config is not None:
        others = crops.roll(1, 0)
        for crop, other, rng in zip(crops, others, rngs, strict=True):
            _occlude(crop, other, rng, config)
            factors = rng.uniform(*config.colour, 3).astype(np.float32)
            crop.mul_(torch.from_numpy(factors)).clamp_(0, 1)
    meshes = np.stack([face.vertices for face in faces]).astype(np.float64)
    moved = np.einsum("bij,bvj->bvi", affines[:, :, :2], meshes[..., :2]) + affines[:, None, :, 2]
    depth = meshes[..., 2] * np.sqrt(np.abs(np.linalg.det(affines[:, :, :2])))[:, None]
    meshes = np.concatenate([moved, (depth - depth.min(1, keepdims=True))[..., None]], 2)
    meshes[flips] = meshes[flips][:, mirror]  # the mirrored picture's left eye is the right one
    return crops.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(meshes.astype(np.float32))


def plain_crop(side: int, size: int) -> NDArray[np.float64]:
    """Affine (2,3), px of a window of `side` -> px of the crop in its middle."""
    return np.column_stack([np.eye(2), np.full(2, (size - side) / 2)])


def _affine(rng: np.random.Generator, size: int, side: int, config: AugmentConfig) -> tuple[NDArray[np.float64], bool]:
    """Window px -> crop px (2,3), and whether it mirrors."""
    limit = config.rotation * (0.2 if rng.random() < config.upright else 1.0)
    angle = np.radians(rng.uniform(-limit, limit))
    scale = rng.uniform(*config.scale)
    shift = rng.uniform(-config.translation, config.translation, 2) * size
    flip = bool(rng.random() < config.mirror)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if flip:
        linear[:, 0] *= -1
    return np.column_stack([linear, (size - 1) / 2 + shift - linear @ np.full(2, (side - 1) / 2)]), flip


def _occlude(crop: Tensor, other: Tensor, rng: np.random.Generator, config: AugmentConfig) -> None:
    """Put an ellipse or a bar of noise, or of another picture, over `crop` (S,S,3) in place."""
    if rng.random() >= config.occluders:
        return
    size = len(crop)
    centre = rng.uniform(0.15, 0.85, 2) * size
    half = rng.uniform(0.06, 0.22, 2) * size
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    along = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    across = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    if rng.random() < 0.6:
        inside = (along / half[0]) ** 2 + (across / half[1]) ** 2 < 1
    else:
        inside = (np.abs(along) < 2 * half[0]) & (np.abs(across) < 0.6 * half[1])
    where = torch.from_numpy(inside)
    if rng.random() < 0.5:
        crop[where] = other[where]
        return
    cells = torch.from_numpy(rng.uniform(0, 1, (1, 3, 6, 6)).astype(np.float32))
    noise = torch.nn.functional.interpolate(cells, size=(size, size), mode="bilinear", align_corners=True)[0]
    grain = torch.from_numpy(rng.normal(0, 0.05, (size, size, 1)).astype(np.float32))
    crop[where] = (0.5 * noise.permute(1, 2, 0) + float(rng.uniform(0, 0.5)) + grain).clamp(0, 1)[where]
