"""The golden picture of an export: drawn, of nobody, and one whose score changes when a runtime reads it wrongly."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.onnx_graph import ScoredGraph

TRIES = 32


def draw_golden(graph: ScoredGraph) -> bytes:
    """A PNG of the network's input size: of TRIES drawn ones that whose score changes most when red and blue swap.

    A picture whose score is 1.000 either way would let a runtime that reads BGR pass.
    """
    pictures = np.stack([_drawn(seed, graph.size) for seed in range(TRIES)])  # (T, S, S, 3)
    change = np.abs(graph.score_crops(pictures) - graph.score_crops(pictures[..., ::-1]))
    stream = io.BytesIO()
    Image.fromarray(pictures[change.argmax()]).save(stream, "PNG")
    return stream.getvalue()


def golden_pixels(png: bytes) -> NDArray[np.uint8]:
    """(S, S, 3) uint8 RGB."""
    return np.asarray(Image.open(io.BytesIO(png)))


def _drawn(seed: int, size: int) -> NDArray[np.uint8]:
    """An oval in skin colours, shaded, on a ground of soft coloured patches, with some noise: seen by nobody."""
    rng = np.random.default_rng([seed, 20_260])
    y, x = np.mgrid[0:size, 0:size] / size
    ground = rng.integers(0, 256, (rng.integers(3, 12), rng.integers(3, 12), 3)).astype(np.uint8)
    image = np.asarray(Image.fromarray(ground).resize((size, size), Image.Resampling.BICUBIC)).astype(np.float64)
    oval = 1 - ((x - rng.uniform(0.4, 0.6)) / 0.3) ** 2 - ((y - rng.uniform(0.4, 0.6)) / 0.4) ** 2
    shade = np.sqrt(np.clip(oval, 0, None))[..., None]
    skin = rng.uniform(0.4, 1) * np.array([235, 180, 150])
    image = np.where(oval[..., None] > 0, skin * (0.3 + 0.7 * shade), image)
    return np.clip(image + rng.normal(0, rng.uniform(0, 20), image.shape), 0, 255).astype(np.uint8)
