"""A classifier's scores on rows of a store."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from training import metrics
from training.feed import Feed
from training.splits import Rows


@torch.no_grad()
def score_rows(name: str, net: nn.Module, feed: Feed, rows: Rows) -> metrics.Scores:
    """Scores in [0, 1], higher = more live, with labels, attacks and ids; the net is left in eval mode.

    The sigmoid is taken in float64: in float32 every logit above 17 would tie at 1.
    """
    net.eval()
    logits = np.concatenate([net(batch.image).cpu().double().numpy() for batch in feed.plain(rows)])
    part = feed.data.table.select(["label", "attack", "sample_id"]).take(rows)
    label, attack, ids = (part.column(c).to_numpy(zero_copy_only=False) for c in ("label", "attack", "sample_id"))
    return metrics.Scores.of(name, 1 / (1 + np.exp(-logits)), label, attack, ids)
