"""The golden picture of an export: drawn, of nobody, and one whose score changes when a runtime reads it wrongly."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.onnx_graph import ScoredGraph

TRIES = 32  # pictures, or as many frames of clips


def draw_golden(graph: ScoredGraph) -> NDArray[np.uint8]:
    """(S, S, 3) uint8 RGB of the network's input size: of drawn ones that whose score a wrong reading changes most.

    A picture whose score is 1.000 either way would let a runtime that reads BGR pass. Of a model of clips it is a clip,
    (T, S, S, 3), for which going backwards changes the score too.
    """
    drawn = np.stack([_drawn(seed, graph.size, graph.frames) for seed in range(max(1, TRIES // graph.frames))])
    drawn, wrong = (drawn[:, 0], []) if graph.frames == 1 else (drawn, [drawn[:, ::-1]])
    scores = graph.score_crops(drawn)
    change = np.min([np.abs(scores - graph.score_crops(read)) for read in (drawn[..., ::-1], *wrong)], axis=0)
    return drawn[change.argmax()]


def golden_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of a picture, or of a clip's frames one above another."""
    stream = io.BytesIO()
    Image.fromarray(pixels.reshape(-1, *pixels.shape[-2:])).save(stream, "PNG")
    return stream.getvalue()


def _drawn(seed: int, size: int, frames: int) -> NDArray[np.uint8]:
    """(T, S, S, 3): an oval in skin colours, shaded, that moves before soft coloured patches, with some noise."""
    rng = np.random.default_rng([seed, 20_260])
    y, x = np.mgrid[0:size, 0:size] / size
    patches = rng.integers(0, 256, (rng.integers(3, 12), rng.integers(3, 12), 3)).astype(np.uint8)
    ground = np.asarray(Image.fromarray(patches).resize((size, size), Image.Resampling.BICUBIC)).astype(np.float64)
    at, skin = rng.uniform(0.4, 0.6, 2), rng.uniform(0.4, 1) * np.array([235, 180, 150])
    noise, step = rng.uniform(0, 20), rng.uniform(-0.03, 0.03, 2)
    drawn = []
    for t in range(frames):
        oval = 1 - ((x - at[0] - t * step[0]) / 0.3) ** 2 - ((y - at[1] - t * step[1]) / 0.4) ** 2
        shade = np.sqrt(np.clip(oval, 0, None))[..., None]
        image = np.where(oval[..., None] > 0, skin * (0.3 + 0.7 * shade), ground)
        drawn.append(np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8))
    return np.stack(drawn)
