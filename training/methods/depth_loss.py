"""Losses on depth maps beside L1."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def contrastive_depth_loss(depth: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of the maps' eight contrasts, neighbour minus centre (FAS-SGTD, arXiv 2003.08061, eq. 9).

    depth, target: (B, 1, H, W). The border has no full neighbourhood and does not count, so maps that differ by a
    constant differ by nothing.
    """
    kernels = torch.zeros(9, 1, 3, 3, device=depth.device, dtype=depth.dtype)
    for i in range(9):
        kernels[i, 0, i // 3, i % 3] += 1
        kernels[i, 0, 1, 1] -= 1
    kernels = torch.cat([kernels[:4], kernels[5:]])  # the fifth is the centre against itself
    return functional.conv2d(depth - target, kernels).square().mean()
