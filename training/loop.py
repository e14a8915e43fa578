"""The only training loop: updates, curves, validation, checkpoints, and the checks that stop a run gone wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.batch import Batch
from training.config import LoopConfig
from training.errors import TrainingError
from training.methods import Learner, Moment, Network
from training.runtime import average_buffers, average_gradients, learning_rate_factor

Progress = Callable[[str, int, int, dict[str, float]], None]


@dataclass
class Position:
    """How far a run is: all of the loop's own state. Everything in it is JSON."""

    update: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)  # of the epoch that is under way
    counts: dict[str, int] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)  # epoch and value of the best validation


class Keeper(Protocol):
    """Where checkpoints go (training/checkpoints.py)."""

    def save(self, position: Position, *, best: bool) -> None:
        """Write the whole state, atomically; `best` when this epoch's validation is the best so far."""


class Curves(Protocol):
    """Where curves go (training/track.py)."""

    def scalars(self, update: int, values: Mapping[str, float]) -> None:
        """One point of each."""

    def network(self, update: int, name: str, network: Network) -> None:
        """What the network makes of the same samples every time."""


@dataclass
class Training:
    """What is trained: the learner, its network, their optimisers under Fabric and the averaged copy if asked for."""

    learner: Learner
    network: Network
    fabric: Fabric
    config: LoopConfig
    seed: int
    optimisers: dict[str, Any] = field(init=False)
    averaged: AveragedModel | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.learner.nets.to(self.fabric.device)
        for parameter in self.learner.nets.parameters():
            # channels last halves a training step on CPU (8.3 -> 4.9 ms a sample at depth 56, two threads)
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.base_rates = {n: [g["lr"] for g in o.param_groups] for n, o in self.learner.optimisers.items()}
        self.optimisers = {n: self.fabric.setup_optimizers(o) for n, o in self.learner.optimisers.items()}
        if self.config.ema is not None:
            decay = get_ema_multi_avg_fn(self.config.ema)
            self.averaged = AveragedModel(self.network, multi_avg_fn=decay, use_buffers=True)

    @property
    def kept(self) -> Network:
        """The network whose weights the run is for: the averaged one where there is one."""
        kept = self.averaged.module if self.averaged is not None else self.network
        assert isinstance(kept, Network)
        return kept

    def update(self, batches: Sequence[Batch], moment: Moment) -> dict[str, float]:
        """One update of every optimiser that has an objective now; returns all terms, means over the batches."""
        # chance (dropout, noise) follows from the position as well, so that a checkpoint needs no generator's state
        torch.manual_seed(hash((self.seed, moment.update, self.fabric.global_rank)))
        rounds = [self.learner.losses(batch, moment) for batch in batches]
        shown: dict[str, torch.Tensor] = {}
        while True:
            name = ""
            for turn in rounds:
                with self.fabric.autocast():
                    objective = next(turn, None)
                if objective is None:
                    continue
                if not name:
                    name = objective.optimiser
                    self.learner.optimisers[name].zero_grad(set_to_none=True)
                self.fabric.backward(torch.stack(list(objective.terms.values())).sum() / len(batches))
                for key, value in {**objective.terms, **objective.shown}.items():
                    shown[key] = shown.get(key, 0) + value.detach().float() / len(batches)
            if not name:
                break
            self._descend(name)
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)
        # one transfer for all of them; the mean over processes, so that all judge the same numbers
        means = self.fabric.all_reduce(torch.stack(list(shown.values())), reduce_op="mean")
        assert isinstance(means, torch.Tensor)
        return dict(zip(shown, means.tolist(), strict=True))

    def _descend(self, name: str) -> None:
        optimiser = self.learner.optimisers[name]
        average_gradients(self.fabric, (p for group in optimiser.param_groups for p in group["params"]))
        if self.config.clip_norm is not None:
            # gradients of the other optimisers' weights are None at this point
            self.fabric.clip_gradients(
                self.learner.nets, self.optimisers[name], max_norm=self.config.clip_norm, error_if_nonfinite=False
            )
        self.optimisers[name].step()
        optimiser.zero_grad(set_to_none=True)

    def set_rates(self, factor: float) -> None:
        """Every learning rate as its method gave it, times `factor`."""
        for name, optimiser in self.learner.optimisers.items():
            for group, rate in zip(optimiser.param_groups, self.base_rates[name], strict=True):
                group["lr"] = rate * factor


