"""GoogLeNet, ResNet-18 and SE-ResNet-18 as plain classifiers: the baselines of the real-time liveness paper.

Settasompop, Charnparttaravanit, Pananookooln, Real-time faceliveness detection with deep learning: each from scratch,
and the first two from ImageNet's weights as well. Optimiser and rate are not stated for them; here they are those of
the paper's own method, so that a difference is not the optimiser's.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from training.methods import Network
from training.methods.googlenet import GoogLeNet
from training.methods.one_network import AdamSettings, BinaryLearner, OneNetworkMethod
from training.methods.pixels import IMAGENET, Normalise
from training.methods.resnet import Encoder

REFERENCE = "baseline of Settasompop et al., Real-time faceliveness detection with deep learning"
REDUCTION = 16  # of squeeze and excitation
# the paper: rotations alone, and pixels less mean over deviation
TURNED = {"augment": {"colour": None, "geometry": {"rotation": 30.0, "scale": 0.0, "shift": 0.0, "flip": 0.0}}}

Trunk = Literal["googlenet", "resnet18", "se-resnet18"]


class PlainClassifier(Network):
    """A backbone, global average, dropout, one fully connected layer."""

    def __init__(self, trunk: Trunk = "resnet18", width: float = 1.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.normalise = Normalise(*IMAGENET)
        self.encoder: GoogLeNet | Encoder
        if trunk == "googlenet":
            self.encoder = GoogLeNet()
        else:
            self.encoder = Encoder(width, squeeze=REDUCTION if trunk == "se-resnet18" else None)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.encoder.channels, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float RGB in [0, 1] -> (B,) logit of "live"."""
        logit: Tensor = self.head(self.encoder(self.normalise(image)).mean(dim=(2, 3)))
        return logit.squeeze(1)

    def score(self, output: Tensor) -> Tensor:
        """The probability of live."""
        return output.sigmoid()


class PlainConfig(AdamSettings):
    """Settings of ResNet-18, plain or with squeeze and excitation."""

    lr: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    width: float = Field(default=1.0, gt=0, description="all channels times this")


class GoogLeNetConfig(AdamSettings):
    """Settings of GoogLeNet."""

    lr: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    dropout: float = Field(default=0.2, ge=0, lt=1, description="torchvision's")


class _Plain(OneNetworkMethod[Any]):
    reference = REFERENCE
    run = TURNED
    networks = PlainClassifier
    learners = BinaryLearner
    trunk: Trunk

    def network_arguments(self, settings: AdamSettings) -> dict[str, Any]:
        """Which backbone, and its settings."""
        return {"trunk": self.trunk, **super().network_arguments(settings)}


class GoogLeNetClassifier(_Plain):
    """GoogLeNet."""

    name = trunk = "googlenet"
    settings = GoogLeNetConfig
    shaped_by = ("dropout",)


class ResNet18Classifier(_Plain):
    """ResNet-18."""

    name = trunk = "resnet18"
    settings = PlainConfig
    shaped_by = ("dropout", "width")


class SEResNet18Classifier(_Plain):
    """ResNet-18 with squeeze and excitation (Hu et al., CVPR 2018, arXiv 1709.01507)."""

    name = trunk = "se-resnet18"
    settings = PlainConfig
    shaped_by = ("dropout", "width")
