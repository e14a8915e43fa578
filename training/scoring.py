"""A network's scores on rows of a store."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from storage.dataset import DepthDataset
from training import metrics
from training.feed import Feed
from training.methods import Network, Targets
from training.splits import Rows


def feed_of(card: dict[str, Any], data: DepthDataset, *, batch: int, device: torch.device) -> Feed:
    """What a saved model (its model.json) is given to score: its input size, and clips if it takes clips."""
    given = card["input"]
    clip = Targets(frames=given["frames"], interval=given["interval"])
    return Feed(data, input_size=given["size"], targets=clip, batch=batch, device=device)


@torch.no_grad()
def score_rows(name: str, net: Network, feed: Feed, rows: Rows) -> metrics.Scores:
    """Scores in [0, 1], higher = more live, with labels, attacks and ids; the net is left in eval mode.

    They are taken in float64: in float32 every logit above 17 would tie at 1.
    """
    net.eval()
    parts = [net.score(net(batch.image).double()).cpu().numpy() for batch in feed.plain(rows)]
    return scores_of(name, feed, rows, np.concatenate(parts))


def scores_of(name: str, feed: Feed, rows: Rows, score: np.ndarray) -> metrics.Scores:
    """Scores (len(rows),) with the labels, attacks and ids of their rows."""
    part = feed.data.table.select(["label", "attack", "sample_id"]).take(rows)
    label, attack, ids = (part.column(c).to_numpy(zero_copy_only=False) for c in ("label", "attack", "sample_id"))
    return metrics.Scores.of(name, score, label, attack, ids)
