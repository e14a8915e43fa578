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
    shown: dict[str, Any] = {}

    def before(run: Run) -> None:
        shown["rows"] = _some(run.split.dev, PCA_SAMPLES, config.seed)
        shown["he_init"] = _embedding(run, shown["rows"])

    def after(run: Run) -> dict[str, Any]:
        rows = shown.pop("rows")
        picked = run.data.table.select(["sample_id", "label", "attack"]).take(rows).to_pydict()
        save_json(out / "embedding.json", {"samples": "dev", **picked, **shown, "pretrained": _embedding(run, rows)})
        assert isinstance(run.kept, Generator)
        about = {"method": PDGANGenerator.name, "role": "encoder"}
        steps = (config.pdgan.adversarial_epochs if config.pdgan.adversarial else 0) * run.updates
        return {
            "encoder_sha256": save_weights(out / "encoder.safetensors", run.kept.encoder, about),
            "adversarial_steps": steps,
            "critic_steps": steps // config.pdgan.critic_every,
        }

    base = base_config(config)
    return train(store, out, PDGANGenerator(), config.pdgan, base, progress, before=before, after=after)


def _embedding(run: Run, rows: Rows) -> dict[str, Any]:
    assert isinstance(run.kept, Generator)
    return project(embed(run.kept.encoder, run.feed, rows))


def _some(rows: Rows, count: int, seed: int) -> Rows:
    return np.sort(np.random.default_rng([seed, 7]).permutation(rows)[:count])
