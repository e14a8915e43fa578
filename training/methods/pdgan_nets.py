"""PDGAN's networks beside the encoder: depth decoder and auxiliary-classifier critic.

Figure 3 of the paper (arXiv 2101.00200) does not survive in its text; blocks and widths of the decoder and the critic
are ours where the paper is silent: no skip connections ("the embedding is the decoder's input"), residual blocks,
sigmoid output for a target in [0, 1], a critic that sees the depth map alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

DEPTH_SIZES = (32, 56, 112, 224)
Variant = Literal["narrow", "wide", "pix2pix"]
Norm = Literal["batch", "instance"]


class UpBlock(nn.Module):
    """Nearest x 2, two 3 x 3 convolutions, and a 1 x 1 skip; nearest + convolution leaves no checkerboard."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.conv1: nn.Module = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.norm1 = _norm(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = _norm(norm, outputs)
        self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), _norm(norm, outputs))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, 2H, 2W)."""
        y = self.relu(self.norm1(self.conv1(functional.interpolate(x, scale_factor=2.0))))
        # a 1 x 1 convolution and its norm commute with nearest up-sampling: same values, a quarter of the work
        return self.relu(self.norm2(self.conv2(y)) + functional.interpolate(self.skip(x), scale_factor=2.0))


class TransposedUpBlock(UpBlock):
    """As pix2pix goes up: a strided 4 x 4 transposed convolution, then 3 x 3; the skip as above."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__(inputs, outputs, norm)
        self.conv1 = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, 2H, 2W)."""
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + functional.interpolate(self.skip(x), scale_factor=2.0))


_WIDTHS = {"narrow": (64, 32, 16, 8, 8), "wide": (64, 32, 16, 16, 16), "pix2pix": (64, 32, 16, 16, 16)}


class Decoder(nn.Module):
    """Embedding -> pseudo-depth in (0, 1).

    depth_size 224 has five up blocks; 112 and 56 stop after four and three. 32 stops after two, at 28, and is brought
    to 32 bilinearly before the last convolution. skips: how many channels of the encoder's features each block but the
    first is given besides, () for none.
    """

    def __init__(
        self,
        depth_size: int = 224,
        inputs: int = 128,
        variant: Variant = "narrow",
        norm: Norm = "batch",
        output: Literal["sigmoid", "tanh"] = "sigmoid",
        skips: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if depth_size not in DEPTH_SIZES:
            raise ValueError(f"depth_size must be one of {DEPTH_SIZES}, not {depth_size}")
        self.depth_size, self.output = depth_size, output
        count = int(math.log2(depth_size / 7))
        widths = _WIDTHS[variant][:count]
        given = [inputs, *(w + s for w, s in zip(widths, skips or [0] * count, strict=False))]
        block = TransposedUpBlock if variant == "pix2pix" else UpBlock
        self.blocks = nn.ModuleList(block(a, b, norm) for a, b in zip(given, widths, strict=False))
        self.out = nn.Conv2d(widths[-1], 1, 3, 1, 1)

    def forward(self, embedding: Tensor, features: Sequence[Tensor] = ()) -> Tensor:
        """(B, 128, 7, 7), and features at 14, 28, ... px if it has skips -> (B, 1, depth_size, depth_size)."""
        y = embedding
        for i, block in enumerate(self.blocks):
            y = block(torch.cat([y, features[i - 1]], dim=1) if features and i else y)
        if y.shape[-1] != self.depth_size:
            y = functional.interpolate(y, size=(self.depth_size, self.depth_size), mode="bilinear")
        y = self.out(y)
        return torch.sigmoid(y) if self.output == "sigmoid" else (torch.tanh(y) + 1) / 2


class DownBlock(nn.Module):
    """3 x 3 and strided 4 x 4 convolutions; the skip averages 2 x 2 and changes width by 1 x 1."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.norm1 = _norm(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 4, 2, 1, bias=False)
        self.norm2 = _norm(norm, outputs)
        self.skip = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1))
        self.act = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / 2, W / 2)."""
        y = self.act(self.norm1(self.conv1(x)))
        return self.act(self.norm2(self.conv2(y)) + self.skip(x))


class Critic(nn.Module):
    """D(depth) with an auxiliary class head (Odena et al. 2017): is it a stored map, and is it live or spoof?

    colour: it sees the picture as well, as pix2pix's does.
    """

    def __init__(self, norm: Norm = "batch", *, colour: bool = False) -> None:
        super().__init__()
        self.colour = colour
        self.stem = nn.Sequential(nn.Conv2d(4 if colour else 1, 16, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True))
        widths = [16, 32, 64, 128, 128]
        self.blocks = nn.Sequential(*(DownBlock(a, b, norm) for a, b in pairwise(widths)))
        self.adversarial = nn.Linear(128, 1)
        self.category = nn.Linear(128, 1)

    def forward(self, depth: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, S, S) in [0, 1], S >= 32, and its picture -> logits (B,) of "a stored map" and (B,) of "spoof"."""
        if self.colour:
            small = functional.interpolate(image, depth.shape[-2:], mode="bilinear", antialias=True)
            depth = torch.cat([depth, small], dim=1)
        y = self.blocks(self.stem(depth)).mean(dim=(2, 3))
        return self.adversarial(y).squeeze(1), self.category(y).squeeze(1)


def _norm(kind: Norm, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.InstanceNorm2d(channels, affine=True)
