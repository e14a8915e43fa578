"""Fine-tuning: an encoder (pre-trained or new) to a liveness classifier with a threshold from dev."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from storage.dataset import DepthDataset
from training import metrics
from training.checkpoint import load_weights, prepare_folder, save_json, save_model
from training.feed import Feed
from training.loop import Progress, fit, pick_device
from training.methods.pdgan import Classifier, ClassifierLearner
from training.methods.resnet import he_init
from training.pretrain import TrainConfig, lineage, steps_an_epoch
from training.scoring import score_rows
from training.splits import BalancedSampler, by_label, split_train_dev


class FinetuneConfig(TrainConfig):
    """Settings of `finetune`; defaults are PDGAN's within a dataset (50 epochs less the 12 of its pre-training)."""

    encoder: Path | None = Field(
        default=None, description="folder of `pretrain`, or an encoder.safetensors; none = He init"
    )
    epochs: int = Field(
        default=38, ge=1, description="38 within a dataset, 8 across; 50 and 20 for an encoder that saw no data"
    )
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    hidden: tuple[int, ...] = Field(default=(64, 32), description="widths of the perceptron's hidden layers")
    freeze_encoder_epochs: int = Field(default=0, ge=0, description="epochs in which the perceptron alone learns")


def finetune(store: str, out: Path, config: FinetuneConfig, progress: Progress | None = None) -> Path:
    """Train the classifier on the train split and write a model folder to `out`; returns `out`.

    Writes model.safetensors, model.json (network, input, preprocessing, polarity, dev threshold, lineage; written last)
    and history.json. The threshold is the EER threshold of the dev samples, which are plain crops of subjects that were
    not trained on. Raises TrainingError for weights that do not fit, a store without both classes on both sides, an
    `out` that cannot be written (before any training), or a loss that is not finite.
    """
    device = pick_device(config.device)
    data = DepthDataset(store)
    split = split_train_dev(data.table, seed=config.seed, dev_share=config.dev_share, protocol=config.protocol)
    model = Classifier(config.hidden)
    he_init(model, torch.Generator().manual_seed(config.seed))
    started = _load_encoder(model, config.encoder)
    prepare_folder(out)
    feed = Feed(data, input_size=config.input_size, depth_size=None, batch=config.batch, device=device)
    sampler = BalancedSampler(by_label(data.table, split.train), config.seed)
    learner = ClassifierLearner(
        model, lr=config.lr, betas=config.betas, freeze_encoder_epochs=config.freeze_encoder_epochs, device=device
    )

    def dev_scores() -> metrics.Scores:
        return score_rows("dev", model, feed, split.dev)

    def validate() -> dict[str, float]:
        scores = dev_scores()
        return {"dev_auc": metrics.auc(scores), "dev_eer": metrics.equal_error_rate(scores)}

    history = fit(
        learner,
        lambda start, n: feed.train(sampler, start * config.batch, n, config.colour, config.seed),
        stage="finetune",
        epochs=config.epochs,
        steps=steps_an_epoch(split, config),
        progress=progress,
        validate=validate,
    )
    scores = dev_scores()
    threshold = metrics.eer_threshold(scores)
    save_json(out / "history.json", history)
    save_model(out, model, _card(config, data, scores, threshold, started) | lineage(data, split))
    return out


def _load_encoder(model: Classifier, path: Path | None) -> dict[str, Any]:
    if path is None:
        return {"init": "he", "encoder": None}
    file = path / "encoder.safetensors" if path.is_dir() else path
    load_weights(file, model.encoder)
    return {"init": "pretrained", "encoder": str(file)}


def _card(
    config: FinetuneConfig,
    data: DepthDataset,
    scores: metrics.Scores,
    threshold: metrics.Threshold,
    started: dict[str, Any],
) -> dict[str, Any]:
    counts = {attack: len(scores.species(attack)) for attack in scores.attacks}
    return {
        "method": "pdgan",
        "network": {"hidden": list(config.hidden)},
        "input": {
            "size": config.input_size,
            "colour": "RGB",
            "layout": "NCHW",
            "range": [0, 1],
            "mean": [0, 0, 0],
            "std": [1, 1, 1],
            "crop": data.snapshot.config,  # the store's build settings: detector, margin, size, ...
        },
        "output": {"name": "score", "meaning": "sigmoid(logit); higher = more live", "positive_class": "live"},
        "threshold": {
            **asdict(threshold),
            "accept": "score >= value",
            "live": len(scores.live),
            "spoof": len(scores.spoof),
            "per_attack": counts,
            "dev_eer": metrics.equal_error_rate(scores),
            "dev_auc": metrics.auc(scores),
        },
        "thresholds": {name: asdict(other) for name, other in metrics.dev_thresholds(scores).items()},
        "training": {**started, "config": config.model_dump(mode="json")},
    }
