"""RetinaFace with ResNet-50: the ONNX weights of the package retina-face, placed by the user, run by onnxruntime.

The package itself is never imported: it owns the same top-level name as the carrier of the small network, and imports
cv2. Boxes and points are decoded as it does (anchors of 16 to 512 px, whole pixels counted inclusively); unlike it,
images are not enlarged to 1024 px first, they are only scaled down to `max_side`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.detect import DetectConfig, Faces, detect_scaled, suppress
from tasks.detectors.retinaface import session
from tasks.errors import BuildError
from tasks.weights import read_weights, sha256, usual_place

# the order in which the network reports its levels: stride -> sides of its anchors, px
_ANCHORS = {32: (512, 256), 16: (128, 64), 8: (32, 16)}
_OVERLAP = 0.4


def load(config: DetectConfig) -> RetinaFaceResNet50:
    """The network of `config.weights` or of retina-face's usual place; BuildError says which file to put where."""
    path = config.weights or usual_place("DEEPFACE_HOME", ".deepface/weights/retinaface.onnx")
    hint = (
        "Detector retinaface-resnet50 needs the file retinaface.onnx that the package retina-face (0.0.19 or newer) "
        f"downloads on first use: put it at {path}, or name it in detect.weights (--detector-weights)."
    )
    return RetinaFaceResNet50(read_weights(path, "RetinaFace ResNet-50", hint), str(path), config)


class RetinaFaceResNet50:
    """Detector: see `tasks.detect.Detector`."""

    name = "retinaface-resnet50"

    def __init__(self, model: bytes, path: str, config: DetectConfig) -> None:
        self.weights_sha256 = sha256(model)
        self._config = config
        self._session = session(model, path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        widths = [output.shape[-1] for output in outputs]
        if len(inputs) != 1 or inputs[0].shape[-1] != 3 or widths != [4, 8, 20] * 3:
            raise BuildError(
                f"{path} is not retina-face's ResNet-50: expected one (N, H, W, 3) input and outputs with "
                f"{[4, 8, 20] * 3} channels, found inputs {[i.shape for i in inputs]} and outputs with {widths}"
            )
        self._input = inputs[0].name

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Faces]:
        """See `tasks.detect.Detector`."""
        return detect_scaled(images, self._config.max_side, self._find)

    def _find(self, images: NDArray[np.uint8]) -> list[Faces]:
        outputs: list[Any] = self._session.run(
            None, {self._input: images.astype(np.float32)}
        )  # (B, H, W, 3) RGB 0..255
        count = len(images)
        # a level's score map has the background of both anchors first, then their faces
        scores = np.concatenate([level[..., 2:].reshape(count, -1) for level in outputs[0::3]], axis=1)
        offsets = np.concatenate([level.reshape(count, -1, 4) for level in outputs[1::3]], axis=1)
        points = np.concatenate([level.reshape(count, -1, 5, 2) for level in outputs[2::3]], axis=1)
        anchor = anchors(tuple(level.shape[1:3] for level in outputs[0::3]))
        return [self._decode(anchor, *image) for image in zip(offsets, scores, points, strict=True)]

    def _decode(
        self,
        anchor: NDArray[np.float32],
        offsets: NDArray[np.float32],
        scores: NDArray[np.float32],
        points: NDArray[np.float32],
    ) -> Faces:
        above = np.flatnonzero(scores >= self._config.min_score)
        anchor, offsets, scores, points = anchor[above], offsets[above], scores[above], points[above]
        centre, side = anchor[:, :2], anchor[:, 2:]
        middle = centre + offsets[:, :2] * side
        half = (side * np.exp(offsets[:, 2:]) - 1) / 2  # from the first pixel's centre to the last one's
        boxes = np.concatenate([middle - half, middle + half], axis=1)
        keep = suppress(boxes, scores, _OVERLAP)
        return Faces(boxes[keep], centre[keep, None] + points[keep] * side[keep, None], scores[keep])


@functools.lru_cache(maxsize=32)
def anchors(levels: tuple[tuple[int, int], ...]) -> NDArray[np.float32]:
    """Anchors of the levels with these (rows, columns): (P, 3) float32 centre x, centre y, side, px."""
    parts = []
    for (stride, sides), (rows, columns) in zip(_ANCHORS.items(), levels, strict=True):
        # every level's first anchor is centred in a 16 px cell, whatever its stride: so the network was trained
        y, x, side = np.meshgrid(
            np.arange(rows) * stride + 7.5, np.arange(columns) * stride + 7.5, sides, indexing="ij"
        )
        parts.append(np.stack([x, y, side], axis=-1).reshape(-1, 3))
    return np.concatenate(parts).astype(np.float32)
