"""A network's scores on rows of a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from storage.dataset import DepthDataset
from training import metrics
from training.feed import Feed
from training.methods import Network, Targets
from training.splits import Rows


def feed_of(card: dict[str, Any], data: DepthDataset, *, batch: int, device: torch.device) -> Feed:
    """What a saved model (its model.json) is given to score: its input size, clips and masks if it takes them."""
    return Feed(data, input_size=card["input"]["size"], targets=targets_of(card), batch=batch, device=device)


def targets_of(card: Mapping[str, Any]) -> Targets:
    """What a saved model's score needs beside the image."""
    given = card["input"]
    mask = given.get("mask")
    return Targets(depth_size=mask, mask=mask is not None, frames=given["frames"], interval=given["interval"])


@torch.no_grad()
def score_rows(name: str, net: Network, feed: Feed, rows: Rows) -> metrics.Scores:
    """Scores in [0, 1], higher = more live, with labels, attacks and ids; the net is left in eval mode.

    They are taken in float64: in float32 every logit above 17 would tie at 1.
    """
    net.eval()
    parts = [net.score_batch(net(batch.image), batch).cpu().numpy() for batch in feed.plain(rows)]
    return scores_of(name, feed, rows, np.concatenate(parts))


def scores_of(name: str, feed: Feed, rows: Rows, score: np.ndarray) -> metrics.Scores:
    """Scores (len(rows),) with the labels, attacks and ids of their rows."""
    part = feed.data.table.select(["label", "attack", "sample_id"]).take(rows)
    label, attack, ids = (part.column(c).to_numpy(zero_copy_only=False) for c in ("label", "attack", "sample_id"))
    return metrics.Scores.of(name, score, label, attack, ids)
