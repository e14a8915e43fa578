"""One surface for a whole portrait: the face mesh, continued over hair, ears, neck and surroundings.

The idea is face profiling (Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016, section 4.1): the
picture around the face gets a depth of its own, so that turning the head bends the picture instead of cutting it. Here
rings of vertices leave the face contour outwards. Beside and above the face they fall back like a skull until the
silhouette of the head; below the jaw they drop to the neck. Every vertex has a `follow` weight: 1 turns with the head,
0 stays where the photograph has it, so shoulders and frame keep still.

Coordinates are texture pixels (x right, y down, z towards the viewer), and a vertex's texture position is its own x, y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# distances of the rings from the face contour, in face widths; dense where the surface bends
RINGS = (0.025, 0.055, 0.09, 0.13, 0.18, 0.24, 0.31, 0.40, 0.52, 0.68, 0.90, 1.20, 1.60, 2.20, 3.20)
# canonical face units are about centimetres; the pivot is the top of the neck, a little below the ears
PIVOT = np.array([0.0, -3.0, -5.0])
FACE_WIDTH = 15.4  # of the canonical face
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
EYES = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
)
_SKULL_SIDE_Z = -7.5
_SKULL_TOP_Z = -5.5
_NECK_Z = -4.0


@dataclass(frozen=True)
class Surface:
    """The portrait's mesh in the photograph's own pose.

    vertices (V,3) float64 texture px; triangles (T,3) int32, the face's first; follow (V,) in [0,1]; contour (V,) the
    contour vertex (index into the face) whose displacement a ring vertex inherits, `carry` (V,) how much of it;
    faces = number of face vertices; face_triangles = number of face triangles; inside (V,) 1 on the copies of the
    inner lips that span the mouth's hole; seam (m,3): each vertex of the innermost ring and the two contour vertices
    that it lies between (or on); pivot (3,).
    """

    vertices: Floats
    triangles: NDArray[np.int32]
    follow: Floats
    contour: NDArray[np.int64]
    carry: Floats
    faces: int
    face_triangles: int
    inside: Floats
    seam: NDArray[np.int64]
    pivot: Floats


def smoothstep(low: float | Floats, high: float | Floats, x: Floats) -> Floats:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / np.maximum(np.subtract(high, low), 1e-9), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def silhouette(oval: Floats, up: Floats, matte: NDArray[np.float32] | None, width: float) -> Floats:
    """How far the head's outline lies beyond each contour point, in face widths: from the matte, else a usual head."""
    centre = oval.mean(axis=0)
    rays = oval - centre
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    upness = rays @ up
    usual = 0.16 + 0.30 * smoothstep(0.2, 1.0, upness)
    if matte is None:
        return usual
    steps = np.arange(0.02, 0.9, 0.02)
    points = oval[:, None] + rays[:, None] * (steps * width)[None, :, None]
    x = np.clip(np.rint(points[..., 0]), 0, matte.shape[1] - 1).astype(int)
    y = np.clip(np.rint(points[..., 1]), 0, matte.shape[0] - 1).astype(int)
    outside = matte[y, x] < 0.5
    first = np.where(outside.any(axis=1), steps[outside.argmax(axis=1)], 0.9)
    first = np.clip(first, 0.08, np.where(upness > 0.3, 0.8, 0.5))
    # neighbours agree: a stray lock must not pull the skull along
    padded = np.concatenate([first[-3:], first, first[:3]])
    return np.array([np.median(padded[i : i + 7]) for i in range(len(first))])


