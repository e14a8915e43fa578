"""CDCN and CDCN++ (Yu et al., CVPR 2020, arXiv 2003.04092): central-difference convolutions to a 32 x 32 depth.

Three levels, each seen at 32 x 32, are fused to the map. CDCN++ has the widths that the paper's search found and weighs
each level by spatial attention. Both are folded into ordinary convolutions at export.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from training.methods.convolution import convolution, fold_central_differences
from training.methods.face_mask import DepthNetwork, FaceMask
from training.methods.one_network import DepthLearner, DepthSettings, OneNetworkMethod

STEM = 64
LEVEL = 128  # channels of each level's end
SEARCHED = ((128, 204, 128), (153, 128, 179, 128), (128, 153, 128))  # CDCN++; 1.6, 1.2 and 1.4 times 128, rounded down
PLAIN = ((128, 196, 128),) * 3


class SpatialAttention(nn.Module):
    """Where to look, from the mean and the largest of all channels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, weighed by (B, 1, H, W) in (0, 1)."""
        seen = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(seen))


class CDCNet(DepthNetwork):
    """An image to its pseudo-depth, 32 x 32, not bounded above.

    width: all channels times this; 1 is the paper's. theta: share of central differences, 0 for none.
    """

    def __init__(
        self,
        depth_size: int = 32,
        width: float = 1.0,
        theta: float = 0.7,
        mask: FaceMask = "whole",
        *,
        searched: bool = False,
    ) -> None:
        super().__init__()
        self.depth_size, self.mask = depth_size, mask
        stem, level = _scaled(STEM, width), _scaled(LEVEL, width)
        self.stem = _block((3, stem), theta)
        inputs, levels = stem, []
        for widths in SEARCHED if searched else PLAIN:
            levels.append(_block((inputs, *(_scaled(w, width) for w in widths)), theta))
            inputs = level
        self.levels = nn.ModuleList(levels)
        self.pool = nn.MaxPool2d(3, 2, 1)
        # the published ++ skips the fusion's middle layer
        self.attention = nn.ModuleList(SpatialAttention(s) for s in (7, 5, 3)) if searched else None
        fusion = (3 * level, level) if searched else (3 * level, level, stem)
        self.fusion = _block(fusion, theta)
        self.out = convolution(fusion[-1], 1, theta=theta)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float RGB in [0, 1] -> (B, 1, depth_size, depth_size), at least 0."""
        x, seen = self.stem(image), []
        for i, level in enumerate(self.levels):
            x = self.pool(level(x))
            shown = x if self.attention is None else self.attention[i](x)
            seen.append(functional.interpolate(shown, (self.depth_size, self.depth_size), mode="bilinear"))
        depth: Tensor = self.out(self.fusion(torch.cat(seen, dim=1)))
        return functional.relu(depth)

    def fold(self) -> CDCNet:
        """Central differences become ordinary convolutions."""
        fold_central_differences(self)
        return self


class CDCNConfig(DepthSettings):
    """Settings of both; schedule, rate and losses are the published code's."""

    epochs: int = Field(default=1400, ge=1, description="made for small sets: an epoch is one frame a video")
    depth_size: int = Field(default=32, ge=14)
    lambda_cdl: float = Field(default=1.0, ge=0, description="weight of the contrastive depth loss")
    theta: float = Field(default=0.7, ge=0, le=1, description="share of central differences")
    width: float = Field(default=1.0, gt=0, description="all channels times this")


class CDCN(OneNetworkMethod[CDCNConfig]):
    """Three levels of 128, 196, 128 channels."""

    name = "cdcn"
    reference = "Yu et al. 2020, arXiv 2003.04092"
    settings = CDCNConfig
    run = {  # noqa: RUF012 - read only, as its type in Method says
        "input_size": 256,
        "batch": 8,
        "loop": {"schedule": "step", "milestones": (500, 1000), "gamma": 0.5},
    }
    networks = CDCNet
    learners = DepthLearner
    shaped_by = ("depth_size", "width", "theta", "mask")


class CDCNPlusPlus(CDCN):
    """Searched widths and attention."""

    name = "cdcn++"

    def network_arguments(self, settings: CDCNConfig) -> dict[str, Any]:
        """As CDCN's, and that it is the other one."""
        return {**super().network_arguments(settings), "searched": True}


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _block(widths: Sequence[int], theta: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [convolution(inputs, outputs, theta=theta), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
