"""Any method, from a store to a model folder: data, network, loop, threshold, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from storage.dataset import DepthDataset
from training import metrics
from training.batch import Batch
from training.checkpoint import prepare_folder, save_json, save_model
from training.config import TrainConfig
from training.feed import Feed
from training.loop import Position, Progress, Training, fit
from training.methods import Learner, Method, Network, Settings, Targets
from training.resume import Checkpoints
from training.runtime import make_fabric
from training.scoring import score_rows, scores_of
from training.splits import BalancedSampler, Split, groups_of, split_train_dev


@dataclass
class Run:
    """A training that is set up: what a caller may look at before and after it."""

    data: DepthDataset
    split: Split
    feed: Feed
    learner: Learner
    network: Network
    kept: Network
    config: TrainConfig
    updates: int  # an epoch
    position: Position


def train(
    store: str,
    out: Path,
    method: Method[Any],
    settings: Settings,
    config: TrainConfig,
    progress: Progress | None = None,
    *,
    before: Callable[[Run], None] | None = None,
    after: Callable[[Run], dict[str, Any]] | None = None,
) -> Path:
    """Train a method on the train split and write a model folder to `out`; returns `out`.

    Writes model.safetensors, model.json (network, input, preprocessing, polarity, dev threshold, lineage; written
    last), history.json (loss terms an epoch, after weighting) and checkpoints/. The threshold is the EER threshold of
    the dev samples, which are plain crops of subjects that were not trained on. A killed run is continued by the same
    call. before(run) is called with the untrained network, after(run) with the trained one; what it returns is put
    into model.json.

    Raises TrainingError for weights that do not fit, a store without both classes on both sides, an `out` that cannot
    be written (before any training), checkpoints of another run in `out`, or a loss that is not finite.
    """
    fabric = make_fabric(config)
    data = DepthDataset(store)
    split = split_train_dev(data.table, seed=config.seed, dev_share=config.dev_share, protocol=config.protocol)
    settings = method.adapted(settings, data.table.take(split.train))
    arguments = method.network_arguments(settings)
    network = method.network(**arguments)
    learner = method.learner(network, settings, config.seed)
    prepare_folder(out)
    targets = method.targets(settings)
    feed = Feed(data, input_size=config.input_size, targets=targets, batch=config.batch, device=fabric.device)
    sampler = BalancedSampler(groups_of(data.table, split.train, config.balance), config.seed)
    training = Training(learner, network, fabric, config.loop, config.seed)
    updates, epochs = updates_an_epoch(split, config), method.epochs(settings)
    run = Run(data, split, feed, learner, network, training.kept, config, updates, Position())
    if before:
        before(run)
    about = {
        "method": method.name,
        "settings": settings.model_dump(mode="json"),
        "config": config.model_dump(
            mode="json", exclude={"loop": {"keep", "checkpoint_updates", "track", "early_stop"}}
        ),
        **lineage(data, split),
    }
    checkpoints = Checkpoints(out / "checkpoints", training, about, config.loop.keep)
    run.position = checkpoints.resume()

    def batches(first: int, count: int) -> Iterator[Batch]:
        each = config.loop.accumulate * fabric.world_size
        mine = range(first * each + fabric.global_rank, (first + count) * each, fabric.world_size)
        return feed.train(sampler, mine, config.colour, config.seed)

    fit(
        training,
        batches,
        stage=method.name,
        epochs=epochs,
        updates=updates,
        position=run.position,
        progress=progress,
        validate=lambda net: dev_figures(learner, net, feed, split.dev),
        keeper=checkpoints,
    )
    if fabric.is_global_zero:
        chosen = (
            checkpoints.load_best() if config.loop.select == "best" else {"epoch": run.position.history[-1]["epoch"]}
        )
        scores = score_rows("dev", training.kept, feed, split.dev)
        extra = after(run) if after else {}
        save_json(out / "history.json", run.position.history)
        card = _card(method, arguments, run, targets, scores)
        card["training"] = {
            **learner.origin,
            "epoch": chosen,
            "settings": settings.model_dump(mode="json"),
            "config": config.model_dump(mode="json"),
        }
        save_model(out, training.kept, card | extra | lineage(data, split))
        checkpoints.finish()
    return out


def base_config(config: TrainConfig) -> TrainConfig:
    """The part of a command's settings that every run has."""
    return TrainConfig(**{name: getattr(config, name) for name in TrainConfig.model_fields})


def updates_an_epoch(split: Split, config: TrainConfig) -> int:
    """As many samples an epoch as train has, whatever the classes' sizes; at least one update."""
    return max(1, len(split.train) // (config.batch * config.loop.accumulate * config.loop.devices))


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
def dev_figures(learner: Learner, net: Network, feed: Feed, rows: np.ndarray) -> dict[str, float]:
    """dev_auc and dev_eer of the scores, and the learner's own errors: dev_X and its mean of live and of spoof."""
    net.eval()
    score: list[np.ndarray] = []
    errors: dict[str, list[np.ndarray]] = {}
    for batch in feed.plain(rows):
        output = net(batch.image)
        score.append(net.score(output.double()).cpu().numpy())
        for name, values in learner.validate(output, batch).items():
            errors.setdefault(name, []).append(values.cpu().numpy())
    scores = scores_of("dev", feed, rows, np.concatenate(score))
    figures = {"dev_auc": metrics.auc(scores), "dev_eer": metrics.equal_error_rate(scores)}
    label = feed.data.table.column("label").to_numpy()[rows]
    for name, parts in errors.items():
        live, spoof = (float(np.concatenate(parts)[label == value].mean()) for value in (0, 1))
        figures |= {f"dev_{name}_live": live, f"dev_{name}_spoof": spoof, f"dev_{name}": (live + spoof) / 2}
    return figures


def _card(
    method: Method[Any], arguments: dict[str, Any], run: Run, targets: Targets, scores: metrics.Scores
) -> dict[str, Any]:
    threshold = metrics.eer_threshold(scores)
    return {
        "method": method.name,
        "network": arguments,
        "input": {
            "size": run.config.input_size,
            "colour": "RGB",
            "layout": "NCHW",
            "range": [0, 1],
            "mean": [0, 0, 0],
            "std": [1, 1, 1],
            "frames": targets.frames,
            "interval": targets.interval,
            "crop": run.data.snapshot.config,  # the store's build settings: detector, margin, size, ...
        },
        "output": {"name": "score", "meaning": "higher = more live", "positive_class": "live"},
        "threshold": {
            **asdict(threshold),
            "accept": "score >= value",
            "live": len(scores.live),
            "spoof": len(scores.spoof),
            "per_attack": {attack: len(scores.species(attack)) for attack in scores.attacks},
            "dev_eer": metrics.equal_error_rate(scores),
            "dev_auc": metrics.auc(scores),
        },
        "thresholds": {name: asdict(other) for name, other in metrics.dev_thresholds(scores).items()},
    }
