"""One ONNX file on one thread: crops (or clips) in, scores out, and a map to look at where the method draws one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from liveness.errors import ModelError

IMAGE, SCORE, MAP = "image", "score", "map"


class Graph:
    """image (n, 3, size, size) float32 in [0, 1] -> score (n,) float64; `size` and `frames` are the graph's own.

    With `frames` above 1 image is (n, frames, 3, size, size). With `has_map` also map (n, h, w) float32 in [0, 1]: the
    depth, or where the cue of an attack is.
    """

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
        self.has_map = (MAP, "tensor(float)") in outputs
        side = inputs[0][2][-1] if inputs and inputs[0][2] else 0
        self.frames: int = inputs[0][2][0] if inputs and len(inputs[0][2]) == 4 else 1
        clip = [self.frames] if self.frames != 1 else []
        wanted = (
            [(IMAGE, "tensor(float)", [*clip, 3, side, side])],
            [(SCORE, "tensor(double)")] + [(MAP, "tensor(float)")] * self.has_map,
        )
        if (inputs, outputs) != wanted or not (isinstance(side, int) and isinstance(self.frames, int)):
            raise ModelError(f"{path}: its graph takes {inputs} and gives {outputs}; expected {wanted}")
        self.size: int = side
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def score(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Crops (B, S, S, 3), or clips (B, frames, S, S, 3), uint8 RGB of any size S -> (B,) float64 in [0, 1]."""
        return np.asarray(self._run([SCORE], crops)[0], np.float64)

    def score_and_map(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
        """The scores, and the maps (B, h, w) float32 in [0, 1], None without them."""
        if not self.has_map:
            return self.score(crops), None
        scores, maps = self._run([SCORE, MAP], crops)
        return np.asarray(scores, np.float64), np.asarray(maps, np.float32)

    def _run(self, names: list[str], crops: NDArray[np.uint8]) -> list[Any]:
        clip = (self.frames,) if self.frames > 1 else ()
        if crops.ndim != 4 + len(clip) or crops.shape[1:-3] != clip or crops.shape[-1] != 3 or crops.dtype != np.uint8:
            shape = ", ".join(["B", *map(str, clip), "S, S, 3"])
            raise ModelError(f"crops are {crops.dtype} {crops.shape}; expected uint8 ({shape}), RGB")
        outputs: list[Any] = self._session.run(names, {IMAGE: network_input(crops, self.size)})
        return outputs


def network_input(crops: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Crops (..., S, S, 3) uint8 RGB -> (..., 3, size, size) float32 in [0, 1]: bilinear, filtered, as in training."""
    pixels = np.ascontiguousarray(np.moveaxis(crops, -1, -3), np.float32) / np.float32(255)
    if pixels.shape[-2:] == (size, size):
        return pixels
    planes = [Image.fromarray(plane, "F") for plane in pixels.reshape(-1, *pixels.shape[-2:])]
    resized = [np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR)) for plane in planes]
    return np.array(resized, np.float32).reshape(*pixels.shape[:-2], size, size)
