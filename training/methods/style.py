"""Style mixing within a class: a sample keeps its content and gets a blend of its own and a classmate's statistics."""

from __future__ import annotations

import torch
from torch import Tensor

ALPHA = 0.1  # of the Beta distribution of blends: mostly one or the other


def mix_styles(features: Tensor, label: Tensor) -> Tensor:
    """(B, C, H, W) features with channel means and deviations blended between samples of the same label (B,).

    MixStyle (Zhou et al., ICLR 2021, arXiv 2104.02008) draws partners from anywhere; across classes it would carry
    traces of spoofing into live samples, so here partners are classmates. Chance comes from torch's generator.
    """
    n = len(label)
    order = torch.randperm(n, device=label.device)
    partner = torch.empty(n, dtype=torch.long, device=label.device)
    for value in label.unique():
        mates = order[label[order] == value]
        partner[mates] = mates.roll(1)
    mean = features.mean(dim=(2, 3), keepdim=True).detach()
    spread = (features.var(dim=(2, 3), keepdim=True, unbiased=False) + 1e-6).sqrt().detach()
    share = torch.distributions.Beta(ALPHA, ALPHA).sample((n, 1, 1, 1)).to(features)
    blended_mean = share * mean + (1 - share) * mean[partner]
    blended_spread = share * spread + (1 - share) * spread[partner]
    return (features - mean) / spread * blended_spread + blended_mean
