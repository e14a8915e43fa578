"""Networks of which weights are published under torchvision's names (and timm's, where they are the same)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.errors import TrainingError


class Backbone(nn.Module, ABC):
    """An image to features; (B, 3, H, W) float RGB -> (B, channels, h, w)."""

    channels: int

    @property
    @abstractmethod
    def what(self) -> str:
        """The network in words, for errors: "a ResNet-18 at 0.25 of its width"."""

    def torchvision_name(self, name: str) -> str:
        """What torchvision calls the tensor that is `name` here."""
        return name


def from_torchvision(state: Mapping[str, Tensor], backbone: Backbone, source: object) -> dict[str, Tensor]:
    """A backbone's state dict from one with torchvision's names; what it has besides, as its last layer, is dropped.

    Raises TrainingError, naming `source`, where a tensor lacks or has another shape.
    """
    # DenseNet's published files are of before its layers were renamed: denselayer1.norm.1, now norm1
    state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", name): tensor for name, tensor in state.items()}
    found = {}
    for name, wanted in backbone.state_dict().items():
        theirs = backbone.torchvision_name(name)
        tensor = state.get(theirs)
        if tensor is None and name.endswith("num_batches_tracked"):  # files of before PyTorch 0.4.1 have none
            tensor = torch.zeros_like(wanted)
        if tensor is None or tensor.shape != wanted.shape:
            had = "nothing" if tensor is None else tuple(tensor.shape)
            raise TrainingError(f"{source}: {theirs} is {had}, not {tuple(wanted.shape)}; expected {backbone.what}")
        found[name] = tensor
    return found
