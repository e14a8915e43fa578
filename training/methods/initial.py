"""What a network starts from: He initialisation, a pre-training, a trained model, or a published weights file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.checkpoint import load_json, load_state, load_weights
from training.errors import TrainingError
from training.methods.backbone import Backbone, from_torchvision
from training.methods.convolution import CentralDifferenceConv2d
from training.methods.resnet import he_init


def initialise(model: nn.Module, encoder: nn.Module, path: Path | None, seed: int) -> dict[str, Any]:
    """Fill `model` by He's rule and then from `path`; returns what it was ("init") and where from ("encoder").

    path is what `load_encoder` takes, or a folder of a model of the same shape: then all of it is loaded.
    """
    he_init(model, torch.Generator().manual_seed(seed))
    if path is not None and path.is_dir() and (path / "model.json").exists() and not _encoder_of(path).exists():
        card = load_json(path / "model.json")
        _check_theta(path, card, model)
        load_weights(path / Path(card["weights"]["file"]).name, model, sha256=card["weights"]["sha256"])
        return {"init": "checkpoint", "encoder": str(path)}
    return load_encoder(encoder, path) or {"init": "he", "encoder": None}


def load_encoder(encoder: nn.Module, path: Path | None) -> dict[str, Any] | None:
    """Fill an encoder from `path`; returns what that was, None where there is no path.

    path is a folder of `pretrain`, a .safetensors of such an encoder, or for a Backbone a file with torchvision's names
    (.safetensors, .pth), such as one trained on ImageNet. Raises TrainingError for anything else.
    """
    if path is None:
        return None
    if path.is_dir():
        if not _encoder_of(path).exists():
            raise TrainingError(f"{path}: neither a pre-training (encoder.safetensors) nor a fitting model is in it")
        _check_theta(path, load_json(path / "model.json"), encoder)
        load_weights(_encoder_of(path), encoder)
        return {"init": "pretrained", "encoder": str(path)}
    state = load_state(path)
    if isinstance(encoder, Backbone) and state.keys() != encoder.state_dict().keys():
        encoder.load_state_dict(from_torchvision(state, encoder, path))
        return {"init": "file", "encoder": str(path)}
    load_weights(path, encoder)
    return {"init": "pretrained", "encoder": str(path)}


def _check_theta(path: Path, card: dict[str, Any], model: nn.Module) -> None:
    """Refuse weights of central-difference convolutions that would mean something else here."""
    theta = card["network"].get("theta", 0.0)
    ours = next((m.theta for m in model.modules() if isinstance(m, CentralDifferenceConv2d)), 0.0)
    if theta != ours:
        raise TrainingError(
            f"{path}: its encoder was trained with theta {theta}, this one has {ours}: the same weights "
            f"would mean something else; set theta to {theta}"
        )


def _encoder_of(folder: Path) -> Path:
    return folder / "encoder.safetensors"
