"""The other published methods: sizes as published, signs, that each can learn, and that its export is itself."""

import numpy as np
import pytest
import torch

from liveness.model import LivenessModel
from storage.dataset import DepthDataset
from tests.fixtures.balls import FAST, SIZE
from training.batch import Batch
from training.config import TrainConfig
from training.errors import TrainingError
from training.evaluate import evaluate, read_scores
from training.export import export
from training.methods import Moment, get_method, parameters
from training.methods.cdcn import SpatialAttention
from training.methods.convolution import CentralDifferenceConv2d
from training.train import train

EPOCHS = 8
# small and quick versions of each; what is not here is as published
QUICK = {
    "pixelwise-depth": {"width": 4, "depth_size": SIZE, "lr": 5e-3},
    "pixelwise-binary": {"width": 4, "lr": 5e-3},
    "deepixbis": {"growth": 6, "map_size": SIZE // 16, "lr": 5e-3},
    "cdcn": {"width": 0.1, "lr": 5e-3},
    "cdcn++": {"width": 0.1, "lr": 5e-3},
}


def made(name, seed=0, **settings):
    """A method's network and learner."""
    method = get_method(name)
    chosen = method.settings(**settings)
    network = method.network(**method.network_arguments(chosen))
    return network, method.learner(network, chosen, seed)


def batch_of(n=8, size=64, depth_size=64, seed=0):
    random = torch.Generator().manual_seed(seed)
    label = (torch.arange(n) % 2).float()
    depth = torch.rand(n, 1, depth_size, depth_size, generator=random) * (1 - label)[:, None, None, None]
    return Batch(torch.rand(n, 3, size, size, generator=random), depth, label, np.arange(n))


def depth_size_of(name):
    method = get_method(name)
    return method.targets(method.settings(**QUICK[name])).depth_size


# every method ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected", "tolerance"),
    [
        ("pixelwise-depth", 3.03e6, 5e-3),
        ("pixelwise-binary", 2.27e6, 5e-3),
        ("deepixbis", 3.1987e6, 5e-3),
        ("cdcn", 2.2450e6, 5e-3),
        ("cdcn++", 2.2574e6, 5e-3),
    ],
)
def test_networks_have_the_published_size(name, expected, tolerance):
    network, _ = made(name)
    assert parameters(network) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("name", QUICK)
def test_what_a_paper_says_of_the_run_are_settings_that_exist(name):
    method = get_method(name)
    TrainConfig.model_validate(method.run)
    assert method.reference


@pytest.mark.parametrize("name", QUICK)
def test_a_few_steps_learn_a_batch_by_heart_and_live_scores_higher(name):
    torch.manual_seed(0)
    network, learner = made(name, **QUICK[name])
    batch = batch_of(depth_size=depth_size_of(name) or SIZE)
    losses = []
    learner.begin_epoch(1)
    for step in range(30):
        (objective,) = learner.losses(batch, Moment(1, step, 99))
        loss = torch.stack(list(objective.terms.values())).sum()
        learner.optimisers[objective.optimiser].zero_grad()
        loss.backward()
        learner.optimisers[objective.optimiser].step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    with torch.no_grad():  # with the batch's own statistics: 30 steps are too few for running ones
        score = network.score(network(batch.image))
    assert score[batch.label == 0].mean() > score[batch.label == 1].mean()


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_each_method_is_trained_evaluated_and_exported(name, store, tmp_path):
    method = get_method(name)
    settings = method.settings(**{"epochs": EPOCHS, **QUICK[name]})
    model = train(str(store), tmp_path / "model", method, settings, TrainConfig(**FAST, loop={"track": []}))
    result = evaluate(str(store), model, tmp_path / "evaluation")
    assert result.metrics.auc > 0.85
    shipped = LivenessModel(export(model, tmp_path / "shipped"))  # refused where its scores are not torch's
    assert shipped.card.method == name
    data = DepthDataset(str(store), where={"split": "test", "view": 0})
    crops = np.stack([item["image"].permute(1, 2, 0).numpy() for item in data.__getitems__(range(len(data)))])
    known = read_scores(tmp_path / "evaluation" / "scores.parquet")
    assert shipped.score(crops) == pytest.approx(known.score, abs=1e-5)


# pixel-wise depth and its binary twin -----------------------------------------------


