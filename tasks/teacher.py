"""The face mesh as PRNet's teacher: live pictures in, faces with a mesh out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prnet.train.faces import Face, window_affine, window_side
from tasks.align import AlignConfig, align, load_aligner
from tasks.aligners.facemesh import EYE_LEFT_OUTER, EYE_RIGHT_OUTER, canonical_face
from tasks.detect import DetectConfig, choose_face, load_detector
from tasks.errors import MediumError
from tasks.read import ReadConfig, read_frames
from tasks.warp import apply_affine, warp

# a face that the mesh network itself doubts teaches nothing
MIN_CONFIDENCE = 0.9
# of the face's window, in image px: a smaller face would be blown up
MIN_EYES = 14.0


def teach(
    pictures: Iterable[Path], size: int, *, rejected: Callable[[Path, str], None] | None = None
) -> Iterator[Face]:
    """The main face of each picture, as a window for crops of `size`, with the mesh that the face mesh gives it.

    `subject` is the file's name without suffix. Pictures without a usable face are left out; `rejected` hears why.
    """
    config = DetectConfig()
    detector = load_detector(config)
    aligner = load_aligner(AlignConfig(aligner="facemesh", passes=3))
    average = canonical_face().vertices.astype(np.float64)
    for path in pictures:
        try:
            image = next(read_frames(path, "image", ReadConfig()))[1]
            faces = detector([image])[0]
            chosen = choose_face(faces, None, config)
            if chosen is None:
                raise MediumError("no-face", f"{path}: no face was found")
            found = align([image], faces.boxes[chosen : chosen + 1], [faces.points[chosen]], aligner)[0]
            eyes = np.linalg.norm(found.vertices[EYE_LEFT_OUTER] - found.vertices[EYE_RIGHT_OUTER])
            if found.confidence < MIN_CONFIDENCE:
                raise MediumError("align-failed", f"{path}: confidence {found.confidence:.2f}")
            if eyes < MIN_EYES:
                raise MediumError("too-small", f"{path}: the eyes are {eyes:.0f} px apart")
        except MediumError as error:
            if rejected:
                rejected(path, error.reason)
            continue
        affine = window_affine(found.vertices, size)
        vertices = found.vertices.astype(np.float64)
        moved = np.column_stack([apply_affine(affine, vertices[:, :2]), vertices[:, 2] * affine[0, 0]])
        yield Face(
            window=warp(image, affine, window_side(size)),
            vertices=moved.astype(np.float32),
            subject=path.stem,
            source="teacher",
            yaw=_yaw(average, vertices),
        )


def _yaw(average: NDArray[np.float64], vertices: NDArray[np.float64]) -> float:
    """Degrees, + towards image right: of the rotation that takes the average face nearest to the vertices (Kabsch)."""
    face = vertices * [1.0, -1.0, 1.0]
    u, _, vt = np.linalg.svd((face - face.mean(0)).T @ (average - average.mean(0)))
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return float(np.degrees(np.arctan2(turn[0, 2], turn[2, 2])))
