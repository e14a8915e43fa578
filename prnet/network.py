"""PRNet's network resfcn256 (Feng et al. 2018, arXiv 1803.07835, section 3.2; sizes as in the published code).

An encoder of ten residual blocks (each second one halves the picture) and a decoder of seventeen transposed
convolutions turn a face crop into a UV position map. All kernels are 4x4, but the shortcuts and the ends of a block.
The original is TensorFlow with 'SAME' padding, which for a kernel of 4 is not symmetric; where the padding sits decides
whether released weights give a face or noise, so it is written out in `SameConv`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# position maps are learned as x / (1.1 * side), so that a sigmoid reaches a little beyond the crop
REACH = 1.1
# multiples of the first layer's channels (16 at width 1): (out, stride)
ENCODER = [(2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), (16, 1), (32, 2), (32, 1)]
DECODER = [
    (32, 1),
    (16, 2),
    (16, 1),
    (16, 1),
    (8, 2),
    (8, 1),
    (8, 1),
    (4, 2),
    (4, 1),
    (4, 1),
    (2, 2),
    (2, 1),
    (1, 2),
    (1, 1),
]


class SameConv(nn.Module):
    """A convolution, or a transposed one, without bias and with TensorFlow's 'SAME' padding.

    `weight` is (out, in, k, k), or (in, out, k, k) if transposed. (B, in, H, W) -> (B, out, H/s, W/s), or H*s if
    transposed. Kernel 1 or 4, stride 1 or 2, H and W even if the stride is 2.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int = 4, stride: int = 1, transposed: bool = False) -> None:
        super().__init__()
        self.stride, self.transposed = stride, transposed
        shape = (c_in, c_out) if transposed else (c_out, c_in)
        self.weight = nn.Parameter(torch.empty(*shape, kernel, kernel))
        nn.init.xavier_uniform_(self.weight)  # as tf.contrib.layers does

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x`."""
        if self.weight.shape[-1] == 1:
            return F.conv2d(x, self.weight, stride=self.stride)
        if self.stride == 2:  # one pixel on either side
            convolve = F.conv_transpose2d if self.transposed else F.conv2d
            return convolve(x, self.weight, stride=2, padding=1)
        if (
            self.transposed
        ):  # two pixels before, one after: the last row and column of the symmetric result are too many
            return F.conv_transpose2d(x, self.weight, padding=1)[..., :-1, :-1]
        return F.conv2d(x, self.weight, padding=2)[..., 1:, 1:]  # one before, two after


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with tf.contrib.layers' epsilon and the original's decay of 0.999."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=1e-3)


class ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU (or sigmoid, in the last layer)."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int = 4, stride: int = 1, transposed: bool = False, sigmoid: bool = False
    ) -> None:
        super().__init__()
        self.conv = SameConv(c_in, c_out, kernel, stride, transposed)
        self.norm = norm(c_out)
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H', W')."""
        x = self.norm(self.conv(x))
        return torch.sigmoid(x) if self.sigmoid else torch.relu(x)


class Block(nn.Module):
    """Residual bottleneck 1x1 -> 4x4 -> 1x1; the batch norm of the last comes after the addition."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.shortcut = SameConv(c_in, c_out, 1, stride) if stride != 1 or c_in != c_out else None
        self.reduce = ConvNorm(c_in, c_out // 2, 1)
        self.spatial = ConvNorm(c_out // 2, c_out // 2, 4, stride)
        self.expand = SameConv(c_out // 2, c_out, 1)
        self.norm = norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H/stride, W/stride)."""
        kept = x if self.shortcut is None else self.shortcut(x)
        return torch.relu(self.norm(self.expand(self.spatial(self.reduce(x))) + kept))


class Resfcn256(nn.Module):
    """Face crop (B, 3, size, size) float RGB in [0, 1] -> position map (B, 3, size, size) in (0, 1).

    A position map times `reach` (281.6 at size 256) is x, y, z in crop pixels. `width` scales every channel count (in
    sixteenths; 1 is the released network of 13,365,508 floats with the moving statistics), `size` is the crop's side (a
    multiple of 32). Raises ValueError for other values.
    """

    def __init__(self, width: float = 1.0, size: int = 256) -> None:
        super().__init__()
        base = round(width * 16)
        if base < 1 or base != width * 16:
            raise ValueError(f"width: expected a positive multiple of 1/16, got {width}")
        if size < 32 or size % 32:
            raise ValueError(f"size: expected a positive multiple of 32, got {size}")
        self.width, self.size = width, size
        self.stem = ConvNorm(3, base)
        self.blocks = nn.ModuleList()
        self.decoder = nn.ModuleList()
        channels = base
        for multiple, stride in ENCODER:
            self.blocks.append(Block(channels, base * multiple, stride))
            channels = base * multiple
        for multiple, stride in DECODER:
            self.decoder.append(ConvNorm(channels, base * multiple, stride=stride, transposed=True))
            channels = base * multiple
        for last in (False, False, True):
            self.decoder.append(ConvNorm(channels, 3, transposed=True, sigmoid=last))
            channels = 3

    @property
    def reach(self) -> float:
        """What 1.0 in a position map means, in crop pixels."""
        return REACH * self.size

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, size, size) -> (B, 3, size, size)."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        for layer in self.decoder:
            x = layer(x)
        return x

    def tensors(self) -> dict[str, Tensor]:
        """Every weight and moving statistic by name, without torch's own step counters."""
        return {name: value for name, value in self.state_dict().items() if not name.endswith("num_batches_tracked")}
