"""Weights as safetensors, everything else as JSON; each file appears whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from storage.atomic import check_writable, write_file
from storage.errors import StoreError
from training.errors import TrainingError
from training.methods import Network, get_method, parameters

MODEL_FORMAT = 2
_LARGEST = 2 << 30  # bytes of a weights file; ResNet-18 has 45 MB


def prepare_folder(out: Path) -> None:
    """Make the folder that a run is to write to; raises TrainingError now rather than after hours of training."""
    try:
        check_writable(out)
    except StoreError as error:
        raise TrainingError(f"{error}; nothing was trained or scored: --out expects a folder") from error


def save_weights(path: Path, net: nn.Module, about: dict[str, str]) -> str:
    """Write a state dict (float32, contiguous, CPU); returns the file's sha256. Equal weights give equal bytes."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    # one key: safetensors writes several in an order that changes from process to process
    data = save(state, {"about": json.dumps(about, sort_keys=True)})
    write_file(path, data)
    return hashlib.sha256(data).hexdigest()


def load_weights(path: Path, net: nn.Module, *, sha256: str | None = None) -> nn.Module:
    """Fill `net` from a file; raises TrainingError if it is absent, damaged, not the expected one or does not fit."""
    state = load_state(path, sha256=sha256)
    problem = _misfit(state, net)
    if problem:
        raise TrainingError(f"{path}: these weights do not fit {type(net).__name__}: {problem}")
    net.load_state_dict(state)
    return net


def load_state(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Named tensors of a .safetensors file, or of a PyTorch one (.pt, .pth), of which nothing but tensors is unpickled.

    Raises TrainingError for a file that is absent, huge, damaged or not the one of `sha256`.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise TrainingError(f"{path}: {path.stat().st_size:,} bytes; weights here have at most {_LARGEST:,}")
        data = path.read_bytes()
    except OSError as error:
        raise TrainingError(f"{path}: cannot read these weights ({error.strerror}); check the path") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise TrainingError(f"{path}: not the weights that its JSON describes (sha256 differs); train or copy it again")
    if path.suffix in (".pt", ".pth"):
        return _torch_state(path, data)
    try:
        return load(data)
    except SafetensorError as error:
        raise TrainingError(f"{path}: not a whole safetensors file ({error}); train or copy it again") from error


def save_json(path: Path, content: Mapping[str, Any] | list[Any]) -> None:
    """Write JSON with sorted keys; NaN is refused, because no reader agrees on it."""
    write_file(path, (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def load_json(path: Path) -> Any:  # noqa: ANN401 - JSON
    """Read JSON; raises TrainingError that names the file."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot read it ({error.strerror}); is this the folder of a finished run?"
        ) from error
    except ValueError as error:
        raise TrainingError(f"{path}: not JSON ({error}); the file was changed or damaged") from error


def save_model(folder: Path, net: nn.Module, card: dict[str, Any]) -> None:
    """Write model.safetensors, then model.json that names it: so other weights are always noticed."""
    sha256 = save_weights(folder / "model.safetensors", net, {"method": card["method"], "positive_class": "live"})
    weights = {"file": "model.safetensors", "sha256": sha256, "parameters": parameters(net)}
    save_json(folder / "model.json", {"format": MODEL_FORMAT, **card, "weights": weights})


def load_model(folder: Path) -> tuple[Network, dict[str, Any]]:
    """The network in eval mode, and model.json; raises TrainingError for anything that is not such a folder."""
    card = load_json(folder / "model.json")
    try:
        if card["format"] != MODEL_FORMAT:
            raise TrainingError(
                f"{folder}/model.json: format {card['format']!r}, this release reads {MODEL_FORMAT}: train it again "
                "(same store, same settings), or use the release that wrote it"
            )
        if card["output"]["positive_class"] != "live":
            raise TrainingError(
                f"{folder}/model.json: positive_class is {card['output']['positive_class']!r}, not 'live'"
            )
        net = get_method(card["method"]).network(**card["network"])
        # its name alone: a model folder may come from anywhere, and must not point out of itself
        load_weights(folder / Path(card["weights"]["file"]).name, net, sha256=card["weights"]["sha256"])
    except (KeyError, TypeError) as error:
        raise TrainingError(
            f"{folder}/model.json: {error!r} is missing or unknown; expected a model by `finetune`"
        ) from error
    return net.eval(), card


def _torch_state(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise TrainingError(f"{path}: not a PyTorch weights file ({str(error).splitlines()[0]})") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise TrainingError(f"{path}: expected a state dict, names to tensors, found {type(state).__name__}")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _misfit(state: Mapping[str, Tensor], net: nn.Module) -> str:
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for word, names in (("lacks", wanted.keys() - found.keys()), ("has unknown", found.keys() - wanted.keys())):
        if names:
            return f"the file {word} {sorted(names)[:3]} ({len(names)} in all)"
    return "; ".join(f"{n} is {found[n]}, not {wanted[n]}" for n in wanted if found[n] != wanted[n])
