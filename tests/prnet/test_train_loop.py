"""Training: it learns, it can be stopped anywhere, and it refuses to go on with nonsense."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from prnet.errors import WeightsError
from prnet.model import PRNet
from prnet.train.augment import AugmentConfig
from prnet.train.evaluate import evaluate, network_predicts
from prnet.train.faces import Faces, write_faces
from prnet.train.loop import STATE, TrainConfig, Trainer, fit
from prnet.weights_file import write_weights
from tests.fixtures.faces import in_turn, mesh, rendered

STILL = AugmentConfig(rotation=0, translation=0, scale=(1, 1), colour=(1, 1), mirror=0, occluders=0)
CONFIG = TrainConfig(
    width=1 / 4,
    size=64,
    batch=4,
    steps=240,
    learning_rate=1e-2,
    halve_every=40,
    ema=0.95,
    settle=0.7,
    norm_momentum=0.1,
    augment=STILL,
    threads=1,
)


def source(start: int):
    return in_turn(rendered(), start)


def test_a_small_network_learns_a_few_heads_by_heart(tmp_path: Path) -> None:
    trainer = fit(mesh(), [(source, 4)], tmp_path, CONFIG)
    losses = [row["loss"] for row in trainer.history]
    assert losses[-1] < 0.45 * losses[0], losses
    # and what is stored, and judged as any network is, is what has been learned
    write_weights(tmp_path / "prnet.safetensors", trainer.average, trainer.grid.layout, {})
    write_faces(tmp_path / "pool", rendered(), {})
    model, pool = PRNet.load(tmp_path / "prnet.safetensors", "cpu"), Faces([tmp_path / "pool"])
    figures = evaluate(network_predicts(model, mesh()), pool, range(4), mesh(), 64)[-1]
    assert (figures.source, figures.faces) == ("rendered", 4)
    assert figures.dense_2d < 12, figures
    assert figures.dense_2d < figures.dense_3d < 15, figures
    # the truth itself has no error, one moved by a tenth of the box's side has 10 %
    exact = partial(moved_truth, by=0.0)
    assert evaluate(exact, pool, range(4), mesh(), 64)[-1].dense_3d < 1e-3
    assert evaluate(partial(moved_truth, by=0.1), pool, range(4), mesh(), 64)[-1].landmarks_2d == pytest.approx(10)


def moved_truth(faces: list, by: float) -> np.ndarray:
    vertices = np.stack([face.vertices for face in faces])
    side = np.sqrt(np.ptp(vertices[..., :2], axis=1).prod(1))
    vertices = vertices + np.array([(64 - 96) / 2] * 2 + [40.0])  # the crop's corner; the offset in z is no error
    vertices[..., 0] += by * side[:, None]
    return vertices.astype(np.float32)


def test_a_stopped_training_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 12, "settle": 0.5, "augment": AugmentConfig()})
    sources = [(source, 3), (source, 1)]
    whole = fit(mesh(), sources, tmp_path / "whole", config)
    for stop in (3, 8, 12):  # before and after the batch norms settle
        parts = fit(mesh(), sources, tmp_path / "parts", config, stop_after=stop)
        assert parts.step == stop
    for name, value in whole.average.tensors().items():
        assert torch.equal(value, parts.average.tensors()[name]), name
    assert torch.equal(whole.network.stem.conv.weight, parts.network.stem.conv.weight)


def test_another_seed_is_another_training(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 2})
    trained = [
        fit(mesh(), [(source, 4)], tmp_path / str(seed), config.model_copy(update={"seed": seed})) for seed in (0, 1)
    ]
    assert not torch.equal(trained[0].network.stem.conv.weight, trained[1].network.stem.conv.weight)


def test_a_state_of_other_settings_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 2})
    fit(mesh(), [(source, 4)], tmp_path, config)
    with pytest.raises(WeightsError, match="other settings"):
        fit(mesh(), [(source, 4)], tmp_path, config.model_copy(update={"learning_rate": 1e-3}))
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:1000])
    with pytest.raises(WeightsError, match="not a training state"):
        fit(mesh(), [(source, 4)], tmp_path, config)


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    broken = tuple(replace(face, vertices=np.full_like(face.vertices, np.nan)) for face in rendered())
    with pytest.raises(WeightsError, match="the loss became nan in step 1"):
        fit(mesh(), [(partial(in_turn, broken), 4)], tmp_path, CONFIG)
    assert not (tmp_path / STATE).exists()


def test_the_rate_is_halved_on_schedule_and_batch_norms_settle() -> None:
    config = CONFIG.model_copy(update={"warmup": 4, "steps": 4, "settle": 0.5})
    trainer = Trainer(mesh(), [(source, 4)], config)
    assert [trainer.rate(step) / 1e-2 for step in (0, 3, 40, 80)] == [0.25, 1, 0.5, 0.25]
    means = []
    for batch in trainer.batches(0):
        trainer.update(*batch)
        means.append(trainer.network.stem.norm.running_mean.clone())
    assert not torch.equal(means[0], means[1]), "first they follow the batches"
    assert torch.equal(means[1], means[3]), "then they stand still"


def test_sources_must_fill_a_batch() -> None:
    with pytest.raises(WeightsError, match="do not make a batch of 4"):
        Trainer(mesh(), [(source, 3)], CONFIG)


def test_curves_need_an_extra_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config = CONFIG.model_copy(update={"steps": 1, "tensorboard": True})
    with pytest.raises(WeightsError, match=r"pip install 'pseudodepth\[tensorboard\]'"):
        fit(mesh(), [(source, 4)], tmp_path, config)