def build_surface(
    face: Floats,
    face_triangles: NDArray[np.int32],
    oval_index: NDArray[np.int64],
    rotation: Floats,
    origin: Floats,
    scale: float,
    matte: NDArray[np.float32] | None,
) -> Surface:
    """The whole surface around a fitted face.

    `face` (468,3) texture px in the photograph's pose, `oval_index` the ordered contour, `rotation` (3,3) from the
    canonical face (y up, z towards the viewer) to texture axes, `origin` (3,) where that puts its zero, `scale` texture
    px a canonical unit, `matte` (h,w) the person's coverage or None.
    """
    oval = face[oval_index]
    width = FACE_WIDTH * scale
    up = rotation[:2, 1] / np.linalg.norm(rotation[:2, 1])
    reach = silhouette(oval[:, :2], up, matte, width)

    # twice as many vertices around as the contour has: midpoints lie exactly on its edges, so no crack opens
    ring0 = np.empty((2 * len(oval), 3))
    ring0[0::2], ring0[1::2] = oval, (oval + np.roll(oval, -1, axis=0)) / 2
    reach = np.stack([reach, (reach + np.roll(reach, -1)) / 2], axis=1).ravel()
    owner = np.stack([oval_index, oval_index], axis=1).ravel()
    next_owner = np.stack([oval_index, np.roll(oval_index, -1)], axis=1).ravel()
    centre = ring0[:, :2].mean(axis=0)
    rays = ring0[:, :2] - centre
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    upness = rays @ up
    neck = smoothstep(0.25, 0.75, -upness)
    top = smoothstep(0.0, 0.9, upness)

    skull = origin[2] + scale * (_SKULL_SIDE_Z + (_SKULL_TOP_Z - _SKULL_SIDE_Z) * top)
    nape = origin[2] + scale * _NECK_Z
    count = len(ring0)
    vertices, follow, carry = [ring0], [np.ones(count)], [np.ones(count)]
    for distance in RINGS:
        xy = ring0[:, :2] + rays * (distance * width)
        # the head: back to the skull's widest section at the silhouette, a little rounded; then it stays there
        t = np.clip(distance / reach, 0.0, 1.0)
        head_z = ring0[:, 2] + (skull - ring0[:, 2]) * (0.55 * t + 0.45 * t * t)
        neck_z = ring0[:, 2] + (nape - ring0[:, 2]) * smoothstep(0.0, 0.16, np.full(count, distance))
        head_follow = 1.0 - smoothstep(reach, reach + 0.9, np.full(count, distance))
        neck_follow = 1.0 - smoothstep(0.0, 0.85, np.full(count, distance))
        vertices.append(np.column_stack([xy, head_z * (1 - neck) + neck_z * neck]))
        follow.append(head_follow * (1 - neck) + neck_follow * neck)
        carry.append(np.full(count, np.exp(-distance / 0.35)) * (1.0 - smoothstep(1.0, 2.0, np.full(count, distance))))

    rings = np.concatenate(vertices)
    index = np.arange(count)
    after = (index + 1) % count
    quads = []
    for r in range(len(RINGS)):
        a, b = len(face) + r * count + index, len(face) + r * count + after
        c, d = a + count, b + count
        quads += [np.stack([a, c, b], axis=1), np.stack([b, c, d], axis=1)]
    # the mouth's hole gets vertices of its own, so that it can be darker than the lips around it
    lips = np.asarray(INNER_LIPS)
    copies = len(face) + len(rings)
    renumber = np.arange(copies)
    renumber[lips] = copies + np.arange(len(lips))
    hole = np.asarray(np.isin(face_triangles, lips)).all(axis=1)
    front = np.where(hole.reshape(-1, 1), renumber[face_triangles], face_triangles)
    return Surface(
        vertices=np.concatenate([face, rings, face[lips]]),
        triangles=np.concatenate([front, *quads]).astype(np.int32),
        follow=np.concatenate([np.ones(len(face)), *follow, np.ones(len(lips))]),
        contour=np.concatenate([np.arange(len(face)), np.tile(owner, len(RINGS) + 1), lips]),
        carry=np.concatenate([np.ones(len(face)), *carry, np.ones(len(lips))]),
        inside=np.concatenate([np.zeros(copies), np.ones(len(lips))]),
        seam=np.column_stack([len(face) + np.arange(count), owner, next_owner]),
        faces=len(face),
        face_triangles=len(face_triangles),
        pivot=origin + rotation @ (scale * PIVOT),
    )
