"""Any method, from a store to a model folder: data, network, loop, threshold, files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric

from storage.dataset import DepthDataset
from training import metrics
from training.batch import Batch
from training.card import lineage, model_card
from training.checkpoint import prepare_folder, save_json, save_model
from training.clips import split_of_clips
from training.config import TrainConfig
from training.errors import TrainingError
from training.feed import Feed
from training.loop import Progress, Training, fit
from training.methods import Learner, Method, Network, Settings
from training.resume import Checkpoints
from training.runtime import make_fabric
from training.scoring import score_rows, scores_of
from training.splits import BalancedSampler, Split, groups_of, split_train_dev
from training.track import watch


@dataclass
class Run:
    """A training that is set up: what an Extra may look at before and after it."""

    data: DepthDataset
    split: Split
    feed: Feed
    learner: Learner
    network: Network
    kept: Network
    config: TrainConfig
    out: Path
    updates: int  # an epoch


class Extra(Protocol):
    """What one command does beside training. It travels to the processes of a run, so it is a class of a module."""

    def before(self, run: Run) -> None:
        """Called with the untrained network."""

    def after(self, run: Run) -> dict[str, Any]:
        """Called with the trained network in the first process; what it returns goes into model.json."""


def train(
    store: str,
    out: Path,
    method: Method[Any],
    settings: Settings,
    config: TrainConfig,
    progress: Progress | None = None,
    extra: Extra | None = None,
) -> Path:
    """Train a method on the train split and write a model folder to `out`; returns `out`.

    Writes model.safetensors, model.json (network, input, preprocessing, polarity, dev threshold, lineage; written
    last), history.json (loss terms an epoch, after weighting), checkpoints/ and tensorboard/. The threshold is the EER
    threshold of the dev samples, which are plain crops of subjects that were not trained on. A killed run is continued
    by the same call.

    Raises TrainingError for weights that do not fit, a store without both classes on both sides, an `out` that cannot
    be written (before any training), checkpoints of another run in `out`, or a loss that is not finite.
    """
    fabric = make_fabric(config)
    job = _Job(store, out, method, settings, config, extra)
    if config.loop.devices == 1:
        _work(fabric, job, progress)
    else:
        _in_processes(fabric, job, progress)
    return out


@dataclass(frozen=True)
class _Job:
    store: str
    out: Path
    method: Method[Any]
    settings: Settings
    config: TrainConfig
    extra: Extra | None


def _in_processes(fabric: Fabric, job: _Job, progress: Progress | None) -> None:
    """Run the work in `devices` processes; progress and errors come back to this one."""
    queue: SimpleQueue[Any] = torch.multiprocessing.get_context("spawn").SimpleQueue()

    def relay() -> None:
        while (call := queue.get()) is not None:
            if progress:
                progress(*call)

    listener = threading.Thread(target=relay, daemon=True)
    listener.start()
    try:
        problem = fabric.launch(partial(_process, job=job, queue=queue))
    finally:
        queue.put(None)
        listener.join()
    if problem:
        raise TrainingError(problem)


def _process(fabric: Fabric, *, job: _Job, queue: SimpleQueue[Any]) -> str | None:
    # an error is the same in every process (losses are averaged before they are judged): all return, none waits
    try:
        _work(fabric, job, (lambda *call: queue.put(call)) if fabric.is_global_zero else None)
    except TrainingError as error:
        return str(error)
    return None


def _work(fabric: Fabric, job: _Job, progress: Progress | None) -> None:
    method, config, out, extra = job.method, job.config, job.out, job.extra
    settings = job.settings
    data = DepthDataset(job.store, mask=method.targets(settings).mask)
    split = split_train_dev(data.table, seed=config.seed, dev_share=config.dev_share, protocol=config.protocol)
    split = split_of_clips(split, data.table, method.targets(settings))
    settings = method.adapted(settings, data.table.take(split.train))
    arguments = method.network_arguments(settings)
    network = method.network(**arguments)
    learner = method.learner(network, settings, config.seed)
    prepare_folder(out)
    targets = method.targets(settings)
    feed = Feed(data, input_size=config.input_size, targets=targets, batch=config.batch, device=fabric.device)
    sampler = BalancedSampler(groups_of(data.table, split.train, config.balance), config.seed)
    training = Training(learner, network, fabric, config.loop, config.seed)
    run = Run(data, split, feed, learner, network, training.kept, config, out, updates_an_epoch(split, config))
    if extra and fabric.is_global_zero:
        extra.before(run)
    about = {"settings": settings.model_dump(mode="json"), "config": config.model_dump(mode="json")}
    watched = {"loop": {"keep", "checkpoint_updates", "track", "track_updates", "early_stop", "stop_on_trouble"}}
    identity = {"method": method.name, **about, "config": config.model_dump(mode="json", exclude=watched)}
    checkpoints = Checkpoints(out / "checkpoints", training, identity | lineage(data, split), config.loop.keep)
    position = checkpoints.resume()

    def batches(first: int, count: int) -> Iterator[Batch]:
        each = config.loop.accumulate * fabric.world_size
        mine = range(first * each + fabric.global_rank, (first + count) * each, fabric.world_size)
        return feed.train(sampler, mine, config.augment, config.seed)

    trackers = config.loop.track if fabric.is_global_zero else ()
    with torch.random.fork_rng(), watch(trackers, out, method.name, about, feed, split.dev, position.update) as curves:
        fit(
            training,
            batches,
            stage=method.name,
            epochs=method.epochs(settings),
            updates=run.updates,
            position=position,
            progress=progress,
            validate=lambda net: dev_figures(learner, net, feed, split.dev),
            keeper=checkpoints,
            curves=curves,
        )
    if not fabric.is_global_zero:
        return
    chosen = checkpoints.load_best() if config.loop.select == "best" else position.history[-1]
    scores = score_rows("dev", training.kept, feed, split.dev)
    more = extra.after(run) if extra else {}
    save_json(out / "history.json", position.history)
    card = model_card(method, arguments, data, feed.targets, config.input_size, scores) | more | lineage(data, split)
    save_model(out, training.kept, card | {"training": {**learner.origin, "epoch": chosen["epoch"], **about}})
    checkpoints.finish()


def base_config(config: TrainConfig) -> TrainConfig:
    """The part of a command's settings that every run has."""
    return TrainConfig(**{name: getattr(config, name) for name in TrainConfig.model_fields})


