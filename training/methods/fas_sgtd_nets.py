"""FAS-SGTD's networks (Wang et al., CVPR 2020, arXiv 2003.08061, section 3.1).

A backbone of residual spatial gradient blocks draws the depth of each frame; short-term blocks between neighbouring
frames and a ConvGRU over all of them draw the temporal depth that refines it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Gradient = Literal["squared", "magnitude", "none"]
Block = Literal["ststb", "ststb-text", "off"]
FEATURES = 128  # of each level of the backbone, at width 1
COMPRESSED = 32
HIDDEN = 64
_TINY = 1e-8  # under the root: the slope of a root is infinite at 0


def sobel(x: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical derivative of every channel (eq. 1); zeros lie around the picture. Shapes as x's."""
    channels = x.shape[1]
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=x.device, dtype=x.dtype)
    dx, dy = (
        functional.conv2d(x, kernel.expand(channels, 1, 3, 3), padding=1, groups=channels)
        for kernel in (across, across.T)
    )
    return dx, dy


class ResidualGradientBlock(nn.Module):
    """RSGB, equation 2: y = relu(N(F(x) + N(g))), F a 3 x 3 convolution, N batch normalisation.

    gradient magnitude: g = the 1 x 1 convolution of sqrt(Sx(x)^2 + Sy(x)^2), as released and as figure 4 names it;
    squared: Sx(x')^2 + Sy(x')^2 of x' = x through a 1 x 1 convolution, as printed, which squares once a block: twelve
    blocks overflow where running statistics lag; none: y = relu(N(F(x))), the ablation's plain convolution.
    """

    def __init__(self, inputs: int, outputs: int, gradient: Gradient = "magnitude") -> None:
        super().__init__()
        self.gradient = gradient
        self.conv = nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.norm = nn.BatchNorm2d(outputs)
        if gradient != "none":
            self.point = nn.Conv2d(inputs, outputs, 1)
            self.gradient_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        y = self.conv(x)
        if self.gradient == "squared":
            dx, dy = sobel(self.point(x))
            y = y + self.gradient_norm(dx.square() + dy.square())
        elif self.gradient == "magnitude":
            dx, dy = sobel(x)
            y = y + self.gradient_norm(self.point((dx.square() + dy.square() + _TINY).sqrt()))
        return functional.relu(self.norm(y))


class Backbone(nn.Module):
    """The single-frame network: a picture to its depth, 2,469,697 parameters at width 1.

    A block of 64, three levels of 128-192-128 that each end in a 2 x 2 maximum, all three brought to the map's size and
    concatenated, blocks of 128 and 64, a 3 x 3 convolution to one map, ReLU. At 256 px the last level is 32 x 32.
    """

    def __init__(self, width: float = 1.0, gradient: Gradient = "magnitude", depth_size: int = 32) -> None:
        super().__init__()
        self.depth_size = depth_size
        thin, wide, narrow = (max(1, round(c * width)) for c in (FEATURES, 192, 64))
        self.channels = thin
        self.stem = ResidualGradientBlock(3, narrow, gradient)
        self.levels = nn.ModuleList(
            nn.Sequential(
                ResidualGradientBlock(inputs, thin, gradient),
                ResidualGradientBlock(thin, wide, gradient),
                ResidualGradientBlock(wide, thin, gradient),
            )
            for inputs in (narrow, thin, thin)
        )
        self.head = nn.Sequential(
            ResidualGradientBlock(3 * thin, thin, gradient), ResidualGradientBlock(thin, narrow, gradient)
        )
        self.out = nn.Conv2d(narrow, 1, 3, 1, 1)

    def features(self, image: Tensor) -> list[Tensor]:
        """(B, 3, S, S) float RGB in [0, 1] -> the levels before their maxima: (B, 128 width, S, S), S / 2, S / 4."""
        seen, x = [], self.stem(image)
        for level in self.levels:
            seen.append(level(x))
            x = functional.max_pool2d(seen[-1], 2)
        return seen

    def depth(self, levels: Sequence[Tensor]) -> Tensor:
        """The levels -> (B, 1, depth_size, depth_size), not negative."""
        pooled = [resized(functional.max_pool2d(x, 2), self.depth_size) for x in levels]
        return functional.relu(self.out(self.head(torch.cat(pooled, dim=1))))


class ShortTermBlock(nn.Module):
    """STSTB: what a level shows of frame t and of the next one, t'. S is Sobel's two derivatives of the compressed F.

    ststb: x(t), S(t), S(t'), F(t) - F(t'), with x(t) not compressed, as released; levels are fused afterwards.
    ststb-text: F(t), S(t), S(t'), F(t) - F(t') and the block of the level before, as in the text.
    off: S(t), F(t) - F(t'), which is what the paper says of OFF (Sun et al. 2018, its ablation).
    """

    def __init__(self, channels: int, compressed: int, kind: Block, previous: int = 0) -> None:
        super().__init__()
        self.kind = kind
        self.compress = nn.Sequential(nn.Conv2d(channels, compressed, 1), nn.ReLU(), nn.BatchNorm2d(compressed))
        inputs = {"ststb": channels + 5 * compressed, "ststb-text": 6 * compressed + previous, "off": 3 * compressed}
        self.conv = nn.Conv2d(inputs[kind], channels, 3, 1, 1)

    def forward(self, x: Tensor, previous: Tensor | None = None) -> Tensor:
        """x: (B, T, C, H, W); previous: (B (T - 1), C, H, W) -> (B (T - 1), C, H / 2, W / 2)."""
        frames = x.shape[1]
        compressed = self.compress(x.flatten(0, 1))
        slopes = torch.cat(sobel(compressed), dim=1)
        now, after = _pairs(compressed, frames)
        slope_now, slope_after = _pairs(slopes, frames)
        change = now - after
        if self.kind == "off":
            parts = [slope_now, change]
        elif self.kind == "ststb":
            parts = [x[:, :-1].flatten(0, 1), slope_now, slope_after, change]
        else:
            parts = [now, slope_now, slope_after, change]
            parts += [] if previous is None else [resized(previous, now.shape[-1])]
        return functional.max_pool2d(functional.relu(self.conv(torch.cat(parts, dim=1))), 2)


