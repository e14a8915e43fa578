"""ResNet-18 at any width; PDGAN (arXiv 2101.00200, 3.2.1) has the quarter, 16-32-64-128 channels."""

from __future__ import annotations

import re
from typing import TypeVar

import torch
from torch import Tensor, nn

from training.methods.backbone import Backbone
from training.methods.convolution import convolution
from training.methods.style import mix_styles

Net = TypeVar("Net", bound=nn.Module)


class SqueezeExcitation(nn.Module):
    """Channels weighed by what all of the picture says of them (Hu et al., CVPR 2018, arXiv 1709.01507)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        between = max(1, channels // reduction)
        self.fc1, self.fc2 = nn.Conv2d(channels, between, 1), nn.Conv2d(between, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, times (B, C, 1, 1) in (0, 1)."""
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a skip (He et al. 2015); a 1 x 1 convolution on the skip where the shape changes.

    squeeze: reduction of a squeeze and excitation before the sum, None for none.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, theta: float = 0.0, squeeze: int | None = None) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, stride, theta=theta)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, theta=theta)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.weigh = SqueezeExcitation(outputs, squeeze) if squeeze else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.weigh(self.bn2(self.conv2(y))) + self.skip(x))


class Encoder(Backbone):
    """ResNet-18 without its last layer. At width .25 it has 702,096 parameters.

    (B, 3, 224, 224) float RGB in [0, 1] -> the embedding, (B, 512 * width, 7, 7). theta: of central differences in its
    3 x 3 convolutions. style_mixing: probability that a training batch has its styles mixed within classes. squeeze: of
    a squeeze and excitation in each block.
    """

    def __init__(
        self, width: float = 0.25, theta: float = 0.0, style_mixing: float = 0.0, squeeze: int | None = None
    ) -> None:
        super().__init__()
        self.theta, self.style_mixing = theta, style_mixing
        channels = [round(c * width) for c in (64, 128, 256, 512)]
        self.width, self.channels = width, channels[-1]
        self.conv1 = nn.Conv2d(3, channels[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, 2, 1)
        layers, inputs = [], channels[0]
        for i, outputs in enumerate(channels):
            first = BasicBlock(inputs, outputs, 1 if i == 0 else 2, theta, squeeze)
            layers.append(nn.Sequential(first, BasicBlock(outputs, outputs, 1, theta, squeeze)))
            inputs = outputs
        self.layers = nn.Sequential(*layers)

    @property
    def what(self) -> str:
        """In words."""
        return f"a ResNet-18 at {self.width:g} of its width ({self.channels} channels at the end)"

    def torchvision_name(self, name: str) -> str:
        """layers.0.1.skip.0.weight is layer1.1.downsample.0.weight."""
        theirs = re.sub(r"^layers\.(\d)", lambda m: f"layer{int(m[1]) + 1}", name)
        return theirs.replace(".skip.", ".downsample.")

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / 32, W / 32); label (B,) is needed for style mixing alone."""
        return self.features(image, label)[-1]

    def features(self, image: Tensor, label: Tensor | None = None) -> list[Tensor]:
        """What is seen at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size; the last is the embedding."""
        stem = self.relu(self.bn1(self.conv1(image)))
        seen, x = [stem], self.pool(stem)
        mixing = self.training and label is not None and self.style_mixing > 0
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if mixing and label is not None and i < 2 and torch.rand(()) < self.style_mixing:
                x = mix_styles(x, label)
            seen.append(x)
        return seen


def normal_init(model: Net, generator: torch.Generator) -> Net:
    """pix2pix's: weights N(0, 0.02), norms N(1, 0.02), zero biases; in place, seeded."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0, 0.02, generator=generator)
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.normal_(module.weight, 1, 0.02, generator=generator)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return model


def he_init(model: Net, generator: torch.Generator) -> Net:
    """He et al. 2015 on every weight (normal, fan-in, ReLU gain), zero biases, identity norms; in place, seeded."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    return model
