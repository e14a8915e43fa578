"""One ONNX file on one thread: crops in, scores out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from liveness.errors import ModelError

IMAGE, SCORE = "image", "score"


class Graph:
    """image (n, 3, size, size) float32 in [0, 1] -> score (n,) float64; `size` is the graph's own."""

    def __init__(self, model: bytes, path: Path) -> None:
        """Open the bytes of the file `path`; raises ModelError for what is no such graph."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # one face takes 2 ms: threads would only wait
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own, one a kind of damage
            raise ModelError(f"{path}: onnxruntime cannot run it: {str(error).splitlines()[0]}") from error
        inputs = [(i.name, i.type, list(i.shape[1:])) for i in self._session.get_inputs()]
        outputs = [(o.name, o.type) for o in self._session.get_outputs()]
        side = inputs[0][2][-1] if inputs and inputs[0][2] else 0
        wanted = [(IMAGE, "tensor(float)", [3, side, side])], [(SCORE, "tensor(double)")]
        if (inputs, outputs) != wanted or not isinstance(side, int):
            raise ModelError(f"{path}: its graph takes {inputs} and gives {outputs}; expected {wanted}")
        self.size: int = side
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def score(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Crops (B, S, S, 3) uint8 RGB of any size S -> (B,) float64 in [0, 1], higher = more live."""
        if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8:
            raise ModelError(f"crops are {crops.dtype} {crops.shape}; expected uint8 (B, S, S, 3), RGB")
        return np.asarray(self._session.run([SCORE], {IMAGE: network_input(crops, self.size)})[0], np.float64)


def network_input(crops: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Crops (B, S, S, 3) uint8 RGB -> (B, 3, size, size) float32 in [0, 1]: bilinear and filtered, as in training."""
    pixels = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
    if pixels.shape[2:] == (size, size):
        return pixels
    resized = [[Image.fromarray(p, "F").resize((size, size), Image.Resampling.BILINEAR) for p in i] for i in pixels]
    return np.array([[np.asarray(plane) for plane in image] for image in resized], np.float32)
