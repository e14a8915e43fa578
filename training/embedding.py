"""What an encoder sees: embeddings, their principal components (PDGAN's figure 7) and their t-SNE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.feed import Feed
from training.splits import Rows


@torch.no_grad()
def embed(encoder: nn.Module, feed: Feed, rows: Rows) -> NDArray[np.float64]:
    """(len(rows), C) float64: the embedding's global average, which is what the classifier's perceptron is given."""
    encoder.eval()
    parts = [encoder(batch.image).mean(dim=(2, 3)).cpu().double().numpy() for batch in feed.plain(rows)]
    return np.concatenate(parts)


@torch.no_grad()
def embed_network(net: nn.Module, embedding: Callable[[Tensor], Tensor], feed: Feed, rows: Rows) -> NDArray[np.float64]:
    """(len(rows), C) float64: what the `embedding` of a trained network, (B, 3, S, S) -> (B, C), gives."""
    net.eval()
    return np.concatenate([embedding(batch.image).cpu().double().numpy() for batch in feed.plain(rows)])


def two_views(embeddings: NDArray[np.float64], seed: int = 0) -> dict[str, Any]:
    """PCA and t-SNE of the same embeddings: `pca` and `tsne` (n x 2), `explained` of the PCA's axes."""
    from sklearn.manifold import TSNE

    pca = project(embeddings)
    # initialised by the PCA: equal embeddings give equal pictures
    tsne = TSNE(perplexity=min(30.0, (len(embeddings) - 1) / 3), init="pca", random_state=seed)
    drawn = tsne.fit_transform(embeddings).tolist()
    return {"pca": pca["points"], "explained": pca["explained"], "tsne": drawn}


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
