"""PDGAN's pre-training: a store of images and pseudo-depth to a depth generator and its encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from training.checkpoint import save_json, save_weights
from training.config import TrainConfig
from training.embedding import embed, project
from training.loop import Progress
from training.methods.pdgan import Generator, PDGANConfig, PDGANGenerator
from training.splits import Rows
from training.train import Run, base_config, train

PCA_SAMPLES = 600  # enough for a picture, embedded twice


class PretrainConfig(TrainConfig):
    """Settings of `pretrain`; `pdgan` holds the method's own."""

    pdgan: PDGANConfig = PDGANConfig()


def pretrain(store: str, out: Path, config: PretrainConfig, progress: Progress | None = None) -> Path:
    """Train PDGAN's generator on the train split and write it to `out`; returns `out`.

    Writes a model folder (training/train.py): the generator, which may be evaluated by its mean depth. Beside it are
    encoder.safetensors (what `finetune` starts from) and embedding.json (PCA of the dev samples before and after).
    Raises as `train` does.
    """
    return train(store, out, PDGANGenerator(), config.pdgan, base_config(config), progress, _Encoder(config.pdgan))


class _Encoder:
    """The files beside the generator's: its encoder, and what the encoder sees before and after."""

    def __init__(self, config: PDGANConfig) -> None:
        self.config = config

    def before(self, run: Run) -> None:
        self.rows = _some(run.split.dev, PCA_SAMPLES, run.config.seed)
        self.untrained = _embedding(run, self.rows)

    def after(self, run: Run) -> dict[str, Any]:
        picked = run.data.table.select(["sample_id", "label", "attack"]).take(self.rows).to_pydict()
        panels = {"he_init": self.untrained, "pretrained": _embedding(run, self.rows)}
        save_json(run.out / "embedding.json", {"samples": "dev", **picked, **panels})
        assert isinstance(run.kept, Generator)
        about = {"method": PDGANGenerator.name, "role": "encoder"}
        steps = (self.config.adversarial_epochs if self.config.adversarial else 0) * run.updates
        return {
            "encoder_sha256": save_weights(run.out / "encoder.safetensors", run.kept.encoder, about),
            "adversarial_steps": steps,
            "critic_steps": steps // self.config.critic_every,
        }


def _embedding(run: Run, rows: Rows) -> dict[str, Any]:
    assert isinstance(run.kept, Generator)
    return project(embed(run.kept.encoder, run.feed, rows))


def _some(rows: Rows, count: int, seed: int) -> Rows:
    return np.sort(np.random.default_rng([seed, 7]).permutation(rows)[:count])
