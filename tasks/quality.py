"""How good an alignment is, in [0, 1], from four things that are easy to see, and whether it is good enough to learn.

A dense aligner always gives a face: of a wrong crop, of a hand, of a cup. A label made of that is worse than none. So
each live face is judged by

    landmarks    the detector's five points against the same points of the mesh: their mean distance
    inside       the share of the mesh that lies in the picture and in the plain crop
    confidence   the aligner's own
    agreement    a second look at the face, through a crop cut closer or wider: the mean distance of the two meshes

Distances are in inter-ocular units (the 3-D distance between the mesh's eyes, so that a turned head has the same). A
part is 1 for no error and one half at its limit, 1 / (1 + (error / limit)²); confidence is taken as it is. The quality
is the lowest of the parts: each can prove a face wrong, and none can make up for another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tasks.align import Aligner, Alignment, to_image
from tasks.warp import Affine, apply_affine, compose, warp

# Measured on simulated pictures (their truth says which meshes are wrong) and 200 portraits, with facemesh: points of
# good meshes are 0.06 apart, of 99 in 100 portraits below 0.22; looks at good meshes differ by 0.03 and at most 0.07.
LANDMARKS_LIMIT = 0.3  # inter-ocular units
OUTSIDE_LIMIT = 0.2  # share of the mesh
AGREEMENT_LIMIT = 0.1  # inter-ocular units


class QualityConfig(BaseModel):
    """When a live face is too badly aligned to be learned from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_quality: float = Field(
        default=0.5, ge=0, le=1, description="live faces of a lower quality are rejected; 0 keeps and shows them all"
    )
    second_look: bool = Field(
        default=True, description="align each face once more for `agreement`; off saves one pass of the aligner a face"
    )


@dataclass(frozen=True)
class Quality:
    """The parts, each in [0, 1]; None: not to be had (no detector points; no second look)."""

    landmarks: float | None
    inside: float
    confidence: float
    agreement: float | None

    @property
    def value(self) -> float:
        """The lowest of the parts that there are."""
        return min(v for v in (self.landmarks, self.inside, self.confidence, self.agreement) if v is not None)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {v:.2f}" for name, v in vars(self).items() if v is not None)
        return f"{self.value:.2f} ({parts})"


def judge(
    images: Sequence[NDArray[np.uint8]],
    points: Sequence[NDArray[np.floating] | None],
    crops: Sequence[Affine],
    crop_size: int,
    alignments: Sequence[Alignment],
    aligner: Aligner,
    config: QualityConfig,
) -> list[Quality]:
    """The quality of each alignment of images[i] (H, W, 3) uint8.

    `points[i]` (5, 2) px are the detector's, or None; `crops[i]` (2, 3) is the affine of the plain crop, `crop_size` px
    wide. Vertices that are not finite have a quality of 0.
    """
    if config.second_look:
        agreements = [part(d, AGREEMENT_LIMIT) for d in second_look(images, alignments, aligner)]
    found = []
    for i, (image, face) in enumerate(zip(images, alignments, strict=True)):
        known = points[i]
        apart = None if known is None else landmark_distance(face.vertices, known, aligner)
        outside = 1 - share_inside(face.vertices, aligner.triangles, image.shape[:2], crops[i], crop_size)
        found.append(
            Quality(
                landmarks=None if apart is None else part(apart, LANDMARKS_LIMIT),
                inside=part(outside, OUTSIDE_LIMIT),
                confidence=face.confidence if np.isfinite(face.confidence) else 0.0,
                agreement=agreements[i] if config.second_look else None,
            )
        )
    return found


def part(error: float, limit: float) -> float:
    """1 for no error, one half at the limit, towards 0 beyond; 0 for an error that is not finite."""
    return 1 / (1 + (error / limit) ** 2) if np.isfinite(error) else 0.0


def five_points(vertices: NDArray[np.floating], aligner: Aligner) -> NDArray[np.float64]:
    """The mesh's (5, 3) points that a detector would give."""
    return np.stack([vertices[list(group)].astype(np.float64).mean(axis=0) for group in aligner.five_points])


def landmark_distance(vertices: NDArray[np.float32], points: NDArray[np.floating], aligner: Aligner) -> float:
    """Mean distance in the picture between the mesh's five points and the detector's (5, 2) px, inter-ocular units."""
    five = five_points(vertices, aligner)
    return _in_eyes(np.linalg.norm(five[:, :2] - points, axis=1).mean(), five)


def share_inside(
    vertices: NDArray[np.float32],
    triangles: NDArray[np.int32],
    picture: tuple[int, ...],
    crop: Affine,
    crop_size: int,
) -> float:
    """Share of the mesh's area as it is seen, by the middles of its triangles, that is in picture (h, w) and crop."""
    corners = vertices[triangles][..., :2].astype(np.float64)  # (T, 3, 2)
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    area, middle = np.abs(ax * by - ay * bx), corners.mean(axis=1)
    inside = _within(middle, picture[::-1]) & _within(apply_affine(crop, middle), (crop_size, crop_size))
    total = area.sum()
    return float(area[inside].sum() / total) if np.isfinite(total) and total > 0 else 0.0


def second_look(images: Sequence[NDArray[np.uint8]], alignments: Sequence[Alignment], aligner: Aligner) -> list[float]:
    """Mean distance of each mesh from that of a crop `aligner.second_look` times as wide, in inter-ocular units."""
    if not alignments:
        return []
    middle = (aligner.size - 1) / 2
    zoom = 1 / aligner.second_look
    about_middle = np.array([[zoom, 0, middle - zoom * middle], [0, zoom, middle - zoom * middle]])
    looks = [compose(about_middle, face.crop) for face in alignments]
    crops = np.stack([warp(image, look, aligner.size) for image, look in zip(images, looks, strict=True)])
    vertices, _ = aligner(crops)
    return [
        mesh_distance(face.vertices, to_image(again, look), aligner)
        for face, again, look in zip(alignments, vertices, looks, strict=True)
    ]


def mesh_distance(one: NDArray[np.float32], two: NDArray[np.float32], aligner: Aligner) -> float:
    """Mean distance of the vertices (V, 3) of two meshes of a face, in inter-ocular units of the first.

    The offset of z is arbitrary and does not count.
    """
    apart = one.astype(np.float64) - two
    apart[:, 2] -= apart[:, 2].mean()
    return _in_eyes(np.linalg.norm(apart, axis=1).mean(), five_points(one, aligner))


def _in_eyes(distance: float, five: NDArray[np.float64]) -> float:
    eyes = float(np.linalg.norm(five[1] - five[0]))
    return float(distance) / eyes if eyes > 0 else np.inf


def _within(points: NDArray[np.float64], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which points (N, 2) px lie on the pixels of a picture of size (w, h)."""
    x, y = points.T
    return (x >= -0.5) & (x <= size[0] - 0.5) & (y >= -0.5) & (y <= size[1] - 0.5)