def test_depth_and_binary_network_start_from_the_same_trunk():
    (depth, _), (binary, _) = made("pixelwise-depth", seed=3), made("pixelwise-binary", seed=3)
    ours, theirs = depth.trunk.state_dict(), binary.trunk.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    image = torch.rand(1, 3, 64, 64)
    assert [f.shape[1:] for f in depth.trunk(image)] == [(16 * 2**k, 64 // 2**k, 64 // 2**k) for k in range(5)]
    assert depth(image).shape == (1, 1, 64, 64)
    assert binary(image).shape == (1,)


def test_a_map_of_another_size_than_its_target_says_which_setting():
    _, learner = made("pixelwise-depth", width=2)
    with pytest.raises(TrainingError, match=r"maps of 64 px, the targets have 32: set settings\.depth_size=64"):
        next(learner.losses(batch_of(depth_size=32), Moment(1, 0, 9)))


def test_empty_maps_for_live_faces_are_said():
    _, learner = made("pixelwise-depth", width=2)
    empty = {"dev_depth_live": 0.001, "dev_target_live": 0.3}
    assert learner.trouble([empty] * 4) is None
    assert "draws zeros" in learner.trouble([empty] * 5)
    assert learner.trouble([empty] * 4 + [{"dev_depth_live": 0.2, "dev_target_live": 0.3}]) is None


# DeePixBiS ---------------------------------------------------------------------------


def test_deepixbis_draws_14_by_14_and_each_decision_is_its_own():
    network, _ = made("deepixbis", growth=4)
    network.eval()
    with torch.no_grad():
        output = network(torch.rand(2, 3, 224, 224))
    assert output.shape == (2, 1, 14, 14)
    scores = {}
    for decision in ("map", "binary", "both"):
        network.decision = decision
        scores[decision] = network.score(output.double())
    assert torch.allclose(scores["map"], output.double().sigmoid().mean(dim=(1, 2, 3)))
    assert torch.allclose(
        scores["binary"], network.linear.double()(output.double().sigmoid().flatten(1))[:, 0].sigmoid()
    )
    assert torch.allclose(scores["both"], (scores["map"] + scores["binary"]) / 2)


def test_deepixbis_labels_every_pixel_of_a_live_map_one():
    network, learner = made("deepixbis", growth=4, map_size=2)
    network.forward = lambda image: (1 - batch.label)[:, None, None, None].expand(-1, 1, 2, 2) * 40 - 20
    batch = batch_of(size=32)
    terms = next(learner.losses(batch, Moment(1, 0, 9))).terms
    assert terms["pixels"] == pytest.approx(0, abs=1e-6)
    batch.label = 1 - batch.label
    right = network.forward(batch.image)
    network.forward = lambda image: -right
    assert next(learner.losses(batch, Moment(1, 0, 9))).terms["pixels"] == pytest.approx(10, rel=1e-3)


def test_pictures_that_the_linear_layer_was_not_made_for_are_said():
    _, learner = made("deepixbis", growth=4)
    with pytest.raises(TrainingError, match=r"64 px give maps of 4 px.*settings\.map_size=4, or input_size=224"):
        next(learner.losses(batch_of(), Moment(1, 0, 9)))


# CDCN ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cdcn", "cdcn++"])
def test_cdcn_is_folded_exactly(name):
    network, _ = made(name, seed=1)
    network.eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = network(image)
        after = network.fold()(image)
    assert before.shape == (1, 1, 32, 32)
    assert not [m for m in network.modules() if isinstance(m, CentralDifferenceConv2d)]
    assert (before - after).abs().max() < 1e-5 * before.abs().max()


def test_cdcn_sees_differences_unless_told_otherwise():
    central, plain = (made("cdcn", width=0.1, theta=theta)[0] for theta in (0.7, 0.0))
    assert len([m for m in central.modules() if isinstance(m, CentralDifferenceConv2d)]) == 13
    assert not [m for m in plain.modules() if isinstance(m, CentralDifferenceConv2d)]
    _, learner = made("cdcn", width=0.1)
    assert set(next(learner.losses(batch_of(depth_size=32), Moment(1, 0, 9))).terms) == {"mse", "contrast"}


def test_attention_weighs_places_alike_in_all_channels():
    x = torch.rand(2, 5, 8, 8) + 0.1
    weight = SpatialAttention(3)(x) / x
    assert weight.min() > 0
    assert weight.max() < 1
    assert torch.allclose(weight, weight[:, :1].expand_as(weight), atol=1e-6)
