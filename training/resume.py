"""Checkpoints of a run: safetensors with every tensor, JSON with everything else; a killed run goes on from the last.

checkpoints/00000120.safetensors and 00000120.json, the JSON last and with the other's sha256: a checkpoint without its
JSON is none. `best.*` holds the kept network's weights of the best epoch. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.optim import Optimizer

from storage.atomic import write_file
from training.checkpoint import load_json, load_weights, save_json, save_weights
from training.errors import TrainingError
from training.loop import Position, Training

CHECKPOINT_FORMAT = 1
_DONE = "done.json"


class Checkpoints:
    """The checkpoints of one run in `folder`. `about` is what a run must share with them to go on from them."""

    def __init__(self, folder: Path, training: Training, about: dict[str, Any], keep: int) -> None:
        self.folder, self.training, self.keep = folder, training, keep
        self.about = json.loads(json.dumps(about))  # as it will be read back: tuples are lists

    def save(self, position: Position, *, best: bool) -> None:
        """Write a checkpoint, then remove those that are too old; of several processes, the first one writes."""
        if not self.training.fabric.is_global_zero:
            return
        (self.folder / _DONE).unlink(missing_ok=True)
        tensors, plain = self._state()
        data = save(tensors)
        name = f"{position.update:08d}"
        write_file(self.folder / f"{name}.safetensors", data)
        card = {
            "format": CHECKPOINT_FORMAT,
            "sha256": hashlib.sha256(data).hexdigest(),
            "position": asdict(position),
            "optimisers": plain,
            "about": self.about,
        }
        save_json(self.folder / f"{name}.json", card)
        if best:
            sha256 = save_weights(self.folder / "best.safetensors", self.training.kept, {"role": "best on dev"})
            save_json(self.folder / "best.json", {"sha256": sha256, **position.best})
        for old in self._names()[: -self.keep]:
            (self.folder / f"{old}.json").unlink()
            (self.folder / f"{old}.safetensors").unlink(missing_ok=True)

    def resume(self) -> Position:
        """Restore the newest checkpoint of an unfinished run; a new position when there is none.

        Raises TrainingError when it belongs to a run with other settings, or is damaged.
        """
        if (self.folder / _DONE).exists():
            if self.training.fabric.is_global_zero:
                for path in self.folder.iterdir():
                    if path.suffix in (".safetensors", ".json") and path.name != _DONE:
                        path.unlink()
            return Position()
        names = self._names()
        if not names:
            return Position()
        path = self.folder / f"{names[-1]}.json"
        card = load_json(path)
        try:
            if card["format"] != CHECKPOINT_FORMAT:
                raise TrainingError(
                    f"{path}: checkpoint format {card['format']!r}, this release has {CHECKPOINT_FORMAT}; "
                    f"remove {self.folder} to start anew"
                )
            self._refuse_other_run(card["about"])
            self._restore(path.with_suffix(".safetensors"), card["sha256"], card["optimisers"])
            return Position(**card["position"])
        except (KeyError, TypeError) as error:
            raise TrainingError(
                f"{path}: {error!r} is missing or unknown; remove {self.folder} to start anew"
            ) from error

    def load_best(self) -> dict[str, Any]:
        """Put the best epoch's weights into the kept network; returns its epoch and value."""
        card: dict[str, Any] = load_json(self.folder / "best.json")
        load_weights(self.folder / "best.safetensors", self.training.kept, sha256=card["sha256"])
        return card

    def finish(self) -> None:
        """Note that the run is complete: the next one in this folder starts anew."""
        if self.training.fabric.is_global_zero:
            save_json(self.folder / _DONE, {"about": self.about})

    def _names(self) -> list[str]:
        return sorted(p.stem for p in self.folder.glob("*.json") if p.stem.isdigit())

    def _refuse_other_run(self, about: dict[str, Any]) -> None:
        different = sorted(_differences(about, self.about))
        if different:
            raise TrainingError(
                f"{self.folder}: an unfinished run with other settings ({', '.join(different[:5])}) is here; "
                "run it again as it was to go on, choose another --out, or remove that folder to start anew"
            )

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        nets = {f"nets.{k}": v for k, v in self.training.learner.nets.state_dict().items()}
        if self.training.averaged is not None:
            nets |= {f"averaged.{k}": v for k, v in self.training.averaged.state_dict().items()}
        plain: dict[str, Any] = {}
        for name, optimiser in self.training.learner.optimisers.items():
            for index, values in optimiser.state_dict()["state"].items():
                for key, value in values.items():
                    if isinstance(value, Tensor):
                        nets[f"optimiser.{name}.{index}.{key}"] = value
                    else:
                        plain.setdefault(name, {}).setdefault(str(index), {})[key] = value
        scaler = getattr(self.training.fabric.strategy.precision, "scaler", None)
        if scaler is not None:
            plain["(scaler)"] = scaler.state_dict()
        return {k: v.detach().cpu().contiguous().clone() for k, v in nets.items()}, plain

    def _restore(self, path: Path, sha256: str, plain: dict[str, Any]) -> None:
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:
                raise TrainingError(
                    f"{path}: damaged (sha256 differs); remove it and its .json to go on from the one before"
                )
            tensors = load(data)
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"{path}: cannot be read ({error}); remove its .json to go on from the one before"
            ) from error
        try:
            self.training.learner.nets.load_state_dict(_part(tensors, "nets."))
            if self.training.averaged is not None:
                self.training.averaged.load_state_dict(_part(tensors, "averaged."))
        except RuntimeError as error:
            raise TrainingError(f"{path}: does not fit this run's networks ({error}); remove {self.folder}") from error
        for name, optimiser in self.training.learner.optimisers.items():
            _restore_optimiser(optimiser, _part(tensors, f"optimiser.{name}."), plain.get(name, {}))
        scaler = getattr(self.training.fabric.strategy.precision, "scaler", None)
        if scaler is not None:
            scaler.load_state_dict(plain["(scaler)"])


def _restore_optimiser(optimiser: Optimizer, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    weights = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {int(i): dict(values) for i, values in plain.items()}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        weight = weights[int(index)]
        # in the weight's own memory layout: another one gives another order of summation
        kept = torch.empty_like(weight).copy_(tensor) if tensor.shape == weight.shape else tensor
        state.setdefault(int(index), {})[key] = kept
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _differences(a: Any, b: Any, where: str = "") -> set[str]:  # noqa: ANN401 - JSON
    if isinstance(a, dict) and isinstance(b, dict):
        return {
            d for key in a.keys() | b.keys() for d in _differences(a.get(key), b.get(key), f"{where}.{key}".strip("."))
        }
    return set() if a == b else {where}
