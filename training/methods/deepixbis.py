"""DeePixBiS (George and Marcel, ICB 2019, arXiv 1907.04047): a binary label for every pixel of a 14 x 14 map.

The first two dense blocks of DenseNet-161, a 1 x 1 convolution to the map, and a linear layer on it. It needs no depth,
which makes it the baseline of whatever claims to gain by depth.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import linear

from training.batch import Batch
from training.errors import TrainingError
from training.methods import Network
from training.methods.densenet import DenseNetStart
from training.methods.one_network import AdamSettings, OneNetworkLearner, OneNetworkMethod
from training.methods.pixels import IMAGENET, Normalise

Decision = Literal["map", "binary", "both"]


class DeePixBiSNet(Network):
    """An image to a map of logits, a sixteenth of its side. decision: which of the two outputs is the score."""

    def __init__(self, map_size: int = 14, decision: Decision = "map", growth: int = 48) -> None:
        super().__init__()
        self.map_size, self.decision = map_size, decision
        self.normalise = Normalise(*IMAGENET)
        self.encoder = DenseNetStart(growth)
        self.map = nn.Conv2d(self.encoder.channels, 1, 1)
        self.linear = nn.Linear(map_size**2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float RGB in [0, 1] -> (B, 1, S / 16, S / 16) logits of "live" a pixel."""
        logits: Tensor = self.map(self.encoder(self.normalise(image)))
        return logits

    def binary(self, output: Tensor) -> Tensor:
        """forward's output -> (B,) logit of "live" as a whole; raises TrainingError for a map of another size."""
        side = output.shape[-1]
        if side != self.map_size:
            raise TrainingError(
                f"pictures of {16 * side} px give maps of {side} px, the linear layer takes {self.map_size}: "
                f"set settings.map_size={side}, or input_size={16 * self.map_size}"
            )
        weight, bias = self.linear.weight.to(output), self.linear.bias.to(output)
        return linear(torch.sigmoid(output).flatten(1), weight, bias).squeeze(1)

    def as_map(self, output: Tensor) -> Tensor:
        """The probability of live a pixel."""
        return torch.sigmoid(output)[:, 0]

    def score(self, output: Tensor) -> Tensor:
        """Mean of the map, the probability of the linear layer, or the mean of the two."""
        by_map = torch.sigmoid(output).mean(dim=(1, 2, 3))
        if self.decision == "map":
            return by_map
        whole = torch.sigmoid(self.binary(output))
        return whole if self.decision == "binary" else (by_map + whole) / 2


class DeePixBiSConfig(AdamSettings):
    """Settings; the published code's where it has them."""

    weight_decay: float = Field(default=1e-5, ge=0)
    map_share: float = Field(default=0.5, ge=0, le=1, description="of the pixels' loss; the rest is the whole's")
    map_size: int = Field(default=14, ge=1, description="side of the map: a sixteenth of the input's")
    decision: Decision = Field(default="map", description="the score: the map's mean, the linear layer, or both")
    growth: int = Field(default=48, ge=1, description="of the dense blocks; 48 is DenseNet-161")


class DeePixBiSLearner(OneNetworkLearner[DeePixBiSConfig]):
    """The network in training: one label for each pixel, and one for the whole."""

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Two binary cross-entropies; a live sample's map is all ones."""
        assert isinstance(self.network, DeePixBiSNet)
        output, live, share = self.network(batch.image), 1 - batch.label, self.settings.map_share
        pixels = live[:, None, None, None].expand_as(output)
        return {
            "pixels": share * bce(output, pixels),
            "whole": (1 - share) * bce(self.network.binary(output), live),
        }


class DeePixBiS(OneNetworkMethod[DeePixBiSConfig]):
    """Pixel-wise binary supervision."""

    name = "deepixbis"
    reference = "George, Marcel 2019, arXiv 1907.04047"
    settings = DeePixBiSConfig
    networks = DeePixBiSNet
    learners = DeePixBiSLearner
    shaped_by = ("map_size", "decision", "growth")
