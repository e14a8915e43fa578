"""The network of a shipped model: loaded only if every check holds, then crops (or clips of them) in, scores out."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from liveness.card import METADATA_KEY, FrozenThreshold, read_card
from liveness.errors import ModelError
from liveness.graph import Graph

Precision = Literal["fp32", "int8"]
_LARGEST = 1 << 30  # bytes of one file
_GOLDEN_PIXELS = 4096 * 4096


class LivenessModel:
    """Scores crops that were cut by the rule of `card`, its model.json; `thresholds` are those of its precision."""

    def __init__(self, folder: Path, precision: Precision = "fp32") -> None:
        """Open a folder that `pseudodepth export` wrote; raises ModelError if any of it is not what its card says.

        Checked: the files' sha256, the graph's inputs and outputs, that its metadata agree with the card, and that the
        golden picture (or clip) gets the score that it got at export.
        """
        self.folder, self.precision, self.card = folder, precision, read_card(folder)
        if precision not in self.card.networks:
            raise ModelError(
                f"{folder}: it has no {precision} network; there are {', '.join(self.card.networks)}. Export it again, "
                "with --int8 for the quantised one"
            )
        network = self.card.networks[precision]
        self.thresholds: dict[str, FrozenThreshold] = network.thresholds
        path = folder / Path(network.file).name  # its name alone: a folder must not point out of itself
        self._graph = Graph(_read(path, network.sha256), path)
        if self._graph.size != self.card.input.size:
            raise ModelError(f"{path}: its pictures are {self._graph.size} px; the card says {self.card.input.size}")
        clip = self.card.input.clip
        self.frames: int = 1 if clip is None else clip.frames
        if self._graph.frames != self.frames:
            raise ModelError(f"{path}: it takes {self._graph.frames} frames; the card says {self.frames}")
        if self._graph.metadata.get(METADATA_KEY, "") != json.dumps(self.card.preprocessing(), sort_keys=True):
            raise ModelError(f"{path}: its metadata and model.json describe different inputs; export the model again")
        got = float(self.score(self.golden()[None])[0])
        if not abs(got - network.golden_score) <= network.tolerance:
            raise ModelError(
                f"{folder}: the golden picture scores {got:.6f}, at export it was {network.golden_score:.6f} "
                f"(tolerance {network.tolerance:g}): this onnxruntime or processor computes something else"
            )

    def score(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Crops (B, S, S, 3) uint8 RGB, cut by the card's rule -> (B,) float64 in [0, 1], higher = more live.

        A model of clips takes (B, frames, S, S, 3), in the order of time.
        """
        return self._graph.score(crops)

    def score_and_map(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
        """The scores, and maps (B, h, w) float32 in [0, 1] of depth or of an attack's cue; None without."""
        return self._graph.score_and_map(crops)

    def threshold(self, name: str = "eer") -> FrozenThreshold:
        """A threshold by its name; raises ModelError naming those there are."""
        if name not in self.thresholds:
            raise ModelError(f"{self.folder}: no threshold {name!r}; there are {', '.join(sorted(self.thresholds))}")
        return self.thresholds[name]

    def golden(self) -> NDArray[np.uint8]:
        """The golden picture (S, S, 3) uint8 RGB, or clip (frames, S, S, 3)."""
        path = self.folder / Path(self.card.golden.file).name
        try:
            with Image.open(io.BytesIO(_read(path, self.card.golden.sha256)), formats=["PNG"]) as image:
                if image.width * image.height > _GOLDEN_PIXELS:
                    raise ModelError(f"{path}: {image.width} x {image.height} pixels is no golden picture")
                pixels = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise ModelError(f"{path}: not a PNG ({error}); export the model again") from error
        if self.frames == 1:
            return pixels
        if len(pixels) % self.frames:
            raise ModelError(f"{path}: {len(pixels)} rows of pixels are not {self.frames} frames; export it again")
        return pixels.reshape(self.frames, -1, *pixels.shape[1:])


def _read(path: Path, sha256: str) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path}: larger than {_LARGEST:,} bytes, which no file of a model is")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot read it ({error.strerror}); model.json names it, export again") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ModelError(f"{path}: not the file that model.json describes (sha256 differs); export or copy it again")
    return data