def fit(
    training: Training,
    batches: Callable[[int, int], Iterator[Batch]],
    *,
    stage: str,
    epochs: int,
    updates: int,
    position: Position | None = None,
    progress: Progress | None = None,
    validate: Callable[[Network], dict[str, float]] | None = None,
    keeper: Keeper | None = None,
    curves: Curves | None = None,
) -> Position:
    """Train from `position` to the end; the history has one dict an epoch: means of the terms, validation, seconds.

    batches(first, n) yields the batches of the updates first .. first + n, `accumulate` to each. progress(stage, done,
    total, terms) is called after every update, validate(network) after every epoch. Raises TrainingError as soon as a
    term is not finite, and when the learner finds itself in trouble.
    """
    config, learner, place = training.config, training.learner, position or Position()
    while place.update < epochs * updates and not _enough(place, config):
        began = time.perf_counter()
        epoch = place.update // updates + 1
        learner.begin_epoch(epoch)
        left = epoch * updates - place.update
        stream = batches(place.update, left)
        for _ in range(left):
            training.set_rates(learning_rate_factor(config, place.update, updates, epochs))
            moment = Moment(epoch, place.update, updates)
            terms = training.update(list(islice(stream, config.accumulate)), moment)
            _refuse_nonsense(stage, terms, epoch, place.update - (epoch - 1) * updates + 1)
            place.update += 1
            for name, value in terms.items():
                place.sums[name] = place.sums.get(name, 0.0) + value
                place.counts[name] = place.counts.get(name, 0) + 1
            if progress:
                progress(stage, place.update, epochs * updates, {"epoch": epoch, **_means(place)})
            if curves and place.update % config.track_updates == 0:
                curves.scalars(place.update, {f"{stage}/{name}": value for name, value in terms.items()})
            # at an epoch's end it is saved below, with its validation
            if keeper and _is_due(config, place.update) and place.update < epoch * updates:
                keeper.save(place, best=False)
        average_buffers(training.fabric, learner.nets)
        record = {"epoch": epoch, **_means(place)} | _validation(training, validate)
        better = _is_better(record, place, learner)
        place.history.append(record | {"seconds": round(time.perf_counter() - began, 3)})
        place.sums, place.counts = {}, {}
        if curves:
            values = {f"{stage}/{name}": v for name, v in record.items() if name.startswith(("dev_", "ema_"))}
            curves.scalars(place.update, values)
            curves.network(place.update, stage, training.kept)
        if keeper:
            keeper.save(place, best=better)
        trouble = learner.trouble(place.history)
        if trouble and config.stop_on_trouble:
            raise TrainingError(f"{stage}: stopped after epoch {epoch}: {trouble}")
    return place


def _is_due(config: LoopConfig, update: int) -> bool:
    return config.checkpoint_updates is not None and update % config.checkpoint_updates == 0


def _means(place: Position) -> dict[str, float]:
    return {name: place.sums[name] / place.counts[name] for name in place.sums}


def _validation(training: Training, validate: Callable[[Network], dict[str, float]] | None) -> dict[str, float]:
    if validate is None:
        return {}
    figures: dict[str, float] = {}
    if training.fabric.is_global_zero:
        figures = validate(training.network)
        if training.averaged is not None:
            figures |= {f"ema_{name}": value for name, value in validate(training.kept).items()}
    return training.fabric.broadcast(figures)


def _is_better(record: Mapping[str, float], place: Position, learner: Learner) -> bool:
    name, sense = learner.monitor
    value = record.get(f"ema_{name}", record.get(name))
    if value is None:
        return False
    old = place.best.get("value")
    if old is not None and not (value > old if sense == "max" else value < old):
        return False
    place.best = {"epoch": record["epoch"], "value": value}
    return True


def _enough(place: Position, config: LoopConfig) -> bool:
    if config.early_stop is None or not place.history or not place.best:
        return False
    return place.history[-1]["epoch"] - place.best["epoch"] >= config.early_stop


def _refuse_nonsense(stage: str, terms: Mapping[str, float], epoch: int, step: int) -> None:
    for name, value in terms.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{stage}: {name} became {value} in epoch {epoch}, step {step}; no model was written. "
                "Lower the learning rate or the loss weights, and check the store with `pseudodepth verify`"
            )