class ConvGRUCell(nn.Module):
    """Equation 3: R, U = sigmoid(K [h, x]); c = tanh(K [R h, x]); h' = (1 - U) h + U c. The kernels are 3 x 3."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(hidden + inputs, 2 * hidden, 3, 1, 1)
        self.candidate = nn.Conv2d(hidden + inputs, hidden, 3, 1, 1)

    def forward(self, x: Tensor, h: Tensor | None) -> Tensor:
        """x: (B, inputs, H, W); h: (B, hidden, H, W), zeros before the first x -> the next h."""
        h = x.new_zeros(x.shape[0], self.hidden, *x.shape[2:]) if h is None else h
        reset, update = torch.sigmoid(self.gates(torch.cat([h, x], dim=1))).chunk(2, dim=1)
        candidate = torch.tanh(self.candidate(torch.cat([reset * h, x], dim=1)))
        return (1 - update) * h + update * candidate

    def remember(self) -> None:
        """Biases so that a new cell resets little and keeps most, as the released ones do."""
        with torch.no_grad():
            assert self.gates.bias is not None
            self.gates.bias[: self.hidden] = 1.0
            self.gates.bias[self.hidden :] = -1.0


class TemporalModule(nn.Module):
    """STPM: the backbone's levels of T frames to T - 1 temporal depth maps; without `recurrent` there is no ConvGRU.

    released: `one-step-gru` starts the recurrence anew for every pair; `mixed-clips` reads maps that stand frame by
    frame as if they stood clip by clip, which is right for one clip alone.
    """

    def __init__(
        self,
        width: float = 1.0,
        block: Block = "ststb",
        depth_size: int = 32,
        *,
        recurrent: bool = True,
        released: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.block, self.depth_size, self.recurrent, self.released = block, depth_size, recurrent, frozenset(released)
        channels, compressed, hidden = (max(1, round(c * width)) for c in (FEATURES, COMPRESSED, HIDDEN))
        self.blocks = nn.ModuleList(
            ShortTermBlock(channels, compressed, block, channels if level else 0) for level in range(3)
        )
        self.fusions = nn.ModuleList()
        if block != "ststb-text":
            self.fusions.extend(_fusion(2 * channels, channels) for _ in range(2))
            self.fusions.append(nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels)))
        self.cells = nn.ModuleList()
        if recurrent:
            self.cells.extend([ConvGRUCell(channels, hidden), ConvGRUCell(hidden, 1)])
        else:
            self.last = nn.Conv2d(channels, 1, 3, 1, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Three levels (B, T, C, H, W) -> (B, T - 1, 1, depth_size, depth_size), in (-1, 1) if recurrent."""
        clips, pairs = levels[0].shape[0], levels[0].shape[1] - 1
        fused = self._short_term(levels).unflatten(0, (clips, pairs))
        if not self.recurrent:
            drawn: Tensor = self.last(fused.flatten(0, 1))
            return drawn.unflatten(0, (clips, pairs))
        maps: list[Tensor] = []
        states: list[Tensor | None] = [None] * len(self.cells)
        for t in range(pairs):
            x = fused[:, t]
            for i, cell in enumerate(self.cells):
                x = cell(x, None if "one-step-gru" in self.released else states[i])
                states[i] = x
            maps.append(x)
        if "mixed-clips" in self.released:
            return torch.stack(maps).reshape(clips, pairs, *maps[0].shape[1:])
        return torch.stack(maps, dim=1)

    def _short_term(self, levels: Sequence[Tensor]) -> Tensor:
        """(B (T - 1), C, depth_size, depth_size)."""
        seen = self.blocks[0](levels[0])
        if self.block == "ststb-text":
            for block, level in zip(self.blocks[1:], levels[1:], strict=True):
                seen = block(level, seen)
            return resized(seen, self.depth_size)
        *fusions, last = self.fusions
        for block, fusion, level in zip(self.blocks[1:], fusions, levels[1:], strict=True):
            shown = block(level)
            seen = fusion(torch.cat([resized(seen, shown.shape[-1]), shown], dim=1))
        return resized(last(seen), self.depth_size)


def resized(x: Tensor, side: int) -> Tensor:
    """(B, C, S, S) -> (B, C, side, side), bilinear."""
    return x if x.shape[-1] == side else functional.interpolate(x, (side, side), mode="bilinear")


def _pairs(x: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """(B T, C, H, W) -> each frame that has a next one, and that one: (B (T - 1), C, H, W) each."""
    clips = x.unflatten(0, (-1, frames))
    return clips[:, :-1].flatten(0, 1), clips[:, 1:].flatten(0, 1)


def _fusion(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1), nn.ReLU(), nn.BatchNorm2d(outputs))
