"""One cell of an experiment: a row, on one fold, with one seed; run once, and found again by what it is made of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from storage.snapshot import Snapshot
from training.checkpoint import load_json, save_json
from training.config import TrainConfig
from training.errors import TrainingError
from training.evaluate import Level, evaluate
from training.experiments.experiment import OWN_SPLITS
from training.loop import Progress
from training.methods import Settings, get_method
from training.pretrain import PretrainConfig, pretrain
from training.protocols import find_protocol
from training.train import train

# what changes no figure: where it ran, what was watched on the way
_UNSAID: Any = {"device": True, "loop": {"keep", "checkpoint_updates", "track", "track_updates"}}


@dataclass(frozen=True)
class Cell:
    """What is trained and tested. protocol: a single one, or OWN_SPLITS; stores: the snapshots that serve it.

    learned_from: hex digest of the ids of the train and the dev samples. Protocols that test on different samples may
    train on the same ones.
    """

    row: str
    method: str
    protocol: str
    settings: Settings
    config: TrainConfig
    pretraining: PretrainConfig | None
    train_store: Snapshot
    test_store: Snapshot
    learned_from: str

    @property
    def seed(self) -> int:
        """Everything random follows from it."""
        return self.config.seed

    @property
    def label(self) -> str:
        """A name for people, which is that of its folder too."""
        fold = "own-splits" if self.protocol == OWN_SPLITS else Path(self.protocol.replace(":", "-")).name
        return f"{self.row}-{fold}-seed{self.seed}"

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of all that its figures follow from: its training, its protocol and the shards it is tested on."""
        # the content of a protocol and of a store, not their names: both may change under one name
        protocol = None if self.protocol == OWN_SPLITS else asdict(find_protocol(self.protocol))
        return _digest({"training": self.training_digest, "protocol": protocol, "test": _shards(self.test_store)})

    @cached_property
    def training_digest(self) -> str:
        """The same of its model, which cells share that differ in what is tested alone."""
        settings = self.settings.model_dump(mode="json")
        encoder = settings.get("encoder")
        return _digest(
            {
                "method": self.method,
                "settings": settings | ({"encoder": _content(Path(encoder))} if encoder else {}),
                "config": self.config.model_dump(mode="json", exclude=_UNSAID | {"protocol": True}),
                "pretraining": self.pretraining_digest,
                "samples": self._samples,
            }
        )

    @cached_property
    def pretraining_digest(self) -> str | None:
        """The same of its pre-training, which rows with equal ones share; None without."""
        if self.pretraining is None:
            return None
        config = self.pretraining.model_dump(mode="json", exclude=_UNSAID | {"protocol": True})
        return _digest({"config": config, "samples": self._samples})

    def folder(self, out: Path) -> Path:
        """Where in `out` the cell is."""
        return out / "cells" / f"{self.label}-{self.digest[:12]}"

    def training_folder(self, out: Path) -> Path:
        """Where in `out` its model is."""
        return out / "training" / f"{self.method}-seed{self.seed}-{self.training_digest[:12]}"

    def pretraining_folder(self, out: Path) -> Path | None:
        """Where in `out` its pre-training is."""
        digest = self.pretraining_digest
        return None if digest is None else out / "pretraining" / f"seed{self.seed}-{digest[:12]}"

    @property
    def _samples(self) -> dict[str, Any]:
        return {"rows": self.learned_from, "shards": _shards(self.train_store)}


def finished(cell: Cell, out: Path) -> dict[str, Any] | None:
    """The result of a cell that was run before, None if it was not (or not to its end)."""
    path = cell.folder(out) / "cell.json"
    if not path.exists():
        return None
    result: dict[str, Any] = load_json(path)
    if result.get("digest") != cell.digest:
        raise TrainingError(f"{path}: not the result of this cell (its digest differs); move the folder away")
    return result


def run_cell(cell: Cell, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Pre-train, train and evaluate one cell under `out`, or return what was found finished there.

    Returns (and writes last, to cell.json) its digest, `parameters` and for each level (sample, presentation) the rates
    at the dev threshold, their bootstrap `intervals`, and as `oracle` the rates at the oracle's. A killed cell is
    continued where it was. Raises TrainingError as `train` and `evaluate` do.
    """
    found = finished(cell, out)
    if found is not None:
        return found
    folder, model = cell.folder(out), cell.training_folder(out)
    settings = cell.settings
    before = cell.pretraining_folder(out)
    if before is not None and cell.pretraining is not None:
        if not (before / "model.json").exists():  # written last
            pretrain(_url(cell.train_store), before, cell.pretraining, progress)
        settings = settings.model_copy(update={"encoder": before})
    if not (model / "model.json").exists():
        train(_url(cell.train_store), model, get_method(cell.method), settings, cell.config, progress)
    protocol = None if cell.protocol == OWN_SPLITS else cell.protocol
    evaluation = evaluate(
        _url(cell.test_store), model, folder / "evaluation", protocol=protocol, device=cell.config.device
    )
    levels = {"sample": evaluation.samples, "presentation": evaluation.presentations or evaluation.samples}
    result = {
        "digest": cell.digest,
        "row": cell.row,
        "protocol": cell.protocol,
        "seed": cell.seed,
        "model": model.relative_to(out).as_posix(),
        "parameters": load_json(model / "model.json")["weights"]["parameters"],
        "levels": {name: _rates(level) for name, level in levels.items()},
        "train_store": _named(cell.train_store),
        "test_store": _named(cell.test_store),
    }
    save_json(folder / "cell.json", result)
    return result


def _rates(level: Level) -> dict[str, Any]:
    intervals = {name: [found.low, found.high] for name, found in level.bootstrap.items()}
    return {"dev": asdict(level.metrics), "oracle": asdict(level.oracle), "intervals": intervals}


def _shards(store: Snapshot) -> list[str]:
    return sorted(shard.sha256 for shard in store.shards)


def _url(store: Snapshot) -> str:
    return f"{store.root}@{store.number}"


def _named(store: Snapshot) -> dict[str, Any]:
    return {"path": str(store.root), "snapshot": store.number}


def _content(path: Path) -> str:
    """What is in a weights file, or in the model folder that it names."""
    file = next((p for p in (path / "encoder.safetensors", path / "model.safetensors") if p.exists()), path)
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise TrainingError(f"{path}: cannot read these weights ({error.strerror}); check the path") from error


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
