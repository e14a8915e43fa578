"""GoogLeNet with batch norms (Szegedy et al., CVPR 2015, arXiv 1409.4842), with torchvision's names and quirks.

As in torchvision's published weights, the branch that the paper gives 5 x 5 kernels has 3 x 3 ones. The two auxiliary
classifiers of the paper's training are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.methods.backbone import Backbone

# of each module: inputs, 1 x 1, (reduction, 3 x 3), (reduction, "5 x 5"), after the pool
_MODULES = {
    "inception3a": (192, 64, (96, 128), (16, 32), 32),
    "inception3b": (256, 128, (128, 192), (32, 96), 64),
    "maxpool3": None,
    "inception4a": (480, 192, (96, 208), (16, 48), 64),
    "inception4b": (512, 160, (112, 224), (24, 64), 64),
    "inception4c": (512, 128, (128, 256), (24, 64), 64),
    "inception4d": (512, 112, (144, 288), (32, 64), 64),
    "inception4e": (528, 256, (160, 320), (32, 128), 128),
    "maxpool4": None,
    "inception5a": (832, 256, (160, 320), (32, 128), 128),
    "inception5b": (832, 384, (192, 384), (48, 128), 128),
}


class ConvNorm(nn.Module):
    """Convolution without bias, norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.relu(self.bn(self.conv(x)))
        return y


class Inception(nn.Module):
    """Four branches of different reach, side by side."""

    def __init__(self, inputs: int, one: int, three: tuple[int, int], five: tuple[int, int], pooled: int) -> None:
        super().__init__()
        self.branch1 = ConvNorm(inputs, one, 1)
        self.branch2 = nn.Sequential(ConvNorm(inputs, three[0], 1), ConvNorm(three[0], three[1], 3))
        self.branch3 = nn.Sequential(ConvNorm(inputs, five[0], 1), ConvNorm(five[0], five[1], 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), ConvNorm(inputs, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, one + three + five + pooled, H, W)."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class GoogLeNet(Backbone):
    """(B, 3, S, S) -> (B, 1024, S / 32, S / 32), rounded up; 5,599,904 parameters."""

    channels = 1024
    what = "a GoogLeNet"

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, 64, 7, 2)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = ConvNorm(64, 64, 1)
        self.conv3 = ConvNorm(64, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        for name, widths in _MODULES.items():
            pool = nn.MaxPool2d(3 if name == "maxpool3" else 2, 2, ceil_mode=True)
            self.add_module(name, pool if widths is None else Inception(*widths))

    def forward(self, image: Tensor) -> Tensor:
        """As above: its parts are in the order that data travels."""
        for part in self.children():
            image = part(image)
        return image
