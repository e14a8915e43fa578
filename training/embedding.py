"""What the encoder sees: embeddings and their two principal components (PDGAN's figure 7)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.feed import Feed
from training.splits import Rows


@torch.no_grad()
def embed(encoder: nn.Module, feed: Feed, rows: Rows) -> NDArray[np.float64]:
    """(len(rows), C) float64: the embedding's global average, which is what the classifier's perceptron is given."""
    encoder.eval()
    parts = [encoder(batch.image).mean(dim=(2, 3)).cpu().double().numpy() for batch in feed.plain(rows)]
    return np.concatenate(parts)


def project(embeddings: NDArray[np.float64]) -> dict[str, Any]:
    """PCA to two dimensions, JSON-able: `points` (n x 2) and `explained`, the share of variance of each axis.

    The sign of each axis is fixed (its largest loading is positive), so equal embeddings give equal pictures.
    """
    centred = embeddings - embeddings.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(len(axes[:2])), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    total = float((spread**2).sum()) or 1.0
    return {
        "points": np.round(centred @ axes.T, 6).tolist(),
        "explained": np.round(spread[:2] ** 2 / total, 6).tolist(),
    }
