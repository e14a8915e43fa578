"""The same network for inference: batch norms folded into the convolutions, channels last, the end always in float32.

Transposed convolutions of stride 1 become plain ones with the kernel turned round: the same sums, on the fast path of
every backend. The last three layers carry coordinates: in bfloat16 their sigmoid would move a point by up to a pixel,
so whatever the type of the rest, they run in float32 (1.6 % of the work).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prnet.network import Block, ConvNorm, Resfcn256, SameConv

TAIL = 3


def _scale_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch norm as `x * scale + shift`, computed in float64."""
    mean, variance = cast(Tensor, norm.running_mean).double(), cast(Tensor, norm.running_var).double()
    scale = norm.weight.detach().double() / torch.sqrt(variance + norm.eps)
    return scale, norm.bias.detach().double() - mean * scale


class _Conv(nn.Module):
    """A convolution with the batch norm inside; 'SAME' padding as in `SameConv`."""

    def __init__(self, conv: SameConv, scale: Tensor, shift: Tensor | None, relu: bool) -> None:
        super().__init__()
        weight = conv.weight.detach().double()
        self.kernel, self.stride, self.relu = weight.shape[-1], conv.stride, relu
        self.turned = conv.transposed and conv.stride == 1
        self.transposed = conv.transposed and not self.turned
        if self.turned:
            weight = weight.flip(2, 3).transpose(0, 1)
        weight = weight * (scale[None, :, None, None] if self.transposed else scale[:, None, None, None])
        self.weight = nn.Parameter(weight.float(), requires_grad=False)
        self.bias = None if shift is None else nn.Parameter(shift.float(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel == 1:
            x = F.conv2d(x, self.weight, self.bias, stride=self.stride)
        elif self.transposed:
            x = F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1)
        elif self.stride == 2:
            x = F.conv2d(x, self.weight, self.bias, stride=2, padding=1)
        else:
            x = F.conv2d(x, self.weight, self.bias, padding=2)
            x = x[..., :-1, :-1] if self.turned else x[..., 1:, 1:]
            return torch.relu(x) if self.relu else x
        return torch.relu_(x) if self.relu else x


def _conv_norm(layer: ConvNorm) -> _Conv:
    scale, shift = _scale_shift(layer.norm)
    return _Conv(layer.conv, scale, shift, relu=not layer.sigmoid)


class _Block(nn.Module):
    """The norm after the addition goes into the last 1x1 and the shortcut; an identity becomes a product a channel."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        scale, shift = _scale_shift(block.norm)
        self.reduce, self.spatial = _conv_norm(block.reduce), _conv_norm(block.spatial)
        self.expand = _Conv(block.expand, scale, shift, relu=False)
        self.shortcut = None if block.shortcut is None else _Conv(block.shortcut, scale, None, relu=False)
        self.scale = nn.Parameter(scale.float()[:, None, None], requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.spatial(self.reduce(x)))
        y = y.addcmul_(x, self.scale) if self.shortcut is None else y.add_(self.shortcut(x))
        return torch.relu_(y)


class Folded(nn.Module):
    """`Resfcn256` with fixed weights: (B, 3, S, S) float in [0, 1] -> (B, 3, S, S) float32 in (0, 1).

    `dtype` is the type of everything but the tail.
    """

    def __init__(self, network: Resfcn256, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        blocks = [_Block(cast(Block, block)) for block in network.blocks]
        layers = [_conv_norm(cast(ConvNorm, layer)) for layer in network.decoder]
        self.body: nn.Module = nn.Sequential(_conv_norm(network.stem), *blocks, *layers[:-TAIL])
        self.tail = nn.Sequential(*layers[-TAIL:])
        self.body.to(dtype)
        for weight in self.parameters():
            if weight.ndim == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        x = x.to(self.dtype, memory_format=torch.channels_last)
        return torch.sigmoid(self.tail(self.body(x).float()))
