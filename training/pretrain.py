"""Pre-training: a store of images and pseudo-depth to a folder with a depth generator and its encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn.functional import l1_loss

from storage.dataset import DepthDataset
from training.augment import ColourConfig
from training.checkpoint import prepare_folder, save_json, save_weights
from training.embedding import embed, project
from training.feed import Feed
from training.loop import Progress, fit, pick_device
from training.methods.pdgan import PDGANConfig, PDGANLearner
from training.splits import BalancedSampler, Rows, Split, by_label, split_train_dev

PCA_SAMPLES = 600  # enough for a picture, embedded twice


class TrainConfig(BaseModel):
    """What every training run is asked: batches, chance, who is held back, where it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int = Field(default=32, ge=2, multiple_of=2, description="half of it live, half spoof")
    input_size: int = Field(
        default=224, ge=64, description="side of the network's input; stored crops of another size are resized"
    )
    seed: int = Field(default=0, ge=0)
    protocol: str | None = Field(
        default=None, description="name of a protocol, or a YAML file of your own; none: the store's own splits"
    )
    dev_share: float = Field(default=0.2, gt=0, lt=1, description="of train's subjects, if the store has no dev split")
    colour: ColourConfig | None = ColourConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"


class PretrainConfig(TrainConfig):
    """Settings of `pretrain`; `pdgan` holds the method's own."""

    pdgan: PDGANConfig = PDGANConfig()


def pretrain(store: str, out: Path, config: PretrainConfig, progress: Progress | None = None) -> Path:
    """Train PDGAN's generator on the train split and write it to `out`; returns `out`.

    Writes encoder.safetensors (what `finetune` starts from), generator.safetensors (encoder and decoder), history.json
    (loss terms an epoch, after weighting), embedding.json (PCA of the dev samples before and after) and config.json
    (settings, store, split, weights' hashes), the last one last: a folder that has it is whole.
    Raises TrainingError for a store without both classes on both sides, an `out` that cannot be written (before any
    training), or a loss that is not finite.
    """
    device = pick_device(config.device)
    data = DepthDataset(store)
    split = split_train_dev(data.table, seed=config.seed, dev_share=config.dev_share, protocol=config.protocol)
    prepare_folder(out)
    size = config.pdgan.depth_size
    feed = Feed(data, input_size=config.input_size, depth_size=size, batch=config.batch, device=device)
    sampler = BalancedSampler(by_label(data.table, split.train), config.seed)
    learner = PDGANLearner(config.pdgan, seed=config.seed, device=device)
    shown = _some(split.dev, PCA_SAMPLES, config.seed)
    before = project(embed(learner.encoder, feed, shown))
    steps = steps_an_epoch(split, config)
    history = fit(
        learner,
        lambda start, n: feed.train(sampler, start * config.batch, n, config.colour, config.seed),
        stage="pretrain",
        epochs=config.pdgan.epochs,
        steps=steps,
        progress=progress,
        validate=lambda: _depth_errors(learner, feed, split.dev),
    )
    after = project(embed(learner.encoder, feed, shown))
    about = {"method": "pdgan", "role": "encoder"}
    hashes = {"encoder": save_weights(out / "encoder.safetensors", learner.encoder, about)}
    generator = torch.nn.ModuleDict({"encoder": learner.encoder, "decoder": learner.decoder})
    hashes["generator"] = save_weights(out / "generator.safetensors", generator, about | {"role": "generator"})
    save_json(out / "history.json", history)
    picked = data.table.select(["sample_id", "label", "attack"]).take(shown).to_pydict()
    save_json(out / "embedding.json", {"samples": "dev", **picked, "he_init": before, "pretrained": after})
    done = {"adversarial_steps": learner.adversarial_steps, "critic_steps": learner.critic_steps}
    card = {"method": "pdgan", "steps_an_epoch": steps, **done, "weights_sha256": hashes}
    save_json(out / "config.json", {**card, "config": config.model_dump(mode="json"), **lineage(data, split)})
    return out


def steps_an_epoch(split: Split, config: TrainConfig) -> int:
    """As many samples an epoch as train has, whatever the classes' sizes; at least one batch."""
    return max(1, len(split.train) // config.batch)


def lineage(data: DepthDataset, split: Split) -> dict[str, Any]:
    """What was trained on: the store's snapshot, and who was on which side."""
    return {
        "store": {"path": str(data.snapshot.root), "snapshot": data.snapshot.number},
        "split": {
            "protocol": split.protocol,
            "dev_is": split.rule,
            "train_samples": len(split.train),
            "dev_samples": len(split.dev),
            "train_subjects": split.train_subjects,
            "dev_subjects": split.dev_subjects,
        },
    }


@torch.no_grad()
def _depth_errors(learner: PDGANLearner, feed: Feed, rows: Rows) -> dict[str, float]:
    """Mean |target - generated| on dev, live and spoof apart: all-zero output would look fine in the mean of both."""
    learner.encoder.eval()
    learner.decoder.eval()
    errors, labels = [], []
    for batch in feed.plain(rows):
        fake = learner.generate(batch.image)
        errors.append(l1_loss(fake, batch.depth, reduction="none").mean(dim=(1, 2, 3)).cpu().numpy())
        labels.append(batch.label.cpu().numpy())
    error, label = np.concatenate(errors), np.concatenate(labels)
    return {"dev_l1_live": float(error[label == 0].mean()), "dev_l1_spoof": float(error[label == 1].mean())}


def _some(rows: Rows, count: int, seed: int) -> Rows:
    return np.sort(np.random.default_rng([seed, 7]).permutation(rows)[:count])
