"""The loop: means, progress, accumulation, schedules, and an end as soon as a run makes no sense."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from training.batch import Batch
from training.config import LoopConfig, TrainConfig
from training.errors import TrainingError
from training.loop import Training, fit
from training.methods import Learner, Network, Objective
from training.runtime import learning_rate_factor, make_fabric, pick_device


class Line(Network):
    """A straight line; its loss is its one weight times the batch's mean."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0]))

    def forward(self, image):
        return self.weight * image

    def score(self, output):
        return output


class Pulling(Learner):
    """Plain gradient descent on `weight * image`: every update takes lr * mean(image) off the weight."""

    def __init__(self, bad: int = 0, trouble: dict[int, str] | None = None) -> None:
        self.line = Line()
        self.nets = nn.ModuleDict({"line": self.line})
        self.optimisers = {"line": torch.optim.SGD(self.line.parameters(), lr=0.1)}
        self.epochs, self.bad, self.troubles = [], bad, trouble or {}

    def begin_epoch(self, epoch):
        self.epochs.append(epoch)

    def losses(self, batch, moment):
        loss = self.line(batch.image).sum()
        if moment.update + 1 == self.bad:
            loss = loss * float("nan")
        rare = {"rare": torch.tensor(7.0)} if moment.update % 3 == 2 else {}
        yield Objective("line", {"loss": loss}, rare)

    def trouble(self, history):
        return self.troubles.get(len(history))


def training_of(learner, **options):
    return Training(learner, learner.line, make_fabric(TrainConfig(device="cpu")), LoopConfig(**options), seed=0)


def batches_of(value, accumulate=1):
    def batches(first: int, count: int) -> Iterator[Batch]:
        for i in range(first * accumulate, (first + count) * accumulate):
            yield Batch(torch.tensor([value(i)]), None, torch.zeros(1), np.arange(0))

    return batches


def test_history_holds_means_over_the_updates_that_had_a_term():
    calls, learner = [], Pulling()
    place = fit(
        training_of(learner),
        batches_of(lambda i: 1.0),
        stage="pull",
        epochs=2,
        updates=4,
        progress=lambda *call: calls.append(call),
        validate=lambda net: {"dev_auc": 0.5},
    )
    # the weight goes 1, .9, .8, ...
    got = [(r["epoch"], pytest.approx(r["loss"]), r.get("rare"), r["dev_auc"]) for r in place.history]
    assert got == [(1, 0.85, 7.0, 0.5), (2, 0.45, 7.0, 0.5)]
    assert learner.epochs == [1, 2]
    assert [call[:3] for call in calls] == [("pull", i, 8) for i in range(1, 9)]
    assert calls[1][3] == {"epoch": 1, "loss": pytest.approx(0.95)}


def test_accumulated_batches_count_as_one_of_their_mean():
    weights = []
    for accumulate, values in ((1, lambda i: 2.0 + i), (2, lambda i: 2.0 + i // 2 + (-1) ** i)):
        learner = Pulling()
        training = training_of(learner, accumulate=accumulate)
        fit(training, batches_of(values, accumulate), stage="pull", epochs=1, updates=5)
        weights.append(learner.line.weight.item())
    assert weights[0] == pytest.approx(1 - 0.1 * (2 + 3 + 4 + 5 + 6))
    assert weights[1] == pytest.approx(weights[0])


def test_a_gradient_is_clipped_to_its_norm():
    learner = Pulling()
    fit(training_of(learner, clip_norm=0.5), batches_of(lambda i: 100.0), stage="pull", epochs=1, updates=2)
    assert learner.line.weight.item() == pytest.approx(1 - 2 * 0.1 * 0.5, rel=1e-5)


def test_averaged_weights_lag_behind_and_are_validated_too():
    learner = Pulling()
    training = training_of(learner, ema=0.5)
    place = fit(
        training,
        batches_of(lambda i: 1.0),
        stage="pull",
        epochs=1,
        updates=2,
        validate=lambda net: {"dev_auc": net.weight.item()},
    )
    # the first update copies (.9), the second goes half way to .8
    assert training.kept.weight.item() == pytest.approx(0.85)
    assert place.history[0]["dev_auc"] == pytest.approx(0.8)
    assert place.history[0]["ema_dev_auc"] == pytest.approx(0.85)


def test_it_stops_when_dev_gets_no_better():
    dev = iter([0.6, 0.8, 0.7, 0.8, 0.9, 0.9])
    place = fit(
        training_of(Pulling(), early_stop=2),
        batches_of(lambda i: 1.0),
        stage="pull",
        epochs=6,
        updates=1,
        validate=lambda net: {"dev_auc": next(dev)},
    )
    assert len(place.history) == 4
    assert place.best == {"epoch": 2, "value": 0.8}


def test_a_loss_that_is_no_number_stops_the_run_and_says_where():
    learner = Pulling(bad=6)
    with pytest.raises(TrainingError, match="pull: loss became nan in epoch 2, step 2; no model was written"):
        fit(training_of(learner), batches_of(lambda i: 1.0), stage="pull", epochs=2, updates=4)


def test_trouble_ends_the_run_unless_it_is_to_go_on():
    learner = Pulling(trouble={2: "it drifts; do less"})
    with pytest.raises(TrainingError, match="pull: stopped after epoch 2: it drifts; do less"):
        fit(training_of(learner), batches_of(lambda i: 1.0), stage="pull", epochs=3, updates=1)
    training = training_of(learner, stop_on_trouble=False)
    assert len(fit(training, batches_of(lambda i: 1.0), stage="pull", epochs=3, updates=1).history) == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1] * 8),
        ({"warmup_updates": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"schedule": "step", "milestones": (1, 3), "gamma": 0.1}, [1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ({"schedule": "cosine"}, [(1 + np.cos(np.pi * i / 8)) / 2 for i in range(8)]),
        ({"schedule": "cosine", "warmup_updates": 4}, [0.25, 0.5, 0.75, 1, 1, 0.853553, 0.5, 0.146447]),
    ],
)
def test_learning_rates_follow_from_the_position(options, expected):
    config = LoopConfig(**options)
    assert [learning_rate_factor(config, i, 2, 4) for i in range(8)] == pytest.approx(expected, abs=1e-6)


def test_a_schedule_reaches_the_optimiser():
    learner = Pulling()
    training = training_of(learner, schedule="step", milestones=(1,), gamma=0.1)
    fit(training, batches_of(lambda i: 1.0), stage="pull", epochs=2, updates=1)
    assert learner.line.weight.item() == pytest.approx(1 - 0.1 - 0.01)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    assert pick_device("auto").type == "cpu"
    with pytest.raises(TrainingError, match="no GPU here"):
        pick_device("cuda")
    with pytest.raises(TrainingError, match="'16' needs a GPU"):
        make_fabric(TrainConfig(loop=LoopConfig(precision="16")))
