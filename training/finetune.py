"""Fine-tuning: an encoder (pre-trained or new) to a liveness classifier with a threshold from dev."""

from __future__ import annotations

from pathlib import Path

from training.config import TrainConfig
from training.loop import Progress
from training.methods.pdgan_classifier import PDGAN, ClassifierConfig
from training.train import base_config, train


class FinetuneConfig(TrainConfig, ClassifierConfig):
    """Settings of `finetune`: the run's and the classifier's."""


def finetune(store: str, out: Path, config: FinetuneConfig, progress: Progress | None = None) -> Path:
    """Train PDGAN's classifier on the train split and write a model folder to `out`; returns `out`.

    Raises as `train` does.
    """
    settings = ClassifierConfig(**{name: getattr(config, name) for name in ClassifierConfig.model_fields})
    return train(store, out, PDGAN(), settings, base_config(config), progress)
