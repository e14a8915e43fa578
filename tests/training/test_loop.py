"""The loop: means, progress, and an end as soon as a loss is no number."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from training.errors import TrainingError
from training.feed import Batch
from training.loop import fit, pick_device


class Counting:
    """A learner whose loss is the number of steps made, nan at one of them."""

    def __init__(self, bad: int = 0) -> None:
        self.steps, self.epochs, self.bad = 0, [], bad

    def begin_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def step(self, batch: Batch) -> dict[str, float]:
        self.steps += 1
        shown = {"loss": float("nan") if self.steps == self.bad else float(self.steps)}
        return shown | ({"rare": 7.0} if self.steps % 3 == 0 else {})


def batches(start: int, steps: int) -> Iterator[Batch]:
    starts.append(start)
    empty = torch.empty(0)
    yield from (Batch(empty, empty, empty, np.arange(0)) for _ in range(steps))


starts: list[int] = []


def test_history_holds_means_over_the_steps_that_had_a_term():
    starts.clear()
    calls = []
    learner = Counting()
    history = fit(
        learner,
        batches,
        stage="pretrain",
        epochs=2,
        steps=4,
        progress=lambda *call: calls.append(call),
        validate=lambda: {"dev": 0.5},
    )
    assert [(r["epoch"], r["loss"], r.get("rare"), r["dev"]) for r in history] == [
        (1, 2.5, 7.0, 0.5),
        (2, 6.5, 7.0, 0.5),
    ]
    assert learner.epochs == [1, 2]
    assert starts == [0, 4]
    assert [call[:3] for call in calls] == [("pretrain", i, 8) for i in range(1, 9)]
    assert calls[1][3] == {"epoch": 1, "loss": 1.5}


def test_a_loss_that_is_no_number_stops_the_run_and_says_where():
    learner = Counting(bad=6)
    with pytest.raises(TrainingError, match="pretrain: loss became nan in epoch 2, step 2; nothing was saved"):
        fit(learner, batches, stage="pretrain", epochs=2, steps=4)
    assert learner.steps == 6


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    assert pick_device("auto").type == "cpu"
    with pytest.raises(TrainingError, match="no GPU here"):
        pick_device("cuda")
