"""The face mesh as PRNet's teacher: live pictures in, faces with a mesh out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prnet.train.faces import Face, window_affine, window_side
from tasks.align import AlignConfig, Aligner, align
from tasks.aligners import load_aligner
from tasks.aligners.facemesh import EYE_LEFT_OUTER, EYE_RIGHT_OUTER, canonical_face
from tasks.detect import DetectConfig, Detector, choose_face
from tasks.detectors import load_detector
from tasks.errors import MediumError
from tasks.read import ReadConfig, read_frames
from tasks.warp import apply_affine, warp

# a face that the mesh network itself doubts teaches nothing
MIN_CONFIDENCE = 0.9
# px in the picture between the outer corners of the eyes, in space: a smaller face shows nothing to learn
MIN_EYES = 14.0


@dataclass(frozen=True)
class Picture:
    """A live picture, or a video of which the first frame is taken, and who is in it. `kind`: image | video."""

    path: Path
    subject: str
    kind: str = "image"


def teach(picture: Picture, size: int) -> Face:
    """The main face of a picture, as a window for crops of `size`, with the mesh that the face mesh gives it.

    Raises MediumError for a picture that cannot be read, and for one without a face to learn from (`no-face`,
    `align-failed`, `too-small`).
    """
    detector, aligner, config, average = _models()
    image = next(read_frames(picture.path, picture.kind, ReadConfig()))[1]
    faces = detector([image])[0]
    chosen = choose_face(faces, None, config)
    if chosen is None:
        raise MediumError("no-face", f"{picture.path}: no face was found")
    found = align([image], faces.boxes[chosen : chosen + 1], [faces.points[chosen]], aligner)[0]
    vertices = found.vertices.astype(np.float64)
    eyes = np.linalg.norm(vertices[EYE_LEFT_OUTER] - vertices[EYE_RIGHT_OUTER])
    if found.confidence < MIN_CONFIDENCE:
        raise MediumError("align-failed", f"{picture.path}: the face mesh's confidence is {found.confidence:.2f}")
    if eyes < MIN_EYES:
        raise MediumError("too-small", f"{picture.path}: the outer corners of the eyes are {eyes:.0f} px apart")
    affine = window_affine(vertices, size)
    moved = np.column_stack([apply_affine(affine, vertices[:, :2]), vertices[:, 2] * affine[0, 0]])
    return Face(
        window=warp(image, affine, window_side(size)),
        vertices=moved.astype(np.float32),
        subject=picture.subject,
        source="teacher",
        yaw=_yaw(average, vertices),
    )


@lru_cache(maxsize=1)
def _models() -> tuple[Detector, Aligner, DetectConfig, NDArray[np.float64]]:
    config = DetectConfig()
    aligner = load_aligner(AlignConfig(aligner="facemesh", passes=3))
    return load_detector(config), aligner, config, canonical_face().vertices.astype(np.float64)


def _yaw(average: NDArray[np.float64], vertices: NDArray[np.float64]) -> float:
    """Degrees, + towards image right: of the rotation that takes the average face nearest to the vertices (Kabsch)."""
    face = vertices * [1.0, -1.0, 1.0]
    u, _, vt = np.linalg.svd((face - face.mean(0)).T @ (average - average.mean(0)))
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return float(np.degrees(np.arctan2(turn[0, 2], turn[2, 2])))
