"""The only training loop: epochs, progress, history, and the check that stops a run that has become nonsense."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import torch

from training.errors import TrainingError
from training.feed import Batch

Progress = Callable[[str, int, int, dict[str, float]], None]


class Learner(Protocol):
    """What a method brings to the loop: its networks, their optimisers and one step."""

    def begin_epoch(self, epoch: int) -> None:
        """Set the networks' modes for epoch 1, 2, ..."""

    def step(self, batch: Batch) -> dict[str, float]:
        """Update on one batch; returns every loss term after weighting, and what else is worth a curve."""


def fit(
    learner: Learner,
    batches: Callable[[int, int], Iterator[Batch]],
    *,
    stage: str,
    epochs: int,
    steps: int,
    progress: Progress | None = None,
    validate: Callable[[], dict[str, float]] | None = None,
) -> list[dict[str, float]]:
    """Train and return one dict an epoch: the mean of each term over the steps that had it, seconds, validation.

    batches(start, steps) yields the batches from step `start` (counted over all epochs) on. progress(stage, done,
    total, terms) is called after every step. Raises TrainingError as soon as a term is not finite.
    """
    history: list[dict[str, float]] = []
    for epoch in range(1, epochs + 1):
        began = time.perf_counter()
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        learner.begin_epoch(epoch)
        for i, batch in enumerate(batches((epoch - 1) * steps, steps), 1):
            for name, value in learner.step(batch).items():
                if not math.isfinite(value):
                    raise TrainingError(
                        f"{stage}: {name} became {value} in epoch {epoch}, step {i}; nothing was saved. "
                        "Lower the learning rate or the loss weights, and check the store with `pseudodepth verify`"
                    )
                sums[name] = sums.get(name, 0.0) + value
                counts[name] = counts.get(name, 0) + 1
            if progress:
                means = {name: sums[name] / counts[name] for name in sums}
                progress(stage, (epoch - 1) * steps + i, epochs * steps, {"epoch": epoch, **means})
        record: dict[str, float] = {"epoch": epoch, **{name: sums[name] / counts[name] for name in sums}}
        if validate:
            record |= validate()
        history.append(record | {"seconds": round(time.perf_counter() - began, 3)})
    return history


def pick_device(name: str) -> torch.device:
    """ "auto" is the GPU when torch sees one; raises TrainingError for a GPU that is asked for and absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device 'cuda' was asked for, but torch sees no GPU here; use device 'cpu' or 'auto'")
    return torch.device(name)
