"""Central-difference convolution (Yu et al., CVPR 2020, arXiv 2003.04092): an ordinary one with another centre tap.

y = conv(x; w) - theta conv1x1(x; sum of w), which is conv(x; w') with theta times the sum of w taken off w's centre. So
training costs one convolution, and `folded` is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class CentralDifferenceConv2d(nn.Conv2d):
    """3 x 3, padded to keep the size; theta 0 is the ordinary one, the paper has 0.7."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, bias: bool = True, theta: float) -> None:
        super().__init__(inputs, outputs, 3, stride, 1, bias=bias)
        self.theta = theta

    def effective_weight(self) -> Tensor:
        """(outputs, inputs, 3, 3): what an ordinary convolution would need."""
        centre = torch.zeros_like(self.weight)
        centre[:, :, 1, 1] = 1
        return self.weight - self.theta * centre * self.weight.sum(dim=(2, 3), keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return functional.conv2d(x, self.effective_weight(), self.bias, self.stride, self.padding)


def convolution(inputs: int, outputs: int, stride: int = 1, *, theta: float = 0.0) -> nn.Conv2d:
    """3 x 3 without bias, padded to keep the size; central-difference where theta is not 0."""
    if theta == 0:
        return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return CentralDifferenceConv2d(inputs, outputs, stride, bias=False, theta=theta)


@torch.no_grad()
def fold_central_differences(net: nn.Module) -> None:
    """Replace every central-difference convolution in `net` by the ordinary one that does the same."""
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, CentralDifferenceConv2d):
                bias = child.bias is not None
                plain = nn.Conv2d(child.in_channels, child.out_channels, 3, child.stride[0], 1, bias=bias)
                plain.to(child.weight.device)
                plain.weight.copy_(child.effective_weight())
                if plain.bias is not None and child.bias is not None:
                    plain.bias.copy_(child.bias)
                setattr(parent, name, plain)
