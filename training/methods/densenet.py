"""The first half of DenseNet-161 (Huang et al., CVPR 2017, arXiv 1608.06993), with torchvision's names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.methods.backbone import Backbone

BOTTLENECK = 4  # times the growth: channels between the two convolutions of a layer


class DenseLayer(nn.Module):
    """Norm, ReLU and 1 x 1, then norm, ReLU and 3 x 3: `growth` channels more."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        between = BOTTLENECK * growth
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, between, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(between), nn.Conv2d(between, growth, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C + growth, H, W)."""
        y = self.conv1(self.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu(self.norm2(y)))], dim=1)


class DenseNetStart(Backbone):
    """Stem, two dense blocks of 6 and 12 layers, each with a transition that halves size and channels.

    (B, 3, S, S) -> (B, 8 * growth, S / 16, S / 16); growth 48 is DenseNet-161's, 384 channels.
    """

    def __init__(self, growth: int = 48) -> None:
        super().__init__()
        channels = 2 * growth
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, channels, 7, 2, 3, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(channels))
        self.features.add_module("relu0", nn.ReLU(inplace=True))
        self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        for number, layers in ((1, 6), (2, 12)):
            block = nn.Sequential()
            for i in range(layers):
                block.add_module(f"denselayer{i + 1}", DenseLayer(channels, growth))
                channels += growth
            self.features.add_module(f"denseblock{number}", block)
            transition = nn.Sequential()
            transition.add_module("norm", nn.BatchNorm2d(channels))
            transition.add_module("relu", nn.ReLU(inplace=True))
            transition.add_module("conv", nn.Conv2d(channels, channels // 2, 1, bias=False))
            transition.add_module("pool", nn.AvgPool2d(2, 2))
            channels //= 2
            self.features.add_module(f"transition{number}", transition)
        self.growth, self.channels = growth, channels

    @property
    def what(self) -> str:
        """In words."""
        return f"a DenseNet of growth {self.growth}, as DenseNet-161 has 48"

    def forward(self, image: Tensor) -> Tensor:
        """As above."""
        features: Tensor = self.features(image)
        return features
