"""Learned generalised spoof cues (Feng et al., arXiv 2005.03922), in the setting of the real-time liveness paper.

A generator draws what makes a picture a spoof: a map of the picture's size, nothing for live. With E5, D1 ... D4 its
features at five sizes, the loss is

    L = w_regression mean |cue| over live samples + w_triplet sum of L_t over the five features + w_classifier L_a

L_t is over all triplets of two live samples and a spoof one, so that live samples are drawn together and spoof samples
are not. L_a is the cross-entropy of an auxiliary classifier on picture + cue, which is trained and not kept. The score
is 1 - mean |cue|.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, normalize, pad

from training.batch import Batch
from training.methods import Network
from training.methods.initial import initialise
from training.methods.one_network import AdamSettings, OneNetworkLearner, OneNetworkMethod
from training.methods.pixels import Normalise
from training.methods.plain import TURNED
from training.methods.resnet import Encoder

Norm = Literal["instance", "batch"]
RUN = {**TURNED, "loop": {"schedule": "step", "milestones": (5, 8), "gamma": 0.3}}
PIXELS = (100 / 255,) * 3, (80 / 255,) * 3  # the published code's mean and deviation


class CueBlock(nn.Module):
    """Two 3 x 3 convolutions with instance norms and a skip."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), _normed(outputs, norm)
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), _normed(outputs, norm)
        self.skip = nn.Identity() if inputs == outputs else _pointwise(inputs, outputs, norm)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        return self.relu(y + self.skip(x))


