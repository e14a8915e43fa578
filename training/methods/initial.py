"""What an encoder starts from: He initialisation, a pre-training, a trained model, or a ResNet-18 weights file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.checkpoint import load_json, load_state, load_weights
from training.errors import TrainingError
from training.methods.resnet import Encoder, from_torchvision, he_init


def initialise(model: nn.Module, encoder: Encoder, path: Path | None, seed: int) -> dict[str, Any]:
    """Fill `model` by He's rule and then from `path`; returns what it was ("init") and where from ("encoder").

    path is a folder of `pretrain` (its encoder), a folder of a model of the same shape (all of it), an encoder's
    .safetensors, or a ResNet-18 file with torchvision's names (.safetensors, .pth), such as one trained on ImageNet.
    Raises TrainingError for anything else.
    """
    he_init(model, torch.Generator().manual_seed(seed))
    if path is None:
        return {"init": "he", "encoder": None}
    if path.is_dir() and (path / "encoder.safetensors").exists():
        load_weights(path / "encoder.safetensors", encoder)
        return {"init": "pretrained", "encoder": str(path)}
    if path.is_dir() and (path / "model.json").exists():
        card = load_json(path / "model.json")
        load_weights(path / Path(card["weights"]["file"]).name, model, sha256=card["weights"]["sha256"])
        return {"init": "checkpoint", "encoder": str(path)}
    if path.is_dir():
        raise TrainingError(f"{path}: neither a pre-training (encoder.safetensors) nor a model (model.json) is in it")
    state = load_state(path)
    if "layer1.0.conv1.weight" not in state:
        load_weights(path, encoder)
        return {"init": "pretrained", "encoder": str(path)}
    encoder.load_state_dict(from_torchvision(state, encoder, path))
    return {"init": "file", "encoder": str(path)}