def updates_an_epoch(split: Split, config: TrainConfig) -> int:
    """As many samples an epoch as train has, whatever the classes' sizes; at least one update."""
    return max(1, len(split.train) // (config.batch * config.loop.accumulate * config.loop.devices))


@torch.no_grad()
def dev_figures(learner: Learner, net: Network, feed: Feed, rows: np.ndarray) -> dict[str, float]:
    """dev_auc and dev_eer of the scores, and the learner's own errors: dev_X and its mean of live and of spoof."""
    net.eval()
    score: list[np.ndarray] = []
    errors: dict[str, list[np.ndarray]] = {}
    for batch in feed.plain(rows):
        output = net(batch.image)
        score.append(net.score_batch(output, batch).cpu().numpy())
        for name, values in learner.validate(output, batch).items():
            errors.setdefault(name, []).append(values.cpu().numpy())
    scores = scores_of("dev", feed, rows, np.concatenate(score))
    figures = {"dev_auc": metrics.auc(scores), "dev_eer": metrics.equal_error_rate(scores)}
    label = feed.data.table.column("label").to_numpy()[rows]
    for name, parts in errors.items():
        live, spoof = (float(np.concatenate(parts)[label == value].mean()) for value in (0, 1))
        figures |= {f"dev_{name}_live": live, f"dev_{name}_spoof": spoof, f"dev_{name}": (live + spoof) / 2}
    return figures