class CueStage(nn.Module):
    """Nearest x 2 and a 2 x 2 convolution, the encoder's features of that size beside it, two blocks and a skip."""

    def __init__(self, inputs: int, beside: int, between: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.up = nn.Conv2d(inputs, between, 2, bias=False)
        self.norm = _normed(between, norm)
        self.relu = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(CueBlock(between + beside, outputs, norm), CueBlock(outputs, outputs, norm))
        self.skip = _pointwise(between + beside, outputs, norm)

    def forward(self, x: Tensor, beside: Tensor | None) -> Tensor:
        """(B, inputs, H, W) and (B, beside, 2H, 2W) or None -> (B, outputs, 2H, 2W)."""
        y = self.relu(self.norm(self.up(pad(interpolate(x, scale_factor=2.0), (0, 1, 0, 1)))))
        if beside is not None:
            y = torch.cat([y, beside], dim=1)
        return self.blocks(y) + self.skip(y)


class CueGenerator(Network):
    """ResNet-18 down, five stages up: an image to its spoof cue. width 1 is the paper's, 16,322,583 parameters."""

    def __init__(self, width: float = 1.0, norm: Norm = "instance") -> None:
        super().__init__()
        self.normalise = Normalise(*PIXELS)
        self.encoder = Encoder(width)
        w = [round(c * width) for c in (64, 64, 128, 256, 512)]  # channels at 1/2, 1/4, ... 1/32
        self.stages = nn.ModuleList(CueStage(w[i + 1], w[i], w[i], w[i], norm) for i in (3, 2, 1, 0))
        self.last = CueStage(w[0], 0, w[0], 3, norm)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float RGB in [0, 1], S a multiple of 32 -> cue (B, 3, S, S) in (-1, 1)."""
        return self.drawn(image)[0]

    def drawn(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The cue, and the features E5, D1, D2, D3, D4 that led to it: at 1/32, 1/16, 1/8, 1/4 and 1/2 of the size."""
        *beside, x = self.encoder.features(self.normalise(image))
        features = [x]
        for stage, feature in zip(self.stages, reversed(beside), strict=True):
            x = stage(x, feature)
            features.append(x)
        return torch.tanh(self.last(x, None)), features

    def score(self, output: Tensor) -> Tensor:
        """1 - mean |cue|: near 1 for all but clear attacks, so that only a threshold from dev means anything."""
        return 1 - output.abs().mean(dim=(1, 2, 3))


class AuxiliaryClassifier(nn.Module):
    """ResNet-18 on picture + cue; trained with the generator and not kept."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.encoder = Encoder(width)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(self.encoder.channels, 2))

    def forward(self, overlaid: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 2) logits of live and of spoof."""
        logits: Tensor = self.head(self.encoder(overlaid).mean(dim=(2, 3)))
        return logits


class LGSCConfig(AdamSettings):
    """Settings; epochs and weights are the real-time paper's, what it does not say is the published code's."""

    epochs: int = Field(default=10, ge=1)
    lr: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    w_regression: float = Field(default=5.0, ge=0, description="of the live samples' cues")
    w_triplet: float = Field(default=1.0, ge=0, description="of each of the five triplet losses")
    w_classifier: float = Field(default=5.0, ge=0, description="of the auxiliary classifier")
    margin: float = Field(default=0.5, gt=0, description="of the triplets")
    classifier_encoder: Path | None = Field(
        default=None, description="what the auxiliary classifier's ResNet-18 starts from; none = He's rule"
    )
    width: float = Field(default=1.0, gt=0, description="all channels times this; 0.25 has a fifteenth of the work")
    norm: Norm = Field(
        default="instance",
        description="of the way up; norms by instance take from a picture how strong its cue is, those by batch do not",
    )


def live_regression(cue: Tensor, label: Tensor) -> Tensor:
    """Mean |cue| over the live samples of a batch; 0 where there is none. cue: (B, 3, S, S); label: (B,), spoof 1."""
    live = 1 - label
    return (cue.abs().mean(dim=(1, 2, 3)) * live).sum() / live.sum().clamp(min=1)


def live_triplets(features: Tensor, label: Tensor, margin: float) -> Tensor:
    """Mean hinge over the triplets (live, another live, spoof) that still cost something; 0 where none does.

    features: (B, C, H, W), averaged over H and W and brought to length 1; distances are Euclidean. Spoof samples are
    neither anchors nor positives, so nothing draws them together.
    """
    vectors = normalize(features.mean(dim=(2, 3)))
    live, spoof = vectors[label == 0], vectors[label == 1]
    near, far = (torch.cdist(live, v, compute_mode="donot_use_mm_for_euclid_dist") for v in (live, spoof))
    cost = (near[:, :, None] - far[:, None, :] + margin).clamp(min=0)  # (anchor, positive, negative)
    cost = cost * ~torch.eye(len(live), dtype=torch.bool, device=cost.device)[:, :, None]
    return cost.sum() / (cost > 0).sum().clamp(min=1)


class LGSCLearner(OneNetworkLearner[LGSCConfig]):
    """Generator and auxiliary classifier in training, by one Adam."""

    def __init__(self, network: CueGenerator, settings: LGSCConfig, seed: int) -> None:
        self.classifier = AuxiliaryClassifier(settings.width)
        origin = initialise(self.classifier, self.classifier.encoder, settings.classifier_encoder, seed + 1)
        super().__init__(network, settings, seed, nn.ModuleDict({"classifier": self.classifier}))
        self.generator = network
        self.origin = {**self.origin, "classifier": origin}

    def begin_epoch(self, epoch: int) -> None:
        """As published, an encoder that starts from a file keeps the statistics of its norms."""
        self.nets.train()
        if self.settings.encoder is not None:
            for module in self.generator.encoder.modules():
                module.train(not isinstance(module, nn.BatchNorm2d))

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms; one triplet term for the sum over the five features."""
        settings = self.settings
        cue, features = self.generator.drawn(batch.image)
        told = self.classifier(self.generator.normalise(batch.image) + cue)
        triplets = torch.stack([live_triplets(f, batch.label, settings.margin) for f in features]).sum()
        return {
            "regression": settings.w_regression * live_regression(cue, batch.label),
            "triplets": settings.w_triplet * triplets,
            "classifier": settings.w_classifier * cross_entropy(told, batch.label.long()),
        }

    def validate(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Mean |cue| of each sample: live and spoof should part."""
        return {"cue": output.abs().mean(dim=(1, 2, 3))}


class LGSC(OneNetworkMethod[LGSCConfig]):
    """Spoof cues."""

    name = "lgsc"
    reference = "Feng et al. 2020, arXiv 2005.03922; Settasompop et al., Real-time faceliveness detection"
    settings = LGSCConfig
    run = RUN
    networks = CueGenerator
    learners = LGSCLearner
    shaped_by = ("width", "norm")


def _normed(channels: int, norm: Norm) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True) if norm == "instance" else nn.BatchNorm2d(channels)


def _pointwise(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), _normed(outputs, norm))
