"""Pixel-wise depth against binary supervision (Sohn et al., DGIST): one trunk, two ways to supervise it.

The paper states a U-Net-like regressor with convolutions down and transposed convolutions up whose mean depth is
compared with a threshold, and a binary network of stacked convolutions with a fully connected end. Widths, loss,
optimiser, epochs and sizes are not given; the values of its table are not in the text that we have. What is ours: both
networks have the identical trunk (and, from one seed, identical starting weights), so that a difference between them
is the supervision's.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from training.methods import Network
from training.methods.face_mask import DepthNetwork, FaceMask
from training.methods.one_network import AdamSettings, BinaryLearner, DepthLearner, DepthSettings, OneNetworkMethod

LEVELS = 5
_COSINE = {"loop": {"schedule": "cosine"}}


class Trunk(nn.Module):
    """Two 3 x 3 convolutions a level, a strided 4 x 4 one between levels; widths w, 2w, 4w, 8w, 16w."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**k for k in range(LEVELS)]
        self.levels = nn.ModuleList(_double(3 if k == 0 else w, w) for k, w in enumerate(widths))
        self.downs = nn.ModuleList(
            _normed(nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False)) for w in widths[:-1]
        )  # the next level's width
        self.channels = widths[-1]

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, S, S), S a multiple of 16 -> features at S, S/2, ..., S/16 px."""
        seen = [self.levels[0](image)]
        for down, level in zip(self.downs, list(self.levels)[1:], strict=True):
            seen.append(level(down(seen[-1])))
        return seen


class DepthUNet(DepthNetwork):
    """The trunk and a way back up: an image to its pseudo-depth of the same size."""

    def __init__(self, width: int = 16, mask: FaceMask = "whole") -> None:
        super().__init__()
        self.mask = mask
        self.trunk = Trunk(width)
        widths = [width * 2**k for k in reversed(range(LEVELS - 1))]
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths)
        self.levels = nn.ModuleList(_double(2 * w, w) for w in widths)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float RGB in [0, 1], S a multiple of 16 -> (B, 1, S, S) in (0, 1)."""
        *features, y = self.trunk(image)
        for up, level, feature in zip(self.ups, self.levels, reversed(features), strict=True):
            y = level(torch.cat([feature, up(y)], dim=1))
        return torch.sigmoid(self.out(y))


class BinaryCNN(Network):
    """The same trunk, global average, one fully connected layer."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.trunk = Trunk(width)
        self.head = nn.Linear(self.trunk.channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float RGB in [0, 1], S a multiple of 16 -> (B,) logit of "live"."""
        logit: Tensor = self.head(self.trunk(image)[-1].mean(dim=(2, 3)))
        return logit.squeeze(1)

    def score(self, output: Tensor) -> Tensor:
        """The probability of live."""
        return torch.sigmoid(output)


class PixelwiseDepthConfig(DepthSettings):
    """Settings of the depth network."""

    width: int = Field(default=16, ge=1, description="channels of the first level; U-Net has 64")


class PixelwiseBinaryConfig(AdamSettings):
    """Settings of the binary network; but for the loss, those of the other one."""

    width: int = Field(default=16, ge=1, description="channels of the first level")


class PixelwiseDepth(OneNetworkMethod[PixelwiseDepthConfig]):
    """The depth network, decided by its mean depth."""

    name = "pixelwise-depth"
    reference = "Sohn, Lee, Kim, Kim, Learning deep models for face anti-spoofing by pixel-wise supervision"
    settings = PixelwiseDepthConfig
    run = _COSINE
    networks = DepthUNet
    learners = DepthLearner
    shaped_by = ("width", "mask")


class PixelwiseBinary(OneNetworkMethod[PixelwiseBinaryConfig]):
    """The binary network that the depth network is compared with."""

    name = "pixelwise-binary"
    reference = PixelwiseDepth.reference
    settings = PixelwiseBinaryConfig
    run = _COSINE
    networks = BinaryCNN
    learners = BinaryLearner
    shaped_by = ("width",)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        *_normed(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)),
        *_normed(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)),
    )


def _normed(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True))
